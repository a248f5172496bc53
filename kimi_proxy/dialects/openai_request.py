"""OpenAI's chat completions: the question side, checked field by field."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from kimi_proxy.chat import ChatRequest, Effort, Message, Need, Role, ToolCall
from kimi_proxy.dialects.conversation import conversation_of
from kimi_proxy.dialects.openai_parts import attachments_of, text_of
from kimi_proxy.dialects.openai_tools import json_format_of, tools_of
from kimi_proxy.dialects.openai_wire import Body, ChatMessage
from kimi_proxy.dialects.wire_problem import first_problem
from kimi_proxy.errors import InvalidRequest, Unsupported

EFFORTS: dict[str, Effort] = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_SWITCHED: dict[str, Effort] = {"enabled": "medium", "disabled": "none"}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_SAMPLING = frozenset(
    {
        "temperature",
        "top_p",
        "max_tokens",
        "max_completion_tokens",
        "stop",
        "presence_penalty",
        "frequency_penalty",
        "seed",
        "logit_bias",
        "logprobs",
        "top_logprobs",
        "verbosity",
        # Of other vendors and of OpenAI's own service: known, to be named.
        "top_k",
        "min_p",
        "repetition_penalty",
        "prediction",
        "service_tier",
        "store",
    }
)
# Values that ask for nothing, which many clients send with every request.
_NEUTRAL: dict[str, Any] = {
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0,
    "repetition_penalty": 1,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "service_tier": "auto",
    "store": False,
}
# Clients send null for what a tool that returns nothing has returned.
_MAY_SAY_NOTHING = frozenset({"assistant", "tool", "function"})
_CHOICES = 8  # each costs an answer of its own on most upstreams
_STOPS, _STOP_LENGTH = 16, 1024  # looked for in every piece of an answer


def parse(body: object) -> ChatRequest:
    """Check a JSON value and turn it into a request.

    Raises `InvalidRequest` naming the first wrong field as the client wrote it, or
    `Unsupported` for what is understood but cannot be done. What upstreams of the same
    dialect may understand all the same becomes a need of the request.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        wire = Body.model_validate(body)
    except ValidationError as exc:
        raise first_problem(exc) from None
    needs: list[Need] = []
    messages = tuple(_messages(wire.messages, needs))
    if not needs and not any(says_something(message) for message in messages):
        raise InvalidRequest("every message is empty", param="messages")
    if (wire.n or 1) > 1 and conversation_of(wire.conversation_id):
        raise Unsupported("a conversation goes on with one choice only", param="n")
    needs += _rare(wire)
    options, tools = wire.stream_options, tools_of(wire, needs)
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=bool(options and options.include_usage),
        search=_search(wire, tools.search),
        effort=_effort(wire, needs),
        show_reasoning=wire.include_reasoning,
        tools=tools.functions,
        tool_choice=tools.choice,
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        json_format=json_format_of(wire.response_format, needs),
        stop=_stop(wire, needs),
        max_tokens=wire.max_completion_tokens or wire.max_tokens,
        choices=wire.n or 1,
        conversation=conversation_of(wire.conversation_id),
        user=wire.user or None,
        sampling={k: v for k, v in body.items() if _asks(k, v)},
        body=body,
        relays=True,
        needs=tuple(needs),
    )


def _asks(name: str, value: Any) -> bool:
    """Whether a field of the body is a sampling parameter that changes something."""
    return name in _SAMPLING and value is not None and value != _NEUTRAL.get(name)


def _messages(wire: list[ChatMessage], needs: list[Need]) -> Iterator[Message]:
    for index, message in enumerate(wire):
        place = f"messages[{index}]"
        path = f"{place}.content"
        if message.content is None and message.role not in _MAY_SAY_NOTHING:
            raise InvalidRequest("must not be null", param=path)
        yield Message(
            role=_ROLES[message.role],
            text=text_of(message.content, path, needs),
            name=message.name,
            tool_calls=tuple(_calls(message, place, needs)),
            tool_call_id=message.tool_call_id,
            attachments=tuple(attachments_of(message.content, path, needs)),
        )


def _calls(message: ChatMessage, place: str, needs: list[Need]) -> Iterator[ToolCall]:
    for at, call in enumerate(message.tool_calls or ()):
        path = f"{place}.tool_calls[{at}]"
        if call.function is not None:
            yield ToolCall(call.id or "", call.function.name, call.function.arguments)
        elif call.type == "function":
            path = f"{path}.function"
            raise InvalidRequest("Field required", param=path)
        else:
            kind = repr(call.type[:40])
            needs.append(Need(f"calls of type {kind} are not supported", path))
    if message.function_call is not None:  # the older spelling, of one call
        called = message.function_call
        yield ToolCall("", called.name, called.arguments)


def _rare(wire: Body) -> Iterator[Need]:
    """What would change the answer's meaning if it were passed over."""
    if wire.n is not None and wire.n > _CHOICES:
        yield Need(f"at most {_CHOICES} choices can be made", "n")
    if wire.modalities is not None and wire.modalities != ["text"]:
        yield Need("only text can be answered", "modalities")


def says_something(message: Message) -> bool:
    """Whether there is anything in it for a model to read."""
    return bool(message.tool_calls or message.attachments or message.text.strip())


def _search(wire: Body, asked: bool) -> bool | None:
    if wire.use_search is not None:
        return wire.use_search
    return True if asked or wire.web_search_options is not None else None


def _effort(wire: Body, needs: list[Need]) -> Effort | None:
    """How hard to think: the finer word wins over the switches of other vendors."""
    if wire.reasoning_effort is not None:
        return _known(wire.reasoning_effort, EFFORTS, "reasoning_effort", needs)
    if wire.thinking is not None:
        return _known(wire.thinking.type, _SWITCHED, "thinking.type", needs)
    if wire.enable_thinking is not None:
        return "medium" if wire.enable_thinking else "none"
    return None


def _known(
    word: str, words: dict[str, Effort], param: str, needs: list[Need]
) -> Effort | None:
    if word not in words:
        needs.append(Need(f"must be one of {', '.join(words)}", param))
    return words.get(word)


def _stop(wire: Body, needs: list[Need]) -> tuple[str, ...]:
    given = [wire.stop] if isinstance(wire.stop, str) else wire.stop or []
    if len(given) > _STOPS or any(len(stop) > _STOP_LENGTH for stop in given):
        message = f"at most {_STOPS} sequences of {_STOP_LENGTH} characters"
        needs.append(Need(message, "stop"))
    return tuple(stop for stop in given if stop)
