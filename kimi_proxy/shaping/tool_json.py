"""The JSON of a tool call: where it ends, which calls it holds, as written."""

import json
import re
from collections.abc import Collection, Iterator
from typing import Any, NoReturn

from kimi_proxy.shaping.tape import Tape, Wait
from kimi_proxy.shaping.tool_piece import Called

_SPACE = re.compile(r"[ \t\r\n]*")
# All that may stand outside strings, letters only as in true, false and null. A call
# that lost a brace or a quote is noticed here, long before the end of the answer.
_OUTSIDE = re.compile(r"[\s,:0-9.+\-truefalsnE]*")
_INSIDE = re.compile(r'[^"\\]*')
_OPENING, _CLOSING = "{[", "}]"
_PREFIX = "functions."
_REQUIRED = {"name", "arguments"}
_BESIDE = {"id", "type", "index"}
_ALLOWED = {*_REQUIRED, *_BESIDE}
# What models call the arguments as well.
_ARGUMENTS = ("arguments", "parameters", "input", "args")
_INDEX = re.compile(r":\d+$")


class Malformed(Exception):
    """A call was begun and is wrong; the text says why, for the model to read."""


class UnknownName(Malformed):
    """It is wrong in that no tool has this name."""


def read_value(tape: Tape) -> Wait[str]:
    """The object or array that begins here, as written; its grammar is not checked.

    Raises `Malformed` at the first character that no JSON has there, or at the end.
    """
    start, depth = tape.place(), 0
    while (char := (yield from tape.peek())) != "":
        if char == '"':
            yield from _read_string(tape)
        elif char in _OPENING:
            tape.skip()
            depth += 1
        elif char in _CLOSING:
            tape.skip()
            depth -= 1
            if not depth:
                return tape.since(start)
        elif not tape.sight(_OUTSIDE):
            raise Malformed(f"the JSON is not valid: unexpected {char!r}")
    raise Malformed("it was cut off inside the JSON")


def _read_string(tape: Tape) -> Wait[None]:
    tape.skip()
    while (yield from tape.more()):
        tape.sight(_INSIDE)
        char = yield from tape.peek()
        if char == "\\":
            tape.skip()
            yield from tape.more()
        elif char not in {'"', ""}:
            continue
        if char:
            tape.skip()
        if char == '"':
            return


def known_name(written: str, names: Collection[str]) -> str:
    """The declared tool meant by `written`, in Kimi's own manner or plainly.

    Raises `UnknownName` when there is none.
    """
    bare = _INDEX.sub("", written.strip()).removeprefix(_PREFIX)
    for name in (written.strip(), bare):
        if name in names:
            return name
    raise UnknownName(f"there is no tool named {bare[:100]!r}")


def calls_in(text: str, names: Collection[str], strict: bool = False) -> list[Called]:
    """The calls in a JSON text: one object, a list, or an object of `tool_calls`.

    Accepts OpenAI's nested `function` and arguments that are a string of JSON. When
    `strict`, nothing may be missing or be there that no call has. Raises `Malformed`.
    """
    _load(text)
    inner = dict(_members(text)) if text.startswith("{") else {}
    listed = inner.get("tool_calls", text if text.startswith("[") else None)
    entries = [text] if listed is None else list(_elements(listed))
    if not entries:
        raise Malformed("the list of calls is empty")
    return [_call(entry, names, strict) for entry in entries]


def _call(text: str, names: Collection[str], strict: bool) -> Called:
    members = dict(_members(text))
    members = dict(_members(members.get("function", text)))
    name = _load(members.get("name", "null"))
    if not isinstance(name, str):
        raise Malformed('a call needs a "name"')
    if strict and not _REQUIRED <= members.keys() <= _ALLOWED:
        raise Malformed('a call has a "name" and "arguments"')
    known = known_name(name, names)
    given = [members[key] for key in _ARGUMENTS if key in members]
    if not given and members.keys() - {"name", *_BESIDE}:
        # They may stand there by any name: none must be lost unseen.
        raise Malformed('a call has its "arguments" in one object')
    return Called(known, arguments(given[0] if given else "{}"))


def arguments(text: str) -> str:
    """The arguments' JSON text, as written if that can be; raises `Malformed`."""
    value = _load(text)
    if isinstance(value, str):
        text = value.strip() or "{}"
        value = _load(text)
    if not isinstance(value, dict):
        raise Malformed("the arguments are not a JSON object")
    return text.strip() if _stands(text) else written(value)


def written(value: object) -> str:
    """JSON text that any client can read."""
    text = json.dumps(value, ensure_ascii=False)
    # Half of a surrogate pair, which an escape may be, has no bytes to be sent as.
    return text if _encodable(text) else json.dumps(value)


def parsed(text: str) -> Any:
    """The value of a JSON text, or the text itself where it is no JSON."""
    try:
        return _load(text)
    except Malformed:
        return text


def _stands(text: str) -> bool:
    """Whether a JSON text that could be read has what every reader demands."""
    try:
        json.loads(text)
    except ValueError:
        return False
    return _encodable(text)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refuse(name: str) -> NoReturn:
    raise Malformed(f"the JSON is not valid: {name} is no JSON number")


# Not strict: models write line ends into strings as they are, and mean them.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _load(text: str) -> Any:
    try:
        return _DECODER.decode(text)
    except (ValueError, RecursionError) as exc:
        why = getattr(exc, "msg", "") or "it is nested too deeply or a number too long"
        raise Malformed(f"the JSON is not valid: {why}") from exc


def _members(text: str) -> Iterator[tuple[str, str]]:
    """The keys of an object, known to be valid JSON, and the text of their values."""
    if not text.startswith("{"):
        raise Malformed("a call is not a JSON object")
    at = _spaces(text, 1)
    while text[at] != "}":
        key, at = _DECODER.raw_decode(text, at)
        begin = _spaces(text, _spaces(text, at) + 1)
        _, end = _DECODER.raw_decode(text, begin)
        yield key, text[begin:end]
        at = _next(text, end)


def _elements(text: str) -> Iterator[str]:
    if not text.startswith("["):
        raise Malformed("tool_calls is not a list")
    at = _spaces(text, 1)
    while text[at] != "]":
        _, end = _DECODER.raw_decode(text, at)
        yield text[at:end]
        at = _next(text, end)


def _next(text: str, end: int) -> int:
    at = _spaces(text, end)
    return _spaces(text, at + 1) if text[at] == "," else at


def _spaces(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()
