"""Text that is still coming, read forward with the way back open.

A reader is a generator: it yields when it needs text that has not come yet, so where
the text was cut can make no difference to it.
"""

from collections.abc import Collection, Generator
from re import Pattern
from typing import TypeVar

T = TypeVar("T")
Wait = Generator[None, None, T]
Place = tuple[int, int]


class Tape:
    """The pieces as they came, and where the reader is."""

    def __init__(self) -> None:
        # Never joined while they come: that would cost their number times their size.
        self._pieces = [""]
        self._index = 0
        self._at = 0
        self.ended = False

    def feed(self, text: str) -> None:
        if text:
            self._pieces.append(text)

    def forget(self) -> None:
        """Drop what was read; the places taken so far mean nothing any more."""
        # By halves, as a list pays for all that stays whenever its head is dropped.
        if self._index * 2 >= len(self._pieces):
            del self._pieces[: self._index]
            self._index = 0

    def more(self) -> Wait[bool]:
        """Wait for a character to read; False when the text has ended."""
        while self._at == len(self._pieces[self._index]):
            if self._index + 1 < len(self._pieces):
                self._index, self._at = self._index + 1, 0
            elif self.ended:
                return False
            else:
                yield
        return True

    def peek(self) -> Wait[str]:
        """The next character, which stays; empty at the end."""
        if (yield from self.more()):
            return self._pieces[self._index][self._at]
        return ""

    def skip(self) -> None:
        """Pass over the character that `peek` showed."""
        self._at += 1

    def run(self, pattern: Pattern[str], most: int | None = None) -> Wait[str]:
        """What follows of the characters that `pattern`, a repeated class, matches."""
        parts: list[str] = []
        left = most
        while left != 0 and (yield from self.more()):
            part = self.sight(pattern, left)
            parts.append(part)
            left = None if left is None else left - len(part)
            if self._at < len(self._pieces[self._index]):
                break
        return "".join(parts)

    def sight(self, pattern: Pattern[str], most: int | None = None) -> str:
        """Like `run`, but only as far as the text has come."""
        piece = self._pieces[self._index]
        end = len(piece) if most is None else min(len(piece), self._at + most)
        found = pattern.match(piece, self._at, end)
        if found is None:
            return ""
        self._at = found.end()
        return found[0]

    def literal(self, options: Collection[str]) -> Wait[str]:
        """The one of `options` that comes next, else empty and wherever it failed.

        None of the options may begin with another.
        """
        taken = ""
        while (yield from self.more()):
            wider = taken + self._pieces[self._index][self._at]
            if not any(option.startswith(wider) for option in options):
                return ""
            self.skip()
            if wider in options:
                return wider
            taken = wider
        return ""

    def place(self) -> Place:
        return self._index, self._at

    def rewind(self, place: Place) -> None:
        self._index, self._at = place

    def since(self, place: Place) -> str:
        """The text between `place` and here."""
        index, at = place
        if index == self._index:
            return self._pieces[index][at : self._at]
        first = self._pieces[index][at:]
        last = self._pieces[self._index][: self._at]
        return "".join((first, *self._pieces[index + 1 : self._index], last))
