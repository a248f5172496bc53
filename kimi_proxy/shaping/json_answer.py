"""JSON mode for upstreams that have none: asked for, checked, once corrected.

The text is held until it is whole and valid: a client never gets half of something
that turns out to be wrong.
"""

import json
from collections.abc import Iterator
from dataclasses import replace

import orjson

from kimi_proxy.chat import ChatRequest, JsonFormat
from kimi_proxy.errors import InvalidAnswer, InvalidRequest
from kimi_proxy.events import Event, Finished, TextDelta, ToolCallDelta
from kimi_proxy.shaping import schema_check
from kimi_proxy.shaping.ask import Ask, closing, followed_up, instructed

_DECODER = json.JSONDecoder()


class _Held:
    """One answer, its text kept back."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self.end: Finished | None = None
        self.calls_tools = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def pass_on(self, events: Iterator[Event]) -> Iterator[Event]:
        """All events but the text and the end."""
        for event in events:
            match event:
                case TextDelta(text):
                    self._pieces.append(text)
                    continue
                case Finished():
                    self.end = event
                    continue
                case ToolCallDelta():
                    self.calls_tools = True
            yield event


def answering_json(ask: Ask) -> Ask:
    """Obey `request.json_format`; raises `InvalidAnswer` when a correction fails too.

    An answer that calls tools, or that the upstream broke off, is passed on as it is.
    """

    def asked(request: ChatRequest) -> Iterator[Event]:
        wanted = request.json_format
        if wanted is None:
            yield from ask(request)
            return
        _require_schema(wanted)
        plain = replace(request, json_format=None)
        question = instructed(plain, _directions(wanted))
        for last_try in (False, True):
            held = _Held()
            with closing(ask(question)) as events:
                yield from held.pass_on(events)
            end = held.end or Finished("stop")
            answer, problem = _read(held.text, wanted)
            if held.calls_tools or end.reason != "stop":
                answer, problem = held.text, None
            if problem is None:
                if answer:
                    yield TextDelta(answer)
                yield end
                return
            if last_try:
                raise InvalidAnswer(f"the model gave no valid JSON: {problem}")
            question = followed_up(plain, held.text, end, _correction(problem))

    return asked


def _require_schema(wanted: JsonFormat) -> None:
    try:
        schema_check.problem(wanted.schema or {}, None)
    except ValueError as exc:
        raise InvalidRequest(
            str(exc), param="response_format.json_schema.schema"
        ) from exc


def _directions(wanted: JsonFormat) -> str:
    words = "Answer with JSON only: no words before or after it, no code fence."
    if wanted.schema is None:
        return f"{words} It must be one JSON object."
    schema = orjson.dumps(wanted.schema).decode()
    return f"{words} It must satisfy this JSON Schema:\n{schema}"


def _correction(problem: str) -> str:
    return (
        f"That was not valid: {problem}. Answer again with the corrected JSON only, "
        "no words before or after it, no code fence."
    )


def _read(text: str, wanted: JsonFormat) -> tuple[str, str | None]:
    """The JSON in an answer, and what is wrong with it."""
    found = _extracted(text)
    if found is None:
        return "", "it holds no JSON value"
    source, value = found
    if wanted.schema is None:
        return source, None if isinstance(value, dict) else "it is no JSON object"
    return source, schema_check.problem(wanted.schema, value)


def _extracted(text: str) -> tuple[str, object] | None:
    """The whole text as JSON, else the first object or array in it that is whole."""
    text = text.strip()
    try:
        return text, orjson.loads(text)
    except orjson.JSONDecodeError:
        pass
    for start, character in enumerate(text):
        if character not in "{[":
            continue
        try:
            value, end = _DECODER.raw_decode(text, start)
            return text[start:end], value
        except (ValueError, RecursionError):
            continue
    return None
