"""Recorded bytes played back as they are."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise

from emulators.server import Exchange, Shape


@dataclass(frozen=True, slots=True)
class Recording:
    """An answer given byte for byte; times are seconds.

    `pieces` are the sizes the body is split into (the last one repeats), `gap` the
    pause between pieces, `pauses` further ones by the offset in bytes they come before.
    The connection is cut before byte `cut_at`, with a TCP reset when `rst`. `framing`
    is "chunked", "close" or "length" (a Content-Length; the rest is ignored).
    """

    body: bytes = field(repr=False)
    content_type: str = "text/event-stream; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    pieces: tuple[int, ...] = ()
    gap: float = 0.0
    pauses: Mapping[int, float] = field(default_factory=dict)
    cut_at: int | None = None
    rst: bool = False
    framing: str = "chunked"

    def play(self, exchange: Exchange) -> None:
        """Answer with it."""
        if self.framing == "length":
            exchange.answer(self.status, self.body, self.content_type, self.headers)
            return
        writer = exchange.stream(
            self.content_type, self._shape(), self.status, self.headers
        )
        for start, end in pairwise(sorted({0, *self.pauses, len(self.body)})):
            pause = self.pauses.get(start)
            if pause is not None and not writer.pause(pause):
                return
            if not writer.write(self.body[start:end]):
                return
        writer.pause(self.pauses.get(len(self.body), 0.0))

    def _shape(self) -> Shape:
        return Shape(
            chunked=self.framing == "chunked",
            pieces=self.pieces,
            gap=self.gap,
            cut_at=self.cut_at,
            rst=self.rst,
        )
