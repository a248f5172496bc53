"""Finds the tool calls in the text of an answer, while it comes.

Everything else is passed on unchanged and at once; only what may yet turn out to be
a marker is kept back, with the white space before it, as that goes with a call.

A marker counts with the call's structure behind it: not in a code span, in a quoted
line or directly after a quotation mark, nor in a code fence, unless that is labelled
for calls or is all JSON of calls of declared tools. It need not stand apart: models
write one directly behind a sentence. But there only a declared name makes it a call,
whereas at the start of a line an unknown one makes it a broken call.

What the model says after its first call is dropped: it cannot know a result yet. Where
it begins to write a result itself, calls that follow rest on that and go as well.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any

from kimi_proxy.shaping.tape import Place, Tape, Wait
from kimi_proxy.shaping.tool_block import BlockReader
from kimi_proxy.shaping.tool_form import CALL_LABELS, JSON_LABELS
from kimi_proxy.shaping.tool_piece import Broken, Called, Piece, Said

__all__ = ["Broken", "Called", "Piece", "Said", "ToolParser"]

_SPACE = re.compile(r"\s+")
_BLANK = re.compile(r"[ \t]*")
# A line as far as its last word before a sign: without the white space behind that.
_PLAIN = re.compile(r"[^<\[`~>\r\n]*[^<\[`~>\s]")
_RUN = {"`": re.compile("`*"), "~": re.compile("~*")}
_LABEL = re.compile(r"[\w \t\-]*")
_ANY = re.compile(".*", re.S)
_LONGEST_LABEL = 16
_QUOTES = frozenset("\"'`\\“”‘’«»‹›„「」『』《》〈〉(（")
_RESULT = ("<tool_result",)


class ToolParser:
    """Reads one answer; `names` are those of the declared tools.

    `schemas` (by name) tell the types of arguments that were not written as JSON.
    """

    def __init__(
        self,
        names: Collection[str],
        schemas: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._tape = Tape()
        self._found: list[Piece] = []
        self._reader = BlockReader(self._tape, names, schemas or {}, self._emit)
        self._space: list[str] = []
        self._called = False
        # Where we are in the line, as Markdown sees it.
        self._at_start = True
        self._last = ""
        self._quoted = False
        self._span = 0
        self._fence = ""
        self._course = self._read()

    def feed(self, text: str) -> list[Piece]:
        """What can be said of the answer now that `text` has come."""
        self._tape.feed(text)
        next(self._course, None)
        return self._taken()

    def finish(self) -> list[Piece]:
        """What is left to be said now that nothing comes any more."""
        self._tape.ended = True
        next(self._course, None)
        return self._taken()

    def _taken(self) -> list[Piece]:
        found, merged = self._found, list[Piece]()
        self._found = []
        said: list[str] = []
        for piece in found:
            if isinstance(piece, Said):
                said.append(piece.text)
                continue
            merged += [Said("".join(said))] if said else []
            merged.append(piece)
            said = []
        return [*merged, Said("".join(said))] if said else merged

    def _emit(self, piece: Piece) -> None:
        self._called = True
        self._space.clear()
        self._found.append(piece)

    def _read(self) -> Wait[None]:
        tape = self._tape
        while char := (yield from tape.peek()):
            tape.forget()
            if space := tape.sight(_SPACE):
                self._pass_space(space)
            elif plain := tape.sight(_PLAIN):
                self._say(plain)
            elif char == "`" or (char == "~" and self._at_start):
                yield from self._ticks(char)
            else:
                yield from self._sign(char)
        if self._space:
            self._found.append(Said("".join(self._space)))

    def _say(self, text: str) -> None:
        self._at_start, self._last = False, text[-1]
        if not self._called:
            self._found.append(Said("".join((*self._space, text))))
            self._space.clear()

    def _pass_space(self, text: str) -> None:
        self._last = " "
        if not self._called:
            self._space.append(text)
        if "\n" in text or "\r" in text:
            # Three and more that the line does not close are a fence wherever they
            # stand; fewer were no code at all.
            if self._span >= 3:
                self._fence = "`" * self._span
            self._at_start, self._quoted, self._span = True, False, 0

    def _sign(self, char: str) -> Wait[None]:
        """One of the characters that a marker or a quoted line may begin with."""
        place = self._tape.place()
        if char in "<[" and self._open_to_markers():
            if self._called and (yield from self._tape.literal(_RESULT)):
                yield from self._drop_rest()
                return
            self._tape.rewind(place)
            firm = self._at_start or self._called
            if (yield from self._reader.read(place, firm)):
                self._start_anew()
                return
        self._quoted = self._quoted or (char == ">" and self._at_start)
        self._tape.skip()
        self._say(char)

    def _open_to_markers(self) -> bool:
        covered = self._fence or self._span or self._quoted
        return not covered and self._last not in _QUOTES

    def _start_anew(self) -> None:
        self._at_start, self._last = True, ""

    def _drop_rest(self) -> Wait[None]:
        while (yield from self._tape.more()):
            self._tape.forget()
            self._tape.sight(_ANY)

    def _ticks(self, char: str) -> Wait[None]:
        place, at_start = self._tape.place(), self._at_start
        run = yield from self._tape.run(_RUN[char])
        if self._fence:
            if at_start and run.startswith(self._fence):
                yield from self._close_fence(run)
                return
        elif at_start and len(run) >= 3:
            if (yield from self._fenced_calls(place, run)):
                self._start_anew()
                return
            self._fence, self._span = (run, 0) if char == "~" else ("", len(run))
        elif char == "`" and self._span in {0, len(run)}:
            self._span = 0 if self._span else len(run)
        self._say(run)

    def _close_fence(self, run: str) -> Wait[None]:
        blank = yield from self._tape.run(_BLANK)
        if (yield from self._tape.peek()) in {"\r", "\n", ""}:
            self._fence = ""
        self._say(run)
        if blank:
            self._pass_space(blank)

    def _fenced_calls(self, start: Place, fence: str) -> Wait[bool]:
        behind = self._tape.place()
        label = yield from self._tape.run(_LABEL, _LONGEST_LABEL)
        label = label.strip().lower()
        found = False
        if (yield from self._tape.peek()) in {"\r", "\n"}:
            if label in CALL_LABELS:
                found = yield from self._reader.read(start, True, fence)
            elif label in JSON_LABELS:
                found = yield from self._reader.read_json(start, fence)
        if not found:
            self._tape.rewind(behind)
        return found
