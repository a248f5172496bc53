"""A model that gives scripted answers, and the ways a request comes to it."""

from collections.abc import Iterable, Iterator
from typing import Any

from kimi_proxy.chat import ChatRequest, Message, Tool
from kimi_proxy.events import ChatResult, Event, Finished, TextDelta, collect
from kimi_proxy.shaping.ask import Ask
from kimi_proxy.shaping.pipeline import shaped

ANY = {"type": "object"}
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("get_weather", "The weather now.", CITY)
CLOCK = Tool("get_time", "", {})
Answer = str | Iterable[Event | str]


class Model:
    """Gives one answer after the other: texts, or events (a text is a `TextDelta`).

    An answer without an end gets one that names the chat, if the model keeps any.
    `asked` are the requests as they came; `closed` counts the answers that were left.
    """

    honours: frozenset[str] = frozenset()

    def __init__(self, *answers: Answer, chat: str | None = None) -> None:
        self.asked: list[ChatRequest] = []
        self.closed = 0
        self.pulled = 0
        self._answers = iter(answers)
        self._chat = chat

    def ask(self, request: ChatRequest) -> Iterator[Event]:
        self.asked.append(request)
        answer = next(self._answers)
        ended = False
        try:
            for said in [answer] if isinstance(answer, str) else answer:
                event = TextDelta(said) if isinstance(said, str) else said
                ended = ended or isinstance(event, Finished)
                self.pulled += 1
                yield event
            if not ended:
                head = f"head-{len(self.asked)}" if self._chat else None
                yield Finished("stop", self._chat, head)
        finally:
            self.closed += 1

    @property
    def prompts(self) -> list[str]:
        """What was asked, each time as one text."""
        return ["\n".join(m.text for m in r.messages) for r in self.asked]


def question(text: str = "How is it?", **fields: Any) -> ChatRequest:
    """A streamed request of one message: nobody counts tokens then."""
    given = {"messages": (Message("user", text),), "stream": True, **fields}
    return ChatRequest("model", **given)


def tooled(text: str = "How is it?", **fields: Any) -> ChatRequest:
    return question(text, **{"tools": (WEATHER, CLOCK), **fields})


def through(model: Model, request: ChatRequest) -> list[Event]:
    """All that comes of a request after every step."""
    return list(way(model, request)(request))


def whole(model: Model, request: ChatRequest) -> ChatResult:
    return collect(through(model, request))


def way(model: Model, request: ChatRequest) -> Ask:
    return shaped(model.ask, request, model.honours)


def calls_of(result: ChatResult) -> list[tuple[str, str]]:
    return [(call.name, call.arguments) for call in result.tool_calls]
