"""Anthropic's Messages: the question side, checked field by field."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from kimi_proxy.chat import ChatRequest, Effort, JsonFormat, Message
from kimi_proxy.dialects.anthropic_blocks import messages_of, text_of
from kimi_proxy.dialects.anthropic_tools import Tools, tools_of
from kimi_proxy.dialects.anthropic_wire import Body, Thinking
from kimi_proxy.dialects.conversation import conversation_of
from kimi_proxy.dialects.wire_problem import LONGEST_PATH, deepest
from kimi_proxy.errors import InvalidRequest, Unsupported

# Claude Code's own words for hard and harder: 4,000, 10,000 and 31,999 tokens.
_BUDGETS: tuple[tuple[int, Effort], ...] = ((4096, "low"), (16_384, "medium"))
_EFFORTS: dict[str, Effort] = {
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_OFF = frozenset({"disabled", "between_tools"})
_STOPS, _STOP_LENGTH = 16, 1024  # looked for in every piece of an answer


def parse(
    body: object, *, conversation: str | None = None, counts_only: bool = False
) -> ChatRequest:
    """Check a JSON value and turn it into a request.

    `conversation` is the id that the client sent beside the body, which counts unless
    the body has one. Where it `counts_only`, the request is not to be answered and may
    leave out `max_tokens`. Raises `InvalidRequest` naming the first wrong field as the
    client wrote it, or `Unsupported` for what is understood but cannot be done.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        wire = Body.model_validate(body)
    except ValidationError as exc:
        raise _problem(exc) from None
    if wire.max_tokens is None and not counts_only:
        raise InvalidRequest("Field required", param="max_tokens")
    if not counts_only:
        _refuse_foreign(wire)
    messages = tuple(_messages(wire))
    if not any(_says_something(message) for message in messages):
        raise InvalidRequest("every message is empty", param="messages")
    tools = tools_of(wire.tools or (), wire.tool_choice)
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=True,
        counts_first=bool(wire.stream),
        search=tools.search or None,
        effort=_effort(wire),
        show_reasoning=_shows_thinking(wire.thinking),
        tools=tools.functions,
        tool_choice=tools.choice,
        parallel_tool_calls=tools.parallel,
        json_format=_json_format(wire),
        stop=_stop(wire),
        max_tokens=wire.max_tokens,
        conversation=conversation_of(wire.conversation_id or conversation),
        user=(wire.metadata and wire.metadata.user_id) or None,
        sampling={**dict(_sampling(wire)), **dict.fromkeys(_lost(wire, tools), True)},
    )


def _refuse_foreign(wire: Body) -> None:
    """What only Anthropic's own service does, and what is no answer without it."""
    if wire.thread is not None:
        raise _no_thread()
    if wire.compaction is not None:
        raise Unsupported("nothing is summed up here", param="compaction")
    if wire.mcp_servers:
        raise Unsupported("no MCP server is called from here", param="mcp_servers")


def _no_thread() -> Unsupported:
    """Nothing is held here between turns, and the client has to send all of it.

    By this code Anthropic's SDKs know: their tool runners ask for a thread of their own
    accord, and would otherwise send later turns without what came before.
    """
    error = Unsupported("send the whole history in 'messages'", param="thread")
    error.shown_code = "thread_unsupported_request"
    return error


def _messages(wire: Body) -> Iterator[Message]:
    directions = text_of(wire.system, "system")
    if directions:
        yield Message("system", directions)
    for index, turn in enumerate(wire.messages):
        yield from messages_of(turn, f"messages.{index}")


def _says_something(message: Message) -> bool:
    if message.role in ("system", "tool"):
        return message.role == "tool"
    return bool(message.tool_calls or message.attachments or message.text.strip())


def _effort(wire: Body) -> Effort | None:
    """How hard to think: a switch that is off wins over a word, that over a budget."""
    thinking = wire.thinking
    if thinking is not None and thinking.type in _OFF:
        return "none"
    if wire.output_config is not None and wire.output_config.effort is not None:
        return _EFFORTS[wire.output_config.effort]
    if thinking is None:
        return None
    if thinking.budget_tokens is None:
        return "medium"
    fitting = (word for most, word in _BUDGETS if thinking.budget_tokens <= most)
    return next(fitting, "high")


def _shows_thinking(thinking: Thinking | None) -> bool:
    """Only to clients that ask for it: many take the first block for the answer."""
    if thinking is None or thinking.type in _OFF:
        return False
    return thinking.display != "omitted"


def _json_format(wire: Body) -> JsonFormat | None:
    config = wire.output_config
    wanted = config.format if config is not None else None
    path = "output_config.format" if wanted is not None else "output_format"
    wanted = wanted or wire.output_format
    if wanted is None:
        return None
    if wanted.type != "json_schema":
        raise Unsupported("only 'json_schema' is supported", param=f"{path}.type")
    if wanted.document is None:
        raise InvalidRequest("Field required", param=f"{path}.schema")
    return JsonFormat(wanted.document)


def _stop(wire: Body) -> tuple[str, ...]:
    given = wire.stop_sequences or []
    if len(given) > _STOPS or any(len(stop) > _STOP_LENGTH for stop in given):
        raise Unsupported(
            f"at most {_STOPS} sequences of {_STOP_LENGTH} characters",
            param="stop_sequences",
        )
    return tuple(stop for stop in given if stop)


def _sampling(wire: Body) -> Iterator[tuple[str, Any]]:
    """What only some upstreams honour, under OpenAI's names.

    Anthropic's own defaults ask for nothing: clients send them with every request, and
    there are models that refuse any temperature.
    """
    if wire.temperature is not None and wire.temperature != 1:
        yield "temperature", wire.temperature
    if wire.top_p is not None and wire.top_p != 1:
        yield "top_p", wire.top_p
    if wire.top_k:
        yield "top_k", wire.top_k
    if stops := _stop(wire):
        yield "stop", list(stops)
    if wire.max_tokens is not None:
        yield "max_tokens", wire.max_tokens


def _lost(wire: Body, tools: Tools) -> Iterator[str]:
    """What only Anthropic's service does, and what is an answer without it."""
    config = wire.output_config
    for name, value in (
        ("container", wire.container),
        ("fallbacks", wire.fallbacks),
        ("inference_geo", wire.inference_geo),
        ("output_config.task_budget", config and config.task_budget),
        ("speed", wire.speed != "standard" and wire.speed),
    ):
        if value:
            yield name
    yield from tools.ignored


def _problem(exc: ValidationError) -> InvalidRequest:
    """The first error, at a path as Anthropic writes it: `messages.0.content`."""
    steps, message = deepest(exc)
    return InvalidRequest(message, param=".".join(map(str, steps))[:LONGEST_PATH])
