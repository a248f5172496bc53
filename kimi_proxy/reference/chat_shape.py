"""Answers in OpenAI's chat completions, and its errors."""

from typing import Any, Literal

from kimi_proxy.reference.shape import Told

Reason = Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class ErrorFacts(Told):
    """What went wrong: `code` is for programs, `message` for people."""

    message: str
    type: str
    param: str | None
    code: str | None


class Error(Told):
    """The error object; it also ends a stream that fails after its start."""

    error: ErrorFacts


class CallFunction(Told):
    """Which function, and its arguments as JSON text."""

    name: str
    arguments: str


class ToolCall(Told):
    """A call that the client is to make."""

    id: str
    type: str
    function: CallFunction | None = None


class AssistantMessage(Told):
    """The answer; `annotations` are the sources of a web search."""

    role: Literal["assistant"]
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: list[ToolCall] | None = None


class Choice(Told):
    """One of the `n` answers."""

    index: int
    message: AssistantMessage
    finish_reason: Reason | None


class CompletionUsage(Told):
    """Counts of tokens; `estimated` where the upstream tells none."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, Any] | None = None
    completion_tokens_details: dict[str, Any] | None = None
    estimated: bool = False


class ChatCompletion(Told):
    """A whole answer; `conversation_id` names a chat that can be gone on with."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: CompletionUsage | None = None
    conversation_id: str | None = None


class CallFunctionDelta(Told):
    """A piece of a call's arguments; the name comes with the first."""

    name: str | None = None
    arguments: str | None = None


class ToolCallDelta(Told):
    """A piece of a call; its id comes with the first."""

    index: int
    id: str | None = None
    type: str | None = None
    function: CallFunctionDelta | None = None


class Delta(Told):
    """What is said more."""

    role: str | None = None
    content: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None
    annotations: list[dict[str, Any]] | None = None
    tool_calls: list[ToolCallDelta] | None = None


class ChunkChoice(Told):
    """A piece of one of the `n` answers; the last has a `finish_reason`."""

    index: int
    delta: Delta
    finish_reason: Reason | None = None


class ChatCompletionChunk(Told):
    """The `data` of an event; `data: [DONE]` ends a stream that succeeded."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChunkChoice]
    usage: CompletionUsage | None = None
    conversation_id: str | None = None
