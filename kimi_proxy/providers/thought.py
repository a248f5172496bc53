"""Thinking that comes inside the text, between `<think>` and `</think>`."""

import re
from collections.abc import Iterator

from kimi_proxy.events import Event, ReasoningDelta, TextDelta

_OPEN, _CLOSE = "<think>", "</think>"
_OPENING = re.compile(rf"^[^\S\n]*({_OPEN})", re.MULTILINE)


class ThoughtReader:
    """Tells thinking from text, however the tags are cut.

    A tag opens only at the beginning of a line: there models put it that think this
    way, while one that is written about stands in a sentence or between backticks.
    White space around a thought belongs to neither as long as nothing was said.
    """

    def __init__(self) -> None:
        self._held = ""
        self._blank = ""
        self._thinking = False
        self._said = False
        self._after_tag = False
        self._at_line_start = True

    def feed(self, piece: str) -> Iterator[Event]:
        """What is certain after one more piece."""
        self._held += piece
        while True:
            tag = _CLOSE if self._thinking else _OPEN
            at = self._held.find(tag) if self._thinking else self._opening()
            if at < 0:
                break
            part, self._held = self._held[:at], self._held[at + len(tag) :]
            yield from self._told(part)
            self._thinking = not self._thinking
            self._after_tag, self._at_line_start, self._blank = True, True, ""
        certain = len(self._held) - self._uncertain(tag)
        part, self._held = self._held[:certain], self._held[certain:]
        yield from self._told(part)

    def end(self) -> Iterator[Event]:
        """What was held back: it is no tag any more."""
        held, self._held = self._held, ""
        yield from self._told(held)
        if self._blank and not self._after_tag:
            yield TextDelta(self._blank)

    def _opening(self) -> int:
        """Where a thought opens in what is held; -1 for nowhere."""
        line = 0 if self._at_line_start else self._held.find("\n") + 1
        if not (line or self._at_line_start):
            return -1
        found = _OPENING.search(self._held, line)
        return -1 if found is None else found.start(1)

    def _begins_line(self, at: int) -> bool:
        _, newline, line = self._held[:at].rpartition("\n")
        return (bool(newline) or self._at_line_start) and not line.strip()

    def _uncertain(self, tag: str) -> int:
        """How many characters at the end may be the beginning of `tag`."""
        held = self._held
        for size in range(min(len(tag) - 1, len(held)), 0, -1):
            fits = held.endswith(tag[:size])
            if fits and (self._thinking or self._begins_line(len(held) - size)):
                return size
        return 0

    def _told(self, part: str) -> Iterator[Event]:
        if not part:
            return
        _, newline, line = part.rpartition("\n")
        starts = bool(newline) or self._at_line_start
        self._at_line_start = starts and not line.strip()
        if self._after_tag and (self._thinking or not self._said):
            part = part.lstrip()
        elif not (self._thinking or self._said) and part.isspace():
            self._blank += part
            return
        if not part:
            return
        self._after_tag = False
        if self._thinking:
            yield ReasoningDelta(part)
            return
        part, self._blank, self._said = self._blank + part, "", True
        yield TextDelta(part)
