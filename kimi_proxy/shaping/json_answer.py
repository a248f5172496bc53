"""JSON mode for upstreams that have none: asked for, checked, once corrected.

The text is held until it is whole and valid: a client never gets half of something
that turns out to be wrong.
"""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NoReturn

from kimi_proxy.chat import ChatRequest, JsonFormat
from kimi_proxy.errors import InvalidAnswer, InvalidRequest
from kimi_proxy.events import Citation, Event, Finished, TextDelta, ToolCallDelta
from kimi_proxy.shaping import schema_check
from kimi_proxy.shaping.ask import Ask, closing, followed_up, instructed


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# Each costs a look at the whole text: what has so many broken values has no right one.
_MOST_FAILURES = 256
_OPENING = re.compile(r"[{\[]")
_STRUCTURE = re.compile(r'[{}\[\]]|"(?:[^"\\]|\\.)*+"?', re.S)
# Not strict: models write line ends into strings as they are, and mean them.
_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


_Check = Callable[[object], str | None]


class _Held:
    """One answer, its text kept back."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        # Their places are lost: what is said in the end is only a part of the text.
        self.sources: dict[str, Citation] = {}
        self.end = Finished("stop")
        self.calls_tools = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def pass_on(self, events: Iterator[Event]) -> Iterator[Event]:
        """All events but the text, its sources and the end."""
        for event in events:
            match event:
                case TextDelta(text):
                    self._pieces.append(text)
                    continue
                case Citation(url):
                    self.sources.setdefault(url, replace(event, placed=False))
                    continue
                case Finished():
                    self.end = event
                    continue
                case ToolCallDelta():
                    self.calls_tools = True
            yield event


def answering_json(ask: Ask) -> Ask:
    """Obey `request.json_format`; raises `InvalidAnswer` when a correction fails too.

    The text of an answer that was broken off is passed on as it is, its end says so;
    beside tool calls only JSON is. The schema is one that `require_schema` let pass.
    """

    def asked(request: ChatRequest) -> Iterator[Event]:
        wanted = request.json_format
        if wanted is None:
            yield from ask(request)
            return
        plain = replace(request, json_format=None)
        question = instructed(plain, _directions(wanted))
        for last_try in (False, True):
            held = _Held()
            with closing(ask(question)) as events:
                yield from held.pass_on(events)
            answer, problem = _judged(held, wanted)
            if problem is None:
                if answer:
                    yield TextDelta(answer)
                yield from held.sources.values()
                yield held.end
                return
            if last_try:
                raise InvalidAnswer(f"the model gave no valid JSON: {problem}")
            question = followed_up(plain, held.text, held.end, _correction(problem))

    return asked


def require_schema(wanted: JsonFormat) -> None:
    """Raises `InvalidRequest` for a schema that nothing can be checked by."""
    try:
        schema_check.require_usable(wanted.schema or {})
    except ValueError as exc:
        raise InvalidRequest(
            str(exc), param="response_format.json_schema.schema"
        ) from exc


def _directions(wanted: JsonFormat) -> str:
    words = "Answer with JSON only: no words before or after it, no code fence."
    if wanted.schema is None:
        return f"{words} It must be one JSON object."
    schema = json.dumps(wanted.schema, ensure_ascii=False, separators=(",", ":"))
    return f"{words} It must satisfy this JSON Schema:\n{schema}"


def _correction(problem: str) -> str:
    return (
        f"That was not valid: {problem}. Answer again with the corrected JSON only, "
        "no words before or after it, no code fence."
    )


def _judged(held: _Held, wanted: JsonFormat) -> tuple[str, str | None]:
    """What to say of an answer, and what is wrong with it."""
    if held.end.reason in {"length", "content_filter"}:
        return held.text, None
    answer, problem = _read(held.text, wanted)
    if held.calls_tools:
        return answer if problem is None else "", None
    return answer, problem


def _read(text: str, wanted: JsonFormat) -> tuple[str, str | None]:
    """The first right JSON in an answer; else the first at all, and its problem."""
    found: tuple[str, str | None] | None = None
    check: _Check | None = None
    for source, value in _values(text):
        check = check or _checker(wanted)
        try:
            problem = check(value)
        except ValueError as exc:
            problem = str(exc)  # too deep
        if problem is None:
            return source, None
        found = found or (source, problem)
    return found or ("", "it holds no JSON value")


def _checker(wanted: JsonFormat) -> _Check:
    """What says what is wrong with a value; the schema was found right before."""
    return _object if wanted.schema is None else schema_check.checker(wanted.schema)


def _object(value: object) -> str | None:
    return None if isinstance(value, dict) else "it is no JSON object"


def _values(text: str) -> Iterator[tuple[str, object]]:
    """The whole text as JSON, else the objects and arrays that stand in it.

    What stands inside of brackets that are no JSON is no answer.
    """
    text = text.strip()
    try:
        value = _DECODER.decode(text)
        yield _exact(text, value), value
        return
    except (ValueError, RecursionError):
        pass
    at = failed = 0
    while failed < _MOST_FAILURES and (start := _OPENING.search(text, at)) is not None:
        begin = start.start()
        try:
            value, at = _DECODER.raw_decode(text, begin)
        except (ValueError, RecursionError):
            at, failed = _behind(text, begin), failed + 1
        else:
            yield _exact(text[begin:at], value), value


def _behind(text: str, begin: int) -> int:
    """Where the brackets that open at `begin` are closed; the end if they never are."""
    depth = 0
    for found in _STRUCTURE.finditer(text, begin):
        sign = found.group()
        depth += (sign in "{[") - (sign in "}]")
        if not depth:
            return found.end()
    return len(text)


def _exact(source: str, value: object) -> str:
    """The source as it is, or written anew where it is JSON only with good will."""
    try:
        json.loads(source)
    except ValueError:
        return json.dumps(value, ensure_ascii=False)
    return source
