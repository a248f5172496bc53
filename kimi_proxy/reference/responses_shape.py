"""Answers in OpenAI's Responses."""

from typing import Any, Literal

from kimi_proxy.reference.shape import Told


class OutputItem(Told):
    """A message, a call or thinking: its type decides which fields it has."""

    type: str
    id: str | None = None
    status: str | None = None
    role: str | None = None
    content: list[dict[str, Any]] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    action: dict[str, Any] | None = None
    summary: list[dict[str, Any]] | None = None
    encrypted_content: str | None = None


class ResponseUsage(Told):
    """Counts of tokens; `estimated` where the upstream tells none."""

    input_tokens: int
    output_tokens: int
    total_tokens: int
    input_tokens_details: dict[str, Any] | None = None
    output_tokens_details: dict[str, Any] | None = None
    estimated: bool = False


class ResponseFailure(Told):
    """Why a response failed after its start."""

    code: str
    message: str


class Incomplete(Told):
    """Why a response ended early."""

    reason: str


class Response(Told):
    """A response; what the request said of it is told back beside these fields."""

    id: str
    object: Literal["response"]
    created_at: float
    status: Literal[
        "completed", "failed", "in_progress", "cancelled", "queued", "incomplete"
    ]
    error: ResponseFailure | None
    incomplete_details: Incomplete | None
    model: str
    output: list[OutputItem]
    usage: ResponseUsage | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    conversation_id: str | None = None


class ResponseEvent(Told):
    """The `data` of an event, whose `event:` line is its `type`.

    The last is `response.completed`, `response.incomplete` or `response.failed`.
    """

    type: str
    sequence_number: int
    response: Response | None = None
    item: OutputItem | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    delta: str | None = None


class DeletedResponse(Told):
    """A response that is forgotten."""

    id: str
    object: str
    deleted: bool


class InputItems(Told):
    """A page of what the model was given."""

    object: Literal["list"]
    data: list[dict[str, Any]]
    first_id: str | None
    last_id: str | None
    has_more: bool


class InputTokens(Told):
    """What a prompt would cost."""

    object: Literal["response.input_tokens"]
    input_tokens: int
