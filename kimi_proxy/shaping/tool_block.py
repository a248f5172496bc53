"""Reads the calls that stand at one place of an answer, in any of the forms."""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kimi_proxy.shaping.tape import Place, Tape, Wait
from kimi_proxy.shaping.tool_form import CLOSERS, INNER, KEYS, OUTER, Form
from kimi_proxy.shaping.tool_json import (
    Malformed,
    UnknownName,
    arguments,
    calls_in,
    known_name,
    read_value,
)
from kimi_proxy.shaping.tool_parameter import read_parameters
from kimi_proxy.shaping.tool_piece import Broken, Called, Piece

_SPACE = re.compile(r"\s*")
_WORD = re.compile(r"\w*")
_QUOTE = re.compile("[\"']*")
_NAME = re.compile(r"[^\"'\n\\]*")
_PLAIN = re.compile(r"[^<\[`~]*")
_LONGEST_NAME = 128
# Wrappers in wrappers: a section, a call, and one to spare.
_DEEPEST = 3
# A call that breaks is left where the next marker stands, and what was read beyond it
# is read again. Not without end: a text made for it would cost its length squared.
_MOST_RETURNS = 16
# What shows, in JSON that cannot be read, that it was to be a call.
_BEGUN = re.compile(r'"name"\s*:\s*"([^"]*)"\s*,\s*"arguments"\s*:')
# The same at the end of a text, for a marker in the middle of a line.
_STRUCTURE = re.compile(r'.\s*[{<"]|:\w', re.S)
_WRAPS = {"<arguments>": "</arguments>", "<parameters>": "</parameters>"}
_PARAMETER = "<parameter "


@dataclass(frozen=True, slots=True)
class _Call:
    """A call that was begun, up to where its arguments stand; JSON has no form."""

    form: Form | None = None
    name: str = ""


class BlockReader:
    """Reads from `tape`, and gives what it found to `emit`."""

    def __init__(
        self,
        tape: Tape,
        names: Collection[str],
        schemas: Mapping[str, Mapping[str, Any]],
        emit: Callable[[Piece], None],
    ) -> None:
        self._tape = tape
        self._names = names
        self._schemas = schemas
        self._emit = emit
        self._resume = tape.place()
        self._returns = 0

    def read(self, start: Place, firm: bool, fence: str = "") -> Wait[bool]:
        """Read calls from here on; False, and back at `start`, if there are none.

        `firm`: the marker stands where no sentence would have it, so that even a call
        of an unknown tool is one. `fence` ends the code fence that was opened.
        """
        found, inside = False, bool(fence)
        while True:
            try:
                call = yield from self._open(firm or found, inside)
                if call is None:
                    self._tape.rewind(start)
                    return found
                found, calls = True, (yield from self._calls(call))
                inside = yield from self._end(fence, json=call.form is None)
            except Malformed as fault:
                yield from self._leave(start, fault, fence)
                return True
            self._emit_all(calls)
            start = self._tape.place()

    def read_json(self, start: Place, fence: str) -> Wait[bool]:
        """Like `read`, in a fence where JSON of any kind may stand: all or nothing."""
        body, calls = self._tape.place(), list[Called]()
        try:
            while (yield from self._json_opens(firm=False)):
                self._resume = self._tape.place()
                text = yield from read_value(self._tape)
                calls += calls_in(text, self._names, strict=True)
            ended = yield from self._fence_ends(fence)
        except UnknownName:
            ended = False
        except Malformed as fault:
            begun = _BEGUN.search(self._tape.since(body))
            if begun is not None and begun[1] in self._names:
                yield from self._leave(start, fault, fence)
                return True
            ended = False
        if not calls or not ended:
            self._tape.rewind(start)
            return False
        self._emit_all(calls)
        return True

    def _emit_all(self, calls: list[Called]) -> None:
        for call in calls:
            self._emit(call)

    def _fence_ends(self, fence: str) -> Wait[bool]:
        yield from self._tape.run(_SPACE)
        closed = yield from self._tape.literal((fence,))
        return bool(closed) or not (yield from self._tape.more())

    def _open(self, firm: bool, inside: bool) -> Wait[_Call | None]:
        """Read what shows that a call begins here; None if it is something else.

        Raises `Malformed` when it is one, but of nothing that could be called.
        """
        start = self._tape.place()
        form, depth = (yield from self._marker(inside)), 0
        while form is not None and form.head is None and depth < _DEEPEST:
            firm, inside, depth = firm or form.token, True, depth + 1
            form = yield from self._marker(inside)
        if form is not None:
            call = yield from self._head(form, firm or form.token)
        else:
            opens = inside and (yield from self._json_opens(firm))
            call = _Call() if opens else None
        self._resume = self._tape.place()
        if call is None and not (yield from self._tape.more()):
            self._refuse_cut(self._tape.since(start), firm)
        return call

    def _refuse_cut(self, text: str, firm: bool) -> None:
        if (firm and len(text.strip()) > 4) or _STRUCTURE.search(text.strip()):
            raise Malformed("it was cut off")

    def _marker(self, inside: bool) -> Wait[Form | None]:
        forms = INNER if inside else OUTER
        yield from self._tape.run(_SPACE)
        place = self._tape.place()
        found = yield from self._tape.literal(forms)
        if not found and (yield from self._tape.more()):
            self._tape.rewind(place)
        return forms.get(found)

    def _head(self, form: Form, firm: bool) -> Wait[_Call | None]:
        if form.head is None:
            return None
        head = yield from self._tape.run(form.head, _LONGEST_NAME)
        if not (yield from self._tape.literal((form.until,))):
            return None
        self._resume = self._tape.place()
        quoted = re.match(r"\s*([\"'])(.*?)\1", head, re.S)
        try:
            name = known_name(quoted[2] if quoted else head, self._names)
        except UnknownName:
            if firm and (yield from self._arguments_open(form, known=False)):
                raise
            return None
        opens = yield from self._arguments_open(form, known=True)
        return _Call(form, name) if opens else None

    def _arguments_open(self, form: Form, known: bool) -> Wait[bool]:
        """Whether arguments follow, or at once the end; goes no further."""
        yield from self._tape.run(_SPACE)
        place = self._tape.place()
        if (yield from self._tape.peek()) == "{":
            self._tape.skip()
            yield from self._tape.run(_SPACE)
            char = yield from self._tape.peek()
            opens = char != "" and (char in "\"'}" or (known and char.isidentifier()))
        else:
            ends = (form.close or CLOSERS[0], *_WRAPS, _PARAMETER)
            opens = bool((yield from self._tape.literal(ends)))
        if opens or (yield from self._tape.more()):
            self._tape.rewind(place)
        return opens

    def _json_opens(self, firm: bool) -> Wait[bool]:
        """Whether the JSON of a call follows, by its first key; goes no further."""
        yield from self._tape.run(_SPACE)
        place = self._tape.place()
        opens = yield from self._first_key(firm)
        if opens or (yield from self._tape.more()):
            self._tape.rewind(place)
        return opens

    def _first_key(self, firm: bool) -> Wait[bool]:
        tape = self._tape
        for char in "[{":
            if (yield from tape.peek()) == char:
                tape.skip()
                yield from tape.run(_SPACE)
            elif char == "{":
                return False
        yield from tape.run(_QUOTE, 1)
        key = yield from tape.run(_WORD, 16)
        yield from tape.run(_QUOTE, 1)
        yield from tape.run(_SPACE)
        known = key in KEYS or (firm and key != "")
        if not known or (yield from tape.peek()) != ":":
            return False
        tape.skip()
        return key != "name" or (yield from self._first_name(firm))

    def _first_name(self, firm: bool) -> Wait[bool]:
        yield from self._tape.run(_SPACE)
        yield from self._tape.run(_QUOTE, 1)
        name = yield from self._tape.run(_NAME, _LONGEST_NAME)
        if not (yield from self._tape.more()):
            return False
        try:
            known_name(name, self._names)
        except UnknownName:
            return firm
        return True

    def _calls(self, call: _Call) -> Wait[list[Called]]:
        if call.form is None:
            text = yield from self._value()
            return calls_in(text, self._names)
        return [Called(call.name, (yield from self._arguments(call.name)))]

    def _value(self) -> Wait[str]:
        text = yield from read_value(self._tape)
        self._resume = self._tape.place()
        return text

    def _arguments(self, name: str, wrapped: bool = False) -> Wait[str]:
        yield from self._tape.run(_SPACE)
        if (yield from self._tape.peek()) == "{":
            return arguments((yield from self._value()))
        place = self._tape.place()
        tag = yield from self._tape.literal((_PARAMETER, *_WRAPS))
        if tag in _WRAPS and not wrapped:
            inner = yield from self._arguments(name, wrapped=True)
            yield from self._tape.run(_SPACE)
            if not (yield from self._tape.literal((_WRAPS[tag],))):
                raise Malformed(f"{_WRAPS[tag]} is missing")
            return inner
        self._tape.rewind(place)
        if tag != _PARAMETER:
            return "{}"
        return (yield from read_parameters(self._tape, self._schemas.get(name, {})))

    def _end(self, fence: str, json: bool) -> Wait[bool]:
        """Read what ends a call; True if its wrapper still seems to be open.

        A wrong or a missing closing tag harms nobody where the call was complete and
        the end or a new one follows; any other text means that it was not.
        """
        tape, closed = self._tape, False
        closers = (*CLOSERS, fence) if fence else CLOSERS
        while True:
            yield from tape.run(_SPACE)
            place = tape.place()
            found = yield from tape.literal((*closers, *INNER))
            if found in closers and not fence:
                return False
            if not (yield from tape.more()) and found not in INNER:
                return False
            if found not in closers:
                tape.rewind(place)
                break
            closed = True
        if not found and not closed and not (json and (yield from tape.peek()) in "{["):
            raise Malformed("other text follows where the call should end")
        return not closed

    def _leave(self, start: Place, fault: Malformed, fence: str) -> Wait[None]:
        """Go behind the broken call: where its end is marked, or where one begins.

        What was read as arguments may speak of ends; only a beginning counts there.
        """
        tape = self._tape
        reached = tape.place()
        if self._returns < _MOST_RETURNS:
            self._returns += 1
            tape.rewind(self._resume)
        closers = (*CLOSERS, fence) if fence else CLOSERS
        while (yield from tape.more()):
            if tape.sight(_PLAIN):
                continue
            place = tape.place()
            found = yield from tape.literal((*closers, *OUTER))
            if found in closers and place >= reached:
                break
            tape.rewind(place)
            if found in OUTER:
                break
            tape.skip()
        self._emit(Broken(tape.since(start).rstrip(), str(fault)))
