"""Answers in Anthropic's Messages, and its errors."""

from typing import Any, Literal

from kimi_proxy.reference.shape import Told


class AnthropicErrorFacts(Told):
    """What went wrong; `details.error_code` is the code that OpenAI's errors have."""

    type: str
    message: str
    details: dict[str, Any] | None = None


class AnthropicError(Told):
    """The error object; as an event of type `error` it also ends a stream."""

    type: Literal["error"]
    error: AnthropicErrorFacts
    request_id: str


class ContentBlock(Told):
    """Text, thinking or the use of a tool: its type decides which fields it has."""

    type: str
    text: str | None = None
    citations: list[dict[str, Any]] | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None


class MessageUsage(Told):
    """Counts of tokens; `estimated` where the upstream tells none."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: dict[str, Any] | None = None
    estimated: bool = False


class Message(Told):
    """A whole answer."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    model: str
    content: list[ContentBlock]
    stop_reason: (
        Literal["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"] | None
    )
    stop_sequence: str | None
    usage: MessageUsage
    conversation_id: str | None = None


class MessageEvent(Told):
    """The `data` of an event, whose `event:` line is its `type`.

    `message_stop` ends a stream that succeeded, `error` one that failed; `ping` says
    that the gateway still waits for the upstream.
    """

    type: Literal[
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "ping",
        "error",
    ]
    index: int | None = None
    message: Message | None = None
    content_block: ContentBlock | None = None
    delta: dict[str, Any] | None = None
    usage: dict[str, Any] | None = None
    error: AnthropicErrorFacts | None = None


class TokenCount(Told):
    """What a prompt would cost."""

    input_tokens: int


class AnthropicModel(Told):
    """A model as Anthropic's clients want it described."""

    type: Literal["model"]
    id: str
    display_name: str
    created_at: str
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class AnthropicModels(Told):
    """All models that the key may use."""

    data: list[AnthropicModel]
    has_more: bool
    first_id: str | None
    last_id: str | None


class AnthropicFile(Told):
    """A file as Anthropic's clients want it described."""

    id: str
    type: Literal["file"]
    filename: str
    mime_type: str
    size_bytes: int
    created_at: str
    expires_at: str
    downloadable: bool


class AnthropicFiles(Told):
    """A page of the key's files."""

    data: list[AnthropicFile]
    has_more: bool
    first_id: str | None
    last_id: str | None
    next_page: str | None


class DeletedAnthropicFile(Told):
    """A file that is gone."""

    id: str
    type: Literal["file_deleted"]
