"""OpenAI's Responses: the question side, checked field by field."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from kimi_proxy.chat import ChatRequest, JsonFormat, Message, Need
from kimi_proxy.dialects import openai_request
from kimi_proxy.dialects.conversation import conversation_of
from kimi_proxy.dialects.openai_request import EFFORTS
from kimi_proxy.dialects.responses_input import (
    Recall,
    Turns,
    require_known,
    resolved,
)
from kimi_proxy.dialects.responses_tools import Tools, tools_of
from kimi_proxy.dialects.responses_wire import Item, ResponsesBody
from kimi_proxy.dialects.wire_problem import first_problem
from kimi_proxy.errors import InvalidRequest, Unsupported

_ITEMS = TypeAdapter(list[Item])
_LONGEST_VALUE = 512  # characters of one value of the metadata
# What the service tells back of the request, with what stands for saying nothing.
_TOLD_BACK: dict[str, Any] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
_NEUTRAL_TIERS = frozenset({None, "auto", "default"})
_LOGPROBS = "message.output_text.logprobs"
_SEALED = "reasoning.encrypted_content"

Wire = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and what its answer has to know of it.

    `told` is what is told back of the request, `items` its input as it may be asked for
    later. `summarised`: the thinking is told as a summary; `sealed`: packed as well.
    """

    chat: ChatRequest
    told: Wire = field(repr=False)
    items: tuple[Wire, ...] = field(repr=False)
    previous: str | None = None
    stored: bool = True
    tools: Tools = field(default_factory=Tools)
    summarised: bool = False
    sealed: bool = False


def parse(body: Mapping[str, Any], recall: Recall) -> Asked:
    """Check a JSON object and turn it into a request.

    Raises `InvalidRequest` naming the first wrong field as the client wrote it,
    `Unsupported` for what only OpenAI's own service has, or `NotFound` for what is not
    stored (any more).
    """
    given = body.get("input")
    require_known(given, "input")
    body = {**body, "input": resolved(given, recall)}
    try:
        wire = ResponsesBody.model_validate(body)
    except ValidationError as exc:
        raise first_problem(exc) from None
    _refuse_foreign(wire)
    needs: list[Need] = []
    tools = tools_of(wire.tools, wire.tool_choice)
    messages = (*_directions(wire, needs), *_messages(wire, recall, needs))
    if needs:
        raise Unsupported(needs[0].message, param=needs[0].param)
    reasoning = wire.reasoning
    summary = reasoning and (reasoning.summary or reasoning.generate_summary)
    return Asked(
        chat=_chat(wire, body, messages, tools),
        told={k: _or(body.get(k), other) for k, other in _TOLD_BACK.items()},
        items=_items(body.get("input")),
        previous=wire.previous_response_id,
        stored=wire.store is not False,
        tools=tools,
        summarised=summary is not None,
        sealed=_SEALED in (wire.include or ()),
    )


def parse_chat(body: Mapping[str, Any]) -> Asked:
    """The same for a body in the shape of chat completions; nothing of it is stored.

    What is said back of it has the shape of Responses, so nothing may be relayed.
    """
    chat = openai_request.parse(body)
    if chat.needs:
        raise Unsupported(chat.needs[0].message, param=chat.needs[0].param)
    if chat.choices > 1:
        raise Unsupported("a response is one answer", param="n")
    chat = replace(chat, relays=False, include_usage=True)
    names = ("metadata", "parallel_tool_calls", "temperature", "top_p", "user")
    told = {k: _or(body.get(k), other) for k, other in _TOLD_BACK.items() if k in names}
    told = {**_TOLD_BACK, **told, "max_output_tokens": chat.max_tokens}
    told["tools"] = [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "parameters": tool.parameters,
            "strict": tool.strict,
        }
        for tool in chat.tools
    ]
    return Asked(chat, told, (), stored=False)


def as_chat(body: Mapping[str, Any], recall: Recall) -> ChatRequest:
    """A body in the shape of Responses that is to be answered as a chat."""
    options = body.get("stream_options")
    asked = options.get("include_usage") if isinstance(options, dict) else None
    return replace(parse(body, recall).chat, include_usage=bool(asked))


def _or(value: Any, other: Any) -> Any:
    return other if value is None else value


def _chat(
    wire: ResponsesBody,
    body: Mapping[str, Any],
    messages: tuple[Message, ...],
    tools: Tools,
) -> ChatRequest:
    kept = ("temperature", "top_p", "user")
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=True,
        search=wire.use_search if wire.use_search is not None else tools.search or None,
        effort=_effort(wire),
        show_reasoning=wire.include_reasoning,
        tools=tools.functions,
        tool_choice=tools.choice,
        parallel_tool_calls=wire.parallel_tool_calls is not False,
        json_format=_format(wire),
        max_tokens=wire.max_output_tokens,
        conversation=conversation_of(wire.conversation_id),
        user=wire.user or wire.safety_identifier or None,
        sampling=dict(_sampling(wire, tools)),
        body={name: body[name] for name in kept if body.get(name) is not None},
    )


def _refuse_foreign(wire: ResponsesBody) -> None:
    """Raise `Unsupported` for what lives in OpenAI's own service."""
    logprobs = "the probabilities of tokens cannot be told"
    for param, asked, message in (
        ("background", wire.background, "a response is made while the client waits"),
        ("conversation", wire.conversation, "use `previous_response_id`"),
        ("prompt", wire.prompt, "there are no stored prompts"),
        ("top_logprobs", wire.top_logprobs, logprobs),
        ("include", _LOGPROBS in (wire.include or ()), logprobs),
    ):
        if asked:
            raise Unsupported(f"`{param}` is not supported: {message}", param=param)
    for name, value in (wire.metadata or {}).items():
        if len(name) > 64 or len(value) > _LONGEST_VALUE:
            message = "names may have 64 characters, values 512"
            raise InvalidRequest(message, param="metadata")


def _directions(wire: ResponsesBody, needs: list[Need]) -> tuple[Message, ...]:
    """The instructions, which precede all else and are of this request only."""
    given = wire.instructions
    if isinstance(given, str):
        return (Message("system", given),) if given.strip() else ()
    turns = Turns(needs)
    for index, item in enumerate(given or ()):
        turns.add(item, f"instructions[{index}]")
    return turns.messages()


def _messages(
    wire: ResponsesBody, recall: Recall, needs: list[Need]
) -> tuple[Message, ...]:
    turns = Turns(needs)
    if wire.previous_response_id is not None:
        for index, item in enumerate(_read(recall.history(wire.previous_response_id))):
            turns.add(item, f"previous_response_id[{index}]")
    if isinstance(wire.input, str):
        turns.add(Item(role="user", content=wire.input), "input")
    for index, item in enumerate(wire.input if isinstance(wire.input, list) else ()):
        turns.add(item, f"input[{index}]")
    messages = turns.messages()
    if not needs and not any(map(openai_request.says_something, messages)):
        raise InvalidRequest("nothing is asked", param="input")
    return messages


def _read(stored: Sequence[Mapping[str, Any]]) -> list[Item]:
    """Items that were checked, or written, before they were stored."""
    return _ITEMS.validate_python(stored)


def _items(given: Any) -> tuple[Wire, ...]:
    """The input as items, as the service lists it."""
    if isinstance(given, list):
        return tuple({"type": "message", **_listed(item)} for item in given)
    text = [{"type": "input_text", "text": given or ""}]
    said = {"type": "message", "role": "user", "content": text}
    return (said,) if given else ()


def _listed(item: Mapping[str, Any]) -> dict[str, Any]:
    """An item without what it leaves open; a message's text is a part there."""
    told = {name: value for name, value in item.items() if value is not None}
    text, role = told.get("content"), told.get("role")
    if isinstance(text, str) and isinstance(role, str):
        kind = "output_text" if role == "assistant" else "input_text"
        told["content"] = [{"type": kind, "text": text}]
    return told


def _effort(wire: ResponsesBody) -> Any:
    word = None if wire.reasoning is None else wire.reasoning.effort
    if word is not None and word not in EFFORTS:
        known = ", ".join(EFFORTS)
        raise Unsupported(f"must be one of {known}", param="reasoning.effort")
    return None if word is None else EFFORTS[word]


def _format(wire: ResponsesBody) -> JsonFormat | None:
    wanted = None if wire.text is None else wire.text.format
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JsonFormat()
    if wanted.type != "json_schema":
        message = "only 'text', 'json_object' and 'json_schema' are supported"
        raise Unsupported(message, param="text.format.type")
    if wanted.document is None:
        raise InvalidRequest("is required", param="text.format.schema")
    return JsonFormat(wanted.document, wanted.name)


def _sampling(wire: ResponsesBody, tools: Tools) -> Iterator[tuple[str, Any]]:
    """What only some upstreams honour; names of none are named to the client."""
    verbosity = None if wire.text is None else wire.text.verbosity
    tier = None if wire.service_tier in _NEUTRAL_TIERS else wire.service_tier
    for name, value in (
        ("temperature", wire.temperature),
        ("top_p", None if wire.top_p == 1 else wire.top_p),
        ("max_completion_tokens", wire.max_output_tokens),
        ("verbosity", verbosity),
        ("service_tier", tier),
        ("max_tool_calls", wire.max_tool_calls),
        ("truncation", None if wire.truncation == "disabled" else wire.truncation),
        ("context_management", wire.context_management or None),
        ("moderation", wire.moderation or None),
        *((kind, True) for kind in tools.ignored),
    ):
        if value is not None:
            yield name, value
