"""What the chunks of an OpenAI-compatible upstream's answer mean, or a whole answer."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import orjson

from kimi_proxy.errors import (
    GatewayError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamOverloaded,
)
from kimi_proxy.events import (
    Event,
    Finished,
    FinishReason,
    Meaning,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers import openai_refusal
from kimi_proxy.providers.openai_error import error_of

NO_NAMES: Mapping[str, str] = MappingProxyType({})
# Any other word is taken for `stop`.
_REASONS: Mapping[str, FinishReason] = {
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "sensitive": "content_filter",  # docs.z.ai, chat completion
    "model_context_window_exceeded": "length",
    "model_length": "length",  # docs.mistral.ai/api
}
# An end that is none: whoever read it as one would take half an answer for a whole.
_BROKEN_OFF: Mapping[str, type[GatewayError]] = {
    "error": UpstreamFailed,  # kilo sheet §3, OpenRouter, Mistral
    "network_error": UpstreamFailed,  # docs.z.ai
    "insufficient_system_resource": UpstreamOverloaded,  # api-docs.deepseek.com
    "abort": UpstreamFailed,  # vLLM
}
_THOUGHTS = ("reasoning_content", "reasoning", "thinking")


@dataclass(slots=True)
class Said:
    """What is known of an answer.

    `reasons` are the finish reasons by choice, None while there is none; `calls` the
    tool calls by the upstream's number, `told` what has been said of them. `mended`: a
    call was put right, in the upstream's own words too; `names` are the tools' own by
    those that the upstream knows.
    """

    names: Mapping[str, str] = field(default_factory=lambda: NO_NAMES)
    reasons: dict[int, FinishReason | None] = field(default_factory=dict)
    usage: Usage | None = None
    usage_told: bool = False
    calls: dict[tuple[int, int], int] = field(default_factory=dict)
    begun: dict[int, int] = field(default_factory=dict)
    told: dict[tuple[int, int, str], str] = field(default_factory=dict)
    mended: bool = False

    @property
    def is_whole(self) -> bool:
        return bool(self.reasons) and None not in self.reasons.values()

    def assume_stop(self) -> None:
        """What has begun has ended, though nothing says why."""
        self.reasons = {c: reason or "stop" for c, reason in self.reasons.items()}

    def add(self, document: dict[str, Any], part: str = "delta") -> list[Meaning]:
        """What a chunk means, or a whole answer (`part` is then "message")."""
        if openai_refusal.is_refusal(document):
            raise error_of(200, document, None)
        meant: list[Meaning] = []
        for choice in _list(document, "choices"):
            meant += self._choice(choice, part)
        if self._note_usage(document.get("usage")) and self.usage:
            self.usage_told = True
            meant.append(self.usage)
        return meant

    def _choice(self, choice: dict[str, Any], part: str) -> list[Meaning]:
        number = _number(choice, 0)
        delta = choice.get(part) or {}
        if not isinstance(delta, dict):
            raise UpstreamGarbled(f"the upstream's {part} is no object")
        pieces = _list(delta, "tool_calls")
        calls = self._tool_calls(number, pieces) if pieces else ()
        self._note_reason(number, choice.get("finish_reason"))
        self._note_usage(choice.get("usage"))  # Moonshot's place for it (sheet §3)
        return [*_deltas(delta), *calls] if number == 0 else []

    def _note_reason(self, choice: int, reason: Any) -> None:
        self.reasons.setdefault(choice, None)
        if not reason:
            return
        if not isinstance(reason, str):
            raise UpstreamGarbled("the upstream's finish reason is no word")
        if reason in _BROKEN_OFF:
            raise _BROKEN_OFF[reason](f"the upstream broke its answer off ({reason})")
        self.reasons[choice] = _REASONS.get(reason, "stop")

    def _tool_calls(
        self, choice: int, pieces: Sequence[dict[str, Any]]
    ) -> list[Meaning]:
        """Clients fail where numbers have gaps, and join ids and names that come
        again (clients facts §3.3)."""
        told: list[Meaning] = []
        for position, piece in enumerate(pieces):
            function = piece.get("function")
            function = function if isinstance(function, dict) else {}
            if not isinstance(function.get("name"), str):
                function.pop("name", None)
            index = self._call_of(choice, _number(piece, position), piece, function)
            self._mend(choice, index, piece, function)
            call = (choice, index)
            delta = ToolCallDelta(
                index=index,
                id=self._once(call, piece, "id"),
                name=self._once(call, function, "name"),
                arguments=function.get("arguments") or "",
            )
            told.append(delta)
        return told

    def _call_of(
        self,
        choice: int,
        number: int,
        piece: Mapping[str, Any],
        function: Mapping[str, Any],
    ) -> int:
        """Ours for the upstream's number of a call.

        Servers before Gemini give all of several calls the number 0 (new-api#2701): one
        that has a name and an id unlike the first's is another. Where each delta comes
        with a new id (older vLLM) only the first has a name.
        """
        index = self.calls.get((choice, number))
        if index is not None:
            known = self.told.get((choice, index, "id"))
            new = piece.get("id")
            is_new = bool(new) and known is not None and str(new) != known
            if not (is_new and function.get("name")):
                return index
        index = self.begun.get(choice, 0)
        self.begun[choice] = index + 1
        self.calls[choice, number] = index
        return index

    def _mend(
        self, choice: int, index: int, piece: dict[str, Any], function: dict[str, Any]
    ) -> None:
        if function.get("name") in self.names:
            function["name"], self.mended = self.names[function["name"]], True
        if "index" in piece and piece["index"] != index:
            piece["index"], self.mended = index, True
        if not piece.get("id") and (choice, index, "id") not in self.told:
            # Some give none; without one no result finds its call.
            piece["id"], self.mended = f"call_{uuid.uuid4().hex[:24]}", True
            piece.setdefault("type", "function")
        arguments = function.get("arguments")
        if arguments is not None and not isinstance(arguments, str):
            # Some servers forget that they are a text.
            function["arguments"] = orjson.dumps(arguments).decode()
            self.mended = True

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
        self.told[(*call, what)] = str(value)
        return str(value)

    def _note_usage(self, usage: Any) -> bool:
        if not isinstance(usage, dict):
            return False
        if not isinstance(usage.get("prompt_tokens"), int):
            return False
        self.usage = _usage(usage)
        return True

    def end(self, *, relayed: bool) -> Iterator[Event]:
        """What follows the last chunk: token counts that it did not carry itself.

        Raises `UpstreamGarbled` where a call never said what it calls; of one that is
        relayed the client may know more.
        """
        named = all(
            (choice, index, "name") in self.told
            for choice, count in self.begun.items()
            for index in range(count)
        )
        if not (named or relayed):
            raise UpstreamGarbled("the upstream's tool call has no name")
        if self.usage is not None and not (relayed and self.usage_told):
            yield self.usage
        yield Finished(self.reasons.get(0) or "stop")


def _number(holder: Mapping[str, Any], default: int) -> int:
    """The `index` of a choice or a call."""
    told = holder.get("index")
    if told is None:
        return default
    if not isinstance(told, int):
        raise UpstreamGarbled("the upstream's index is no number")
    return told


def _list(holder: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    found = holder.get(name)
    if not found:
        return []
    if not isinstance(found, list) or not all(isinstance(x, dict) for x in found):
        raise UpstreamGarbled(f"the upstream's {name} is no list of objects")
    return found


def _deltas(delta: Mapping[str, Any]) -> list[Meaning]:
    content, refusal = delta.get("content"), delta.get("refusal")
    parts = _parts(content)
    told: list[Meaning] = []
    if thought := _thought(delta, parts):
        told.append(ReasoningDelta(thought))
    if not isinstance(content, str):
        content = "".join(_text(p) for p in parts if p.get("type") == "text")
    if content:
        told.append(TextDelta(content))
    if isinstance(refusal, str) and refusal:
        told.append(TextDelta(refusal, refuses=True))
    return told


def _parts(holder: Any) -> list[Mapping[str, Any]]:
    """The objects of a list, where it is one."""
    if not isinstance(holder, list):
        return []
    return [part for part in holder if isinstance(part, Mapping)]


def _thought(delta: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> str:
    for name in _THOUGHTS:
        if thought := delta.get(name):
            if isinstance(thought, str):
                return thought
            break
    details = _parts(delta.get("reasoning_details"))
    return "".join(_thoughts(details, parts)) if details or parts else ""


def _thoughts(
    details: Sequence[Mapping[str, Any]], parts: Sequence[Mapping[str, Any]]
) -> Iterator[str]:
    """Thinking as OpenRouter details it, and as Mistral puts it among the content."""
    for detail in details:
        yield _text(detail) or _text(detail, "summary")
    for part in parts:
        if part.get("type") == "thinking":
            yield _text(part, "thinking")
            yield from (_text(piece) for piece in _parts(part.get("thinking")))


def _text(holder: Mapping[str, Any], name: str = "text") -> str:
    found = holder.get(name)
    return found if isinstance(found, str) else ""


def _usage(usage: Mapping[str, Any]) -> Usage:
    cached = _count(usage.get("prompt_tokens_details"), "cached_tokens")
    return Usage(
        prompt_tokens=_count(usage, "prompt_tokens"),
        completion_tokens=_count(usage, "completion_tokens"),
        reasoning_tokens=_count(
            usage.get("completion_tokens_details"), "reasoning_tokens"
        ),
        cached_tokens=cached or _count(usage, "cached_tokens"),
    )


def _count(holder: Any, name: str) -> int:
    found = holder.get(name) if isinstance(holder, Mapping) else None
    return found if isinstance(found, int) else 0
