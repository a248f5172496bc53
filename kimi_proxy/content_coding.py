"""Undoes the compression of answers that were asked for without any.

Every request says that it wants none; some servers and the proxies before them compress
all the same (kilo sheet §7 has such a refusal).
"""

import zlib
from collections.abc import Iterator

from kimi_proxy.errors import UpstreamCut, UpstreamGarbled

_BLOCK = 65_536  # of what comes out, however much a block grows
_GZIP_OR_ZLIB = 47
_RAW = -zlib.MAX_WBITS
_KNOWN = frozenset({"gzip", "x-gzip", "deflate"})


def decoded(blocks: Iterator[bytes], coding: str) -> Iterator[bytes]:
    """The blocks as they were before `coding`, a value of `Content-Encoding`.

    Raises `UpstreamGarbled` for a coding that is not known and data that is none of it,
    `UpstreamCut` where there was more to come.
    """
    names = [name.strip().lower() for name in coding.split(",")]
    for name in reversed([name for name in names if name not in ("", "identity")]):
        if name not in _KNOWN:
            raise UpstreamGarbled(f"the upstream's answer is in {name!r}, unasked")
        blocks = _inflated(blocks)
    yield from blocks


def _inflated(blocks: Iterator[bytes]) -> Iterator[bytes]:
    inflater = None
    for block in blocks:
        left = block
        while left:
            inflater = inflater or zlib.decompressobj(_window(left))
            try:
                plain = inflater.decompress(left, _BLOCK)
            except zlib.error as exc:
                raise UpstreamGarbled("the upstream's compression is broken") from exc
            left = inflater.unconsumed_tail
            if inflater.eof:  # another one may follow, which is the rest (RFC 1952)
                left, inflater = inflater.unused_data, None
            if plain:
                yield plain
    if inflater is not None:
        raise UpstreamCut("the upstream's answer ended early")


def _window(block: bytes) -> int:
    """How to read what begins so: many send "deflate" without zlib's header."""
    is_zlib = block[0] & 0x0F == zlib.DEFLATED
    return _GZIP_OR_ZLIB if is_zlib or block[0] == 0x1F else _RAW
