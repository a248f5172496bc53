"""Bytes that came as text: base64 in whatever spelling, percent-encoding."""

import binascii
import string
from urllib.parse import unquote_to_bytes

from kimi_proxy.errors import InvalidRequest

_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_PIECE = 65_536


def from_base64(text: str, path: str) -> bytes:
    """The bytes of base64 in either alphabet, with or without line breaks and padding.

    Raises `InvalidRequest`.
    """
    try:
        data = _unpacked(text)
    except ValueError:
        raise InvalidRequest("the data is not valid base64", param=path) from None
    if not data:
        raise InvalidRequest("the file is empty", param=path)
    return data


def _unpacked(text: str) -> bytes:
    """Raises ValueError. Most is written as it should be: of a large file each further
    look costs a tenth of a second in which a gevent worker answers nobody."""
    try:
        return binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        coded = unquoted(text) if "%" in text else text.encode("ascii")
        packed = coded.translate(_URL_SAFE, string.whitespace.encode()).rstrip(b"=")
        padded = packed + b"=" * (-len(packed) % 4)
        return binascii.a2b_base64(padded, strict_mode=True)


def unquoted(text: str) -> bytes:
    """The bytes of percent-encoded text, piece by piece: as a whole each escape would
    take some forty times its size in memory."""
    data, made, start = text.encode(), bytearray(), 0
    while start < len(data):
        end = start + _PIECE
        reaches_over = data.rfind(b"%", end - 2, end)
        end = reaches_over if reaches_over > start else end
        made += unquote_to_bytes(data[start:end])
        start = end
    return bytes(made)
