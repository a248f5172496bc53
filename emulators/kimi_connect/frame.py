"""Connect envelopes: a flag byte, a big-endian 32-bit length, the payload (§4)."""

import json
import struct
from typing import Any

from emulators.kimi_connect.error import ConnectError, Refusal

DATA = 0x00
COMPRESSED = 0x01
TRAILER = 0x02
_HEAD = struct.Struct(">BI")


def envelope(payload: bytes, flag: int = DATA) -> bytes:
    """Return one envelope."""
    return _HEAD.pack(flag, len(payload)) + payload


def data_frame(event: Any, flag: int = DATA) -> bytes:
    """Return one envelope around compact JSON, as the service writes it."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return envelope(text.encode(), flag)


def only_message(body: bytes) -> Any:
    """Return the JSON of a request of exactly one envelope with flag 00.

    Raises Refusal (`invalid_argument`) for bare JSON, other flags, a wrong length,
    a second envelope or a payload that is no JSON object.
    """
    if len(body) < _HEAD.size:
        raise _malformed("protocol error: incomplete envelope")
    flag, length = _HEAD.unpack_from(body)
    payload = body[_HEAD.size :]
    if flag != DATA:
        raise _malformed(f"protocol error: invalid envelope flags {flag:08b}")
    if length > len(payload):
        raise _malformed(f"protocol error: promised {length} bytes in envelope")
    if length < len(payload):
        raise _malformed("protocol error: more than one envelope")
    try:
        value = json.loads(payload)
    except ValueError as error:
        raise _malformed("unmarshal message: no JSON") from error
    if not isinstance(value, dict):
        raise _malformed("unmarshal message: no object")
    return value


def _malformed(text: str) -> Refusal:
    return Refusal(ConnectError("invalid_argument", text))
