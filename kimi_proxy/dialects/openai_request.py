"""OpenAI's chat completions: the question side, checked field by field."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool, ValidationError

from kimi_proxy.chat import ChatRequest, Message, Role, ToolCall
from kimi_proxy.errors import InvalidRequest, Unsupported

_EFFORTS: dict[str, Literal["none", "low", "medium", "high", "max"]] = {
    "none": "none",
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}
_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_SAMPLING = (
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
)

_LONGEST_PATH = 120


_T = TypeVar("_T")
# Only the first mistake is told: to find all of a million takes minutes.
_Several = Annotated[list[_T], Field(fail_fast=True)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, strict=True)


class _Part(_Wire):
    type: str
    text: str | None = None


class _Function(_Wire):
    name: str
    arguments: str = ""


class _Call(_Wire):
    id: str = ""
    function: _Function


class _Message(_Wire):
    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | _Several[_Part] | None = None
    name: str | None = None
    tool_calls: _Several[_Call] | None = None
    tool_call_id: str | None = None


class _StreamOptions(_Wire):
    include_usage: StrictBool | None = None


class _Format(_Wire):
    type: str


class _Body(_Wire):
    model: str = Field(min_length=1, max_length=256)
    messages: _Several[_Message] = Field(min_length=1)
    stream: StrictBool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    stop: str | _Several[str] | None = None
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: StrictBool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    verbosity: str | None = None
    n: int | None = Field(default=None, ge=1, le=128)
    user: str | None = None
    tools: _Several[dict[str, Any]] | None = None
    functions: _Several[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    response_format: _Format | None = None
    modalities: _Several[str] | None = None
    reasoning_effort: str | None = None
    use_search: StrictBool | None = None
    web_search_options: dict[str, Any] | None = None
    conversation_id: str | None = None


def parse(body: object) -> ChatRequest:
    """Check a JSON value and turn it into a request.

    Raises `InvalidRequest` naming the first wrong field as the client wrote it, or
    `Unsupported` for what is understood but cannot be done.
    """
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object")
    try:
        wire = _Body.model_validate(body)
    except ValidationError as exc:
        raise _first_problem(exc) from None
    messages = tuple(_messages(wire.messages))
    _refuse_unsupported(wire)
    effort = wire.reasoning_effort
    if effort is not None and effort not in _EFFORTS:
        known = ", ".join(_EFFORTS)
        raise InvalidRequest(f"must be one of {known}", param="reasoning_effort")
    options = wire.stream_options
    searches = True if wire.web_search_options is not None else None
    return ChatRequest(
        model=wire.model,
        messages=messages,
        stream=bool(wire.stream),
        include_usage=bool(options and options.include_usage),
        search=searches if wire.use_search is None else wire.use_search,
        effort=None if effort is None else _EFFORTS[effort],
        sampling={k: body[k] for k in _SAMPLING if body.get(k) is not None},
        body=body,
    )


def _messages(wire: list[_Message]) -> Iterator[Message]:
    for index, message in enumerate(wire):
        calls = message.tool_calls or []
        text = _text(message.content, f"messages[{index}].content")
        if message.content is None and message.role != "assistant":
            raise InvalidRequest("must not be null", param=f"messages[{index}].content")
        yield Message(
            role=_ROLES[message.role],
            text=text,
            name=message.name,
            tool_calls=tuple(
                ToolCall(call.id, call.function.name, call.function.arguments)
                for call in calls
            ),
            tool_call_id=message.tool_call_id,
        )


def _text(content: str | list[_Part] | None, path: str) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        if part.type not in {"text", "input_text", "output_text", "refusal"}:
            raise Unsupported(
                f"content parts of type {part.type[:40]!r} are not supported yet",
                param=f"{path}[{index}]",
            )
        if part.type != "refusal" and part.text is None:
            raise InvalidRequest("a text part needs `text`", param=f"{path}[{index}]")
        texts.append(part.text or "")
    return "\n".join(texts)


def _refuse_unsupported(wire: _Body) -> None:
    """Refuse what would change the answer's meaning if it were passed over."""
    if not any(_says_something(message) for message in wire.messages):
        raise InvalidRequest("every message is empty", param="messages")
    if wire.n is not None and wire.n > 1:
        raise Unsupported("only one choice can be made per request", param="n")
    if wire.tools and wire.tool_choice != "none":
        raise Unsupported("tools are not supported yet", param="tools")
    if wire.functions:
        raise Unsupported("functions are not supported yet", param="functions")
    if wire.response_format is not None and wire.response_format.type != "text":
        raise Unsupported(
            "only response_format {'type': 'text'} is supported yet",
            param="response_format.type",
        )
    if wire.modalities is not None and wire.modalities != ["text"]:
        raise Unsupported("only text can be answered", param="modalities")
    if wire.conversation_id not in {None, "", "none"}:
        raise Unsupported(
            "only stateless conversations (null or 'none') are supported yet",
            param="conversation_id",
        )


def _says_something(message: _Message) -> bool:
    if message.tool_calls:
        return True
    if isinstance(message.content, list):
        return any(part.type != "text" or part.text for part in message.content)
    return bool(message.content and message.content.strip())


def _first_problem(exc: ValidationError) -> InvalidRequest:
    """The deepest error, since a union reports one for each of its branches."""
    problem = max(exc.errors(include_url=False), key=lambda e: len(_path(e["loc"])))
    path = "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}"
        for step in _path(problem["loc"])
    ).lstrip(".")
    message = problem["msg"].partition(" or instance of ")[0]
    path = path[:_LONGEST_PATH]  # keys of the client's own are part of it
    return InvalidRequest(f"{path}: {message}", param=path)


def _path(loc: tuple[int | str, ...]) -> list[int | str]:
    """The field's path without the names pydantic gives to branches of a union."""
    return [s for s in loc if isinstance(s, int) or (s.isidentifier() and s != "str")]
