"""Token counts for upstreams that give none: estimated when the answer is out."""

import json
from collections.abc import Iterator, Sequence

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
    reasoning = tokens.count("".join(thought))
    return Usage(
        prompt_tokens=prompt_tokens(request),
        completion_tokens=tokens.count("".join(said)) + reasoning,
        reasoning_tokens=reasoning,
        estimated=True,
    )


def prompt_tokens(request: ChatRequest) -> int:
    """An estimate of what messages and tools cost; files are not in it.

    The turns that an upstream chat has already are, since the model reads them again.
    """
    messages = (*request.past, *request.messages)
    total = sum(_message_tokens(message) for message in messages)
    for tool in request.tools:
        schema = json.dumps(tool.parameters, ensure_ascii=False)
        total += tokens.count(f"{tool.name} {tool.description} {schema}")
    return total


def _message_tokens(message: Message) -> int:
    total = _PER_MESSAGE + tokens.count(message.text)
    for call in message.tool_calls:
        total += tokens.count(call.name) + tokens.count(call.arguments)
    return total
