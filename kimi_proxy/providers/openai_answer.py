"""Answers of an OpenAI-compatible upstream, as events and in its own words."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from kimi_proxy import sse
from kimi_proxy.errors import UpstreamCut, UpstreamFailed, UpstreamGarbled
from kimi_proxy.events import (
    Event,
    Finished,
    FinishReason,
    Meaning,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers import openai_refusal
from kimi_proxy.providers.openai_error import error_of

_DONE = "[DONE]"
_NO_NAMES: Mapping[str, str] = MappingProxyType({})
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_EMPTY: tuple[object, ...] = (None, "", [])


def streamed(
    blocks: Iterator[bytes],
    *,
    relays: bool = False,
    tells_usage: bool = False,
    reasons: bool = True,
    names: Mapping[str, str] = _NO_NAMES,
) -> Iterator[Event]:
    """Events of a chunk stream; without finish reason or end it was cut.

    Where the upstream gives no `reasons`, its end mark is the end. Tools that have
    other `names` there get their own back.

    With `relays` the chunks themselves come, as `Relayed`: at first those that say
    nothing yet (a role) are held back, so that an error after them can still be
    mended; one with nothing but token counts is left out unless `tells_usage`.
    """
    answer, held = _Answer(names=names), _Held()
    reader = sse.events(blocks)
    for event in reader:
        if event.data.strip() == _DONE:
            if not reasons:
                answer.assume_stop()
            break
        document = object_of(event.data.encode())
        meant = tuple(answer.add(document))
        if not relays:
            yield from (m for m in meant if not isinstance(m, Usage))
        elif tells_usage or not _only_counts(document):
            yield from held.release(_chunk(event.data, document, meant, answer))
    if reader.unfinished or not answer.is_whole:
        raise UpstreamCut("the upstream's stream ended without a finish reason")
    yield from answer.end(relayed=relays)


def whole(
    body: bytes,
    *,
    relays: bool = False,
    reasons: bool = True,
    names: Mapping[str, str] = _NO_NAMES,
) -> Iterator[Event]:
    """Events of an answer that came as one object; the rest is as in `streamed`."""
    answer, document = _Answer(names=names), object_of(body)
    meant = tuple(answer.add(document, "message"))
    if not reasons:
        answer.assume_stop()
    if not answer.is_whole:
        raise UpstreamGarbled("the upstream's answer has no finish reason")
    if relays:
        yield Relayed(orjson.dumps(document) if answer.mended else body, meant)
    else:
        yield from (m for m in meant if not isinstance(m, Usage))
    yield from answer.end(relayed=relays)


class _Held:
    """The chunks before the first that says something."""

    def __init__(self) -> None:
        self._chunks: list[Relayed] | None = []

    def release(self, chunk: Relayed) -> Iterator[Event]:
        if self._chunks is None:
            yield chunk
            return
        self._chunks.append(chunk)
        if chunk.events or not _is_preamble(chunk.data):
            yield from self._chunks
            self._chunks = None


def _chunk(
    data: str, document: dict[str, Any], meant: tuple[Meaning, ...], answer: "_Answer"
) -> Relayed:
    # Line ends within the JSON would end the line that we write it on.
    as_it_came = not answer.mended and "\n" not in data
    answer.mended = False
    return Relayed(data.encode() if as_it_came else orjson.dumps(document), meant)


def _only_counts(document: dict[str, Any]) -> bool:
    return not document.get("choices") and isinstance(document.get("usage"), dict)


def _is_preamble(data: bytes) -> bool:
    choices = orjson.loads(data).get("choices") or ()
    return not any(
        choice.get("finish_reason")
        or any(
            value not in _EMPTY
            for name, value in (choice.get("delta") or {}).items()
            if name != "role"
        )
        for choice in choices
    )


@dataclass(slots=True)
class _Answer:
    """What is known of an answer.

    `reasons` are the finish reasons by choice, None while there is none; `calls` the
    tool calls by the upstream's number, `told` what has been said of them. `mended`: a
    call's number or name was put right, in the upstream's own words too; `names` are
    the tools' own by those that the upstream knows.
    """

    names: Mapping[str, str] = field(default_factory=lambda: _NO_NAMES)
    reasons: dict[int, FinishReason | None] = field(default_factory=dict)
    usage: Usage | None = None
    usage_told: bool = False
    calls: dict[tuple[int, int], int] = field(default_factory=dict)
    told: set[tuple[int, int, str]] = field(default_factory=set)
    mended: bool = False

    @property
    def is_whole(self) -> bool:
        return bool(self.reasons) and None not in self.reasons.values()

    def assume_stop(self) -> None:
        """What has begun has ended, though nothing says why."""
        self.reasons = {c: reason or "stop" for c, reason in self.reasons.items()}

    def add(self, document: dict[str, Any], part: str = "delta") -> Iterator[Meaning]:
        """What a chunk means, or a whole answer (`part` is then "message")."""
        if openai_refusal.is_refusal(document):
            raise error_of(200, document, None)
        for choice in _list(document, "choices"):
            yield from self._choice(choice, part)
        usage = document.get("usage")
        if isinstance(usage, dict) and self._note_usage(usage) and self.usage:
            self.usage_told = True
            yield self.usage

    def _choice(self, choice: dict[str, Any], part: str) -> Iterator[Meaning]:
        number = choice.get("index") or 0
        delta = choice.get(part) or {}
        if not isinstance(delta, dict):
            raise UpstreamGarbled(f"the upstream's {part} is no object")
        calls = list(self._tool_calls(number, _list(delta, "tool_calls")))
        if number == 0:
            yield from _deltas(delta)
            yield from calls
        reason = choice.get("finish_reason")
        if reason == "error":
            raise UpstreamFailed("the upstream broke its answer off with an error")
        self.reasons.setdefault(number, None)
        if reason:
            self.reasons[number] = _REASONS.get(reason, "stop")
        if isinstance(usage := choice.get("usage"), dict):
            self._note_usage(usage)  # Moonshot's place for it (Moonshot sheet §3)

    def _tool_calls(
        self, choice: int, pieces: Sequence[dict[str, Any]]
    ) -> Iterator[Meaning]:
        """Clients fail where numbers have gaps, and join ids and names that come
        again (clients facts §3.3)."""
        for position, piece in enumerate(pieces):
            number = piece.get("index")
            number = position if number is None else number
            index = self.calls.setdefault((choice, number), self._next_call(choice))
            function = piece.get("function")
            function = function if isinstance(function, dict) else {}
            if function.get("name") in self.names:
                function["name"], self.mended = self.names[function["name"]], True
            call = (choice, index)
            if "index" in piece and piece["index"] != index:
                piece["index"], self.mended = index, True
            if not piece.get("id") and (*call, "id") not in self.told:
                # Some give none; without one no result finds its call.
                piece["id"], self.mended = f"call_{uuid.uuid4().hex[:24]}", True
                piece.setdefault("type", "function")
            yield ToolCallDelta(
                index=index,
                id=self._once(call, piece, "id"),
                name=self._once(call, function, "name"),
                arguments=function.get("arguments") or "",
            )

    def _known_calls(self) -> Iterator[tuple[int, int]]:
        return ((choice, index) for (choice, _), index in self.calls.items())

    def _next_call(self, choice: int) -> int:
        return sum(1 for known, _ in self.calls if known == choice)

    def _once(
        self, call: tuple[int, int], holder: dict[str, Any], what: str
    ) -> str | None:
        value = holder.get(what)
        if (*call, what) in self.told:
            if what in holder:
                del holder[what]
                self.mended = True
            return None
        if not value:
            return None
        self.told.add((*call, what))
        return str(value)

    def _note_usage(self, usage: dict[str, Any]) -> bool:
        if not isinstance(usage.get("prompt_tokens"), int):
            return False
        self.usage = _usage(usage)
        return True

    def end(self, *, relayed: bool) -> Iterator[Event]:
        """What follows the last chunk: token counts that it did not carry itself.

        Raises `UpstreamGarbled` where a call never said what it calls; of one that is
        relayed the client may know more.
        """
        named = all((*call, "name") in self.told for call in self._known_calls())
        if not (named or relayed):
            raise UpstreamGarbled("the upstream's tool call has no name")
        if self.usage is not None and not (relayed and self.usage_told):
            yield self.usage
        yield Finished(self.reasons.get(0) or "stop")


def _list(holder: dict[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise UpstreamGarbled(f"the upstream's {name} is no list of objects")
    return found


def _deltas(delta: dict[str, Any]) -> Iterator[Meaning]:
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield ReasoningDelta(reasoning)
    for name, refuses in (("content", False), ("refusal", True)):
        text = delta.get(name)
        if isinstance(text, str) and text:
            yield TextDelta(text, refuses)


def _usage(usage: dict[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage.get("completion_tokens") or 0,
        reasoning_tokens=completion.get("reasoning_tokens") or 0,
        cached_tokens=prompt.get("cached_tokens") or usage.get("cached_tokens") or 0,
    )


def object_of(data: bytes) -> dict[str, Any]:
    """A JSON object; raises `UpstreamGarbled` for anything else."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("the upstream's answer is not JSON") from exc
    if not isinstance(document, dict):
        raise UpstreamGarbled("the upstream's answer is not a JSON object")
    return document
