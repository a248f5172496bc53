"""Token counts for upstreams that give none: estimated when the answer is out."""

from collections.abc import Iterator

import orjson

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.shaping import tokens
from kimi_proxy.shaping.ask import Ask, closing

# What the marks around a message cost in the chat templates of this kind of model.
_PER_MESSAGE = 4


def counting_tokens(ask: Ask) -> Ask:
    """Put a marked estimate before the end of an answer that comes without usage."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        said: list[str] = []
        thought: list[str] = []
        counted = False
        with closing(ask(request)) as events:
            for event in events:
                match event:
                    case TextDelta(text) | ToolCallDelta(arguments=text):
                        said.append(text)
                    case ReasoningDelta(text):
                        thought.append(text)
                    case Usage():
                        counted = True
                    case Finished() if not counted:
                        yield _estimate(request, said, thought)
                yield event

    return asked


def _estimate(request: ChatRequest, said: list[str], thought: list[str]) -> Usage:
    reasoning = tokens.count("".join(thought))
    return Usage(
        prompt_tokens=prompt_tokens(request),
        completion_tokens=tokens.count("".join(said)) + reasoning,
        reasoning_tokens=reasoning,
        estimated=True,
    )


def prompt_tokens(request: ChatRequest) -> int:
    """An estimate of what the client's messages and tools cost; files are not in it."""
    total = sum(_message_tokens(message) for message in request.messages)
    for tool in request.tools:
        schema = orjson.dumps(tool.parameters).decode()
        total += tokens.count(f"{tool.name} {tool.description} {schema}")
    return total


def _message_tokens(message: Message) -> int:
    total = _PER_MESSAGE + tokens.count(message.text)
    for call in message.tool_calls:
        total += tokens.count(call.name) + tokens.count(call.arguments)
    return total
