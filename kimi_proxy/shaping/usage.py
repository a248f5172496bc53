"""Token counts for upstreams that give none: estimated when the answer is out."""

import json
import time
from collections.abc import Iterable, Iterator, Sequence

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
    """Put a marked estimate before the end of an answer that comes without usage."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        said: list[str] = []
        thought: list[str] = []
        # Of several choices at once only the first is known here.
        counted = request.relays and request.choices > 1
        with closing(ask(request)) as events:
            for event in events:
                for meant in event.events if isinstance(event, Relayed) else (event,):
                    match meant:
                        case TextDelta(text):
                            said.append(text)
                        case ToolCallDelta(name=name, arguments=text):
                            said += [name or "", text]
                        case ReasoningDelta(text):
                            thought.append(text)
                        case Usage():
                            counted = True
                        case Finished() if not counted:
                            yield _estimate(request, said, thought)
                yield event

    return asked


def _estimate(
    request: ChatRequest, said: Sequence[str], thought: Sequence[str]
) -> Usage:
    reasoning = _count(["".join(thought)])
    return Usage(
        prompt_tokens=prompt_tokens(request),
        completion_tokens=_count(["".join(said)]) + reasoning,
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
