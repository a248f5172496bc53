"""Token counts for upstreams that give none: estimated when the answer is out."""

import json
import time
from collections.abc import Iterable, Iterator
from functools import cached_property

from kimi_proxy.chat import ChatRequest, Message, Tool
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.shaping import tokens
from kimi_proxy.shaping.ask import Ask, closing

# What the marks around a message cost in the chat templates of this kind of model.
_PER_MESSAGE = 4
_TURN = 16_384  # characters between two turns of others: 2 ms


def counting_tokens(ask: Ask) -> Ask:
    """Put a marked estimate before the end of an answer that comes without usage.

    One of the prompt alone precedes all else where the request wants that.
    """

    def asked(request: ChatRequest) -> Iterator[Event]:
        tally = _Tally(request)
        first = request.counts_first
        with closing(ask(request)) as events:
            for event in events:
                if first:
                    first = False
                    yield Usage(tally.prompt, 0, estimated=True)
                for meant in event.events if isinstance(event, Relayed) else (event,):
                    if isinstance(meant, Finished) and not tally.told:
                        yield tally.estimate()
                    tally.note(meant)
                yield event

    return asked


class _Tally:
    """What is known of an answer's cost; `told` when the upstream counts itself."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._said: list[str] = []
        self._thought: list[str] = []
        # Of several choices at once only the first is known here.
        self.told = request.relays and request.choices > 1

    @cached_property
    def prompt(self) -> int:
        """An estimate of the prompt's tokens, made once."""
        return prompt_tokens(self._request)

    def note(self, event: Event) -> None:
        match event:
            case TextDelta(text):
                self._said.append(text)
            case ToolCallDelta(name=name, arguments=text):
                self._said += [name or "", text]
            case ReasoningDelta(text):
                self._thought.append(text)
            case Usage():
                self.told = True

    def estimate(self) -> Usage:
        reasoning = _count(["".join(self._thought)])
        return Usage(
            prompt_tokens=self.prompt,
            completion_tokens=_count(["".join(self._said)]) + reasoning,
            reasoning_tokens=reasoning,
            estimated=True,
        )


def prompt_tokens(request: ChatRequest) -> int:
    """An estimate of what messages and tools cost; files are not in it.

    The turns that an upstream chat has already are, since the model reads them again.
    """
    messages = (*request.past, *request.messages)
    return _PER_MESSAGE * len(messages) + _count(_texts(messages, request.tools))


def _texts(messages: Iterable[Message], tools: Iterable[Tool]) -> Iterator[str]:
    for message in messages:
        yield message.text
        for call in message.tool_calls:
            yield call.name
            yield call.arguments
    for tool in tools:
        schema = json.dumps(tool.parameters, ensure_ascii=False)
        yield f"{tool.name} {tool.description} {schema}"


def _count(texts: Iterable[str]) -> int:
    """The tokens of all. A megabyte takes a tenth of a second: now and then whoever
    else has something to do gets a turn."""
    total = since_turn = 0
    for text in texts:
        counter = tokens.Counter()
        for begin in range(0, len(text), _TURN):
            piece = text[begin : begin + _TURN]
            counter.add(piece)
            since_turn += len(piece)
            if since_turn >= _TURN:
                since_turn = 0
                time.sleep(0)
        total += counter.total
    return total
