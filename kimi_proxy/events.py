"""What is said back: the closed set of events that every provider yields.

A provider yields any number of deltas, then exactly one `Finished`, last. Failure is
a raised `GatewayError`, never an event.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, assert_never

FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]


@dataclass(frozen=True, slots=True)
class TextDelta:
    """A piece of the answer; never empty. `refuses`: it says why there is none."""

    text: str
    refuses: bool = False


@dataclass(frozen=True, slots=True)
class ReasoningDelta:
    """A piece of the thinking that precedes the answer; never empty."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A piece of a tool call: `index` is dense from 0, `id` and `name` come once."""

    index: int
    id: str | None
    name: str | None
    arguments: str


@dataclass(frozen=True, slots=True)
class Citation:
    """A source the answer stands on; `placed`: the words just before it do.

    `span` is the part of the answer it is for, in characters from the start of the
    answer, as far as that is known.
    """

    url: str
    title: str
    placed: bool = False
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts; `estimated` when they are not the upstream's own."""

    prompt_tokens: int
    completion_tokens: int
    reasoning_tokens: int = 0
    cached_tokens: int = 0
    estimated: bool = False

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.reasoning_tokens + other.reasoning_tokens,
            self.cached_tokens + other.cached_tokens,
            self.estimated or other.estimated,
        )


@dataclass(frozen=True, slots=True)
class Finished:
    """The answer is whole.

    `conversation` is what the upstream calls the chat, `head` what it calls the message
    that a next turn follows. `matched` is the stop sequence that ended it, where that
    is known.
    """

    reason: FinishReason
    conversation: str | None = None
    head: str | None = None
    matched: str | None = None


Meaning = TextDelta | ReasoningDelta | ToolCallDelta | Citation | Usage | Finished


@dataclass(frozen=True, slots=True)
class Relayed:
    """What an upstream said to a client of its own dialect, as it said it.

    `data` is JSON: a chunk of a stream, or a whole answer. `events` are as much of its
    meaning as others have to know: text, thinking and tool calls of the first choice,
    token counts. The end is told by `Finished` all the same.
    """

    data: bytes
    events: tuple[Meaning, ...] = ()


Event = Meaning | Relayed


@dataclass(frozen=True, slots=True)
class CollectedCall:
    """A tool call put together from its deltas."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ChatResult:
    """The fold of one event stream: what a non-streaming client gets.

    `matched` is the stop sequence that ended it, if that is known; `relayed` the whole
    answer as the upstream wrote it, if it may be handed on. `refuses`: the text says
    why there is no answer.
    """

    text: str
    reasoning: str
    tool_calls: tuple[CollectedCall, ...]
    citations: tuple[Citation, ...]
    usage: Usage | None
    reason: FinishReason
    conversation: str | None
    relayed: bytes | None = None
    matched: str | None = None
    refuses: bool = False


class Collector:
    """Folds events into a `ChatResult`; `finished` turns true at the last one."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._refuses = False
        self._reasoning: list[str] = []
        self._calls: dict[int, CollectedCall] = {}
        self._citations: list[Citation] = []
        self._usage: Usage | None = None
        self._relayed: bytes | None = None
        self._end: Finished | None = None

    @property
    def finished(self) -> bool:
        return self._end is not None

    def add(self, event: Event) -> None:
        match event:
            case TextDelta(text, refuses):
                self._text.append(text)
                self._refuses |= refuses
            case ReasoningDelta(text):
                self._reasoning.append(text)
            case ToolCallDelta():
                self._add_call(event)
            case Citation():
                self._citations.append(event)
            case Usage():
                self._usage = event
            case Relayed(data, events):
                self._relayed = data
                for meant in events:
                    self.add(meant)
            case Finished():
                self._end = event
            case _:
                assert_never(event)

    def _add_call(self, delta: ToolCallDelta) -> None:
        known = self._calls.get(delta.index, CollectedCall("", "", ""))
        self._calls[delta.index] = CollectedCall(
            known.id or delta.id or "",
            known.name or delta.name or "",
            known.arguments + delta.arguments,
        )

    def result(self) -> ChatResult:
        """The whole answer; raises ValueError before `Finished` was added."""
        if self._end is None:
            raise ValueError("the stream has not finished")
        return ChatResult(
            text="".join(self._text),
            reasoning="".join(self._reasoning),
            tool_calls=tuple(self._calls[i] for i in sorted(self._calls)),
            citations=tuple(self._citations),
            usage=self._usage,
            reason=self._end.reason,
            conversation=self._end.conversation,
            relayed=self._relayed,
            matched=self._end.matched,
            refuses=self._refuses,
        )


def collect(events: Iterable[Event]) -> ChatResult:
    """Fold a finished stream; raises whatever the stream raises."""
    collector = Collector()
    for event in events:
        collector.add(event)
    return collector.result()
