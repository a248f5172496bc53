"""The JSON of a Responses request, as far as the gateway reads it.

Unknown fields are passed over, as in `openai_wire`.
"""

from typing import Any, Literal

from pydantic import Field, StrictBool

from kimi_proxy.dialects.openai_wire import Part, Several, Wire


class Item(Wire):
    """An input item of any type: which fields it has to have is its type's matter."""

    type: str | None = None
    id: str | None = None
    role: Literal["user", "assistant", "system", "developer"] | None = None
    content: str | Several[Part] | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: str | None = None
    input: str | None = None
    output: str | Several[Part] | None = None
    summary: Several[Part] | None = None
    encrypted_content: str | None = None
    action: dict[str, Any] | None = None


class TextFormat(Wire):
    """What the answer has to look like; the schema is beside the type here."""

    type: str
    name: str = ""
    # "schema" is a method's name in pydantic.
    document: dict[str, Any] | None = Field(default=None, alias="schema")


class Text(Wire):
    """How the answer is written."""

    format: TextFormat | None = None
    verbosity: str | None = None


class Reasoning(Wire):
    """How hard to think, and whether to sum it up; `generate_summary` is the older
    word for `summary`."""

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class StreamOptions(Wire):
    """What a stream has besides its events; read on the path of chats only."""

    include_usage: StrictBool | None = None


class ResponsesBody(Wire):
    """The whole request."""

    model: str = Field(min_length=1, max_length=256)
    input: str | Several[Item] | None = None
    instructions: str | Several[Item] | None = None
    stream: StrictBool | None = None
    stream_options: StreamOptions | None = None
    store: StrictBool | None = None
    background: StrictBool | None = None
    previous_response_id: str | None = Field(default=None, max_length=256)
    conversation: str | dict[str, Any] | None = None
    conversation_id: str | None = None
    prompt: dict[str, Any] | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_output_tokens: int | None = Field(default=None, ge=1)
    max_tool_calls: int | None = Field(default=None, ge=1)
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    tools: Several[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: StrictBool | None = None
    text: Text | None = None
    reasoning: Reasoning | None = None
    include: Several[str] | None = None
    metadata: dict[str, str] | None = Field(default=None, max_length=16)
    truncation: str | None = None
    service_tier: str | None = None
    # Nobody here can do these; the client is told so.
    context_management: Any = None
    moderation: Any = None
    user: str | None = Field(default=None, max_length=512)
    safety_identifier: str | None = Field(default=None, max_length=512)
    use_search: StrictBool | None = None
    include_reasoning: StrictBool | None = None
