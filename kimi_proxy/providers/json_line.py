"""JSON lines: one object a line, bytes as they arrive in, whole objects out."""

from collections.abc import Iterable, Iterator
from typing import Any

import orjson

from kimi_proxy.errors import UpstreamCut, UpstreamGarbled

_LIMIT = 8 * 1024 * 1024
_DONE = b"[DONE]"
_DATA = b"data:"
# Lines of an event stream that carry nothing, should the server frame its objects so.
_IDLE = (b":", b"event:", b"id:", b"retry:")


def objects(blocks: Iterable[bytes], limit: int = _LIMIT) -> Iterator[dict[str, Any]]:
    """Yield the object of each line as it completes; `limit` is in bytes per line.

    A line may begin with `data:`; `[DONE]` ends the stream, and so does its last byte
    (qodo sheet §2). Raises `UpstreamGarbled` for a line that is no object, and
    `UpstreamCut` for a last one without an end that is none.
    """
    for line, is_whole in _lines(blocks, limit):
        text = line.strip().removeprefix(_DATA).lstrip()
        if not text or text.startswith(_IDLE):
            continue
        if text == _DONE:
            return
        yield _object(text, is_whole)


def _lines(blocks: Iterable[bytes], limit: int) -> Iterator[tuple[bytes, bool]]:
    """Each line, and whether its end was seen."""
    rest = bytearray()
    for block in blocks:
        known = len(rest)
        rest += block
        if b"\n" in block:
            *whole, last = bytes(rest).split(b"\n")
            rest = bytearray(last)
            for line in whole:
                yield line, True
        elif known + len(block) > limit:
            raise UpstreamGarbled(f"a line of the upstream exceeds {limit} bytes")
    if rest:
        yield bytes(rest), False


def _object(text: bytes, is_whole: bool) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        if not is_whole:
            raise UpstreamCut("the upstream's answer ended in a line") from exc
        raise UpstreamGarbled("a line of the upstream's answer is not JSON") from exc
    if not isinstance(value, dict):
        raise UpstreamGarbled("a line of the upstream's answer is no object")
    return value
