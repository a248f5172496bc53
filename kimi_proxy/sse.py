"""Server-sent events: bytes as they arrive in, whole events out.

sseclient-py understands the fields; what stands between it and the socket is ours,
because given raw blocks it (1.9.0) sees no event boundary in mixed line ends or where
`CR LF` was split between blocks, delivers the unfinished event at the end of a cut
stream as if it were whole, keeps a byte order mark in the first field's name, and lets
one event grow without bound.
"""

from collections.abc import Generator, Iterable, Iterator
from typing import NamedTuple

from sseclient import SSEClient

from kimi_proxy.errors import UpstreamGarbled

_LIMIT = 8 * 1024 * 1024
_BOM = b"\xef\xbb\xbf"
# sseclient puts an event together with `+=` line by line, so its cost is the product
# of lines and bytes: 8 GiB copied is about a second. Below `_CHEAP` bytes it is less.
_WORK = 8 * 1024**3
_CHEAP = 64 * 1024


class ServerEvent(NamedTuple):
    """One event; `event` is "message" when the stream did not name it.

    A tuple, as one is made of every chunk: a frozen dataclass costs three times that.
    """

    event: str
    data: str


class EventReader(Iterator[ServerEvent]):
    """The events of one stream.

    Raises what the blocks raise, and `UpstreamGarbled` for an event above the limit
    or one that is not UTF-8. When it has ended, `unfinished` tells a truncated stream:
    it holds the bytes of the event that was not delivered as its end never came.
    """

    def __init__(self, blocks: Iterable[bytes], limit: int) -> None:
        self._framer = _Framer(blocks, limit)
        self._source = iter(self._framer)
        self._events = SSEClient(self._source).events()

    def __next__(self) -> ServerEvent:
        try:
            event = next(self._events)
        except UnicodeDecodeError as exc:
            raise UpstreamGarbled("the upstream's event stream is not UTF-8") from exc
        return ServerEvent(event.event, event.data)

    @property
    def unfinished(self) -> bytes:
        """What follows the last whole event; empty at a proper end."""
        return self._framer.rest

    def close(self) -> None:
        """Stop, and close the blocks; may be called more than once."""
        self._events.close()
        self._source.close()
        self._framer.close()


def events(blocks: Iterable[bytes], limit: int = _LIMIT) -> EventReader:
    """Read events from `blocks` as each completes; `limit` is in bytes per event."""
    return EventReader(blocks, limit)


class _Framer:
    """Hands on only whole events, their lines ended by LF alone."""

    def __init__(self, blocks: Iterable[bytes], limit: int) -> None:
        self._blocks = blocks
        self._limit = limit
        self._tail = bytearray()
        self._at_start = True
        self._after_cr = False

    def __iter__(self) -> Generator[bytes, None, None]:
        for block in self._blocks:
            lines = self._with_line_feeds(block)
            if not self._tail and lines.endswith(b"\n\n") and not self._at_start:
                yield from self._bounded(lines)
                continue
            whole = self._take_whole(lines)
            if whole:
                yield from self._bounded(whole)
            self._refuse_endless()

    @property
    def rest(self) -> bytes:
        return bytes(self._tail).strip(b"\n")

    def close(self) -> None:
        close = getattr(self._blocks, "close", None)
        if close is not None:
            close()

    def _with_line_feeds(self, block: bytes) -> bytes:
        # A CR at the end counts at once, else the event it ends would wait for the
        # next block; should that block begin with the LF of the pair, it is dropped.
        if self._after_cr and block:
            self._after_cr = False
            block = block.removeprefix(b"\n")
        if b"\r" not in block:
            return block
        self._after_cr = block.endswith(b"\r")
        return block.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _take_whole(self, lines: bytes) -> bytes:
        """Add `lines` to the tail and cut off what ends with an empty line."""
        tail = self._tail
        known = len(tail)
        tail += lines
        if self._at_start and not self._skip_bom():
            return b""
        # The pair may have begun in the tail; a byte order mark moved it by three.
        end = tail.rfind(b"\n\n", max(0, known - 4))
        if end < 0:
            return b""
        whole = bytes(tail[: end + 2])
        del tail[: end + 2]
        return whole

    def _skip_bom(self) -> bool:
        """Whether the stream's first bytes are known well enough to go on."""
        if len(self._tail) < len(_BOM) and _BOM.startswith(self._tail):
            return False
        self._at_start = False
        if self._tail.startswith(_BOM):
            del self._tail[: len(_BOM)]
        return True

    def _bounded(self, whole: bytes) -> Iterable[bytes]:
        if len(whole) <= min(self._limit, _CHEAP):
            return (whole,)
        return self._one_by_one(whole)

    def _one_by_one(self, whole: bytes) -> Iterator[bytes]:
        for event in whole.split(b"\n\n"):
            self._refuse_above_limit(event)
            yield event + b"\n\n"

    def _refuse_endless(self) -> None:
        if len(self._tail) > self._limit:
            self._refuse_above_limit(self.rest)

    def _refuse_above_limit(self, event: bytes) -> None:
        if len(event.strip(b"\n")) > self._limit:
            raise UpstreamGarbled(
                f"an event of the upstream's stream exceeds {self._limit} bytes"
            )
        if len(event) * event.count(b"\n") > _WORK:
            raise UpstreamGarbled(
                "an event of the upstream's stream has too many lines"
            )
