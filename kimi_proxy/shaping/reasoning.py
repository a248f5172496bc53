"""Thinking kept from clients that do not want to see it."""

from collections.abc import Iterator

from kimi_proxy.chat import ChatRequest
from kimi_proxy.events import Event, ReasoningDelta
from kimi_proxy.shaping.ask import Ask, closing


def hiding_reasoning(ask: Ask) -> Ask:
    """Leave the thinking out."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        with closing(ask(request)) as events:
            for event in events:
                if not isinstance(event, ReasoningDelta):
                    yield event

    return asked
