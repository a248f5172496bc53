"""The JSON of a Messages request, as far as the gateway reads it.

Unknown fields are passed over: `cache_control`, `context_management` and what else
belongs to Anthropic's own service. Strings are no numbers here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StrictBool

_T = TypeVar("_T")
# Only the first mistake is told: to find all of a million takes minutes.
_Several = Annotated[list[_T], Field(fail_fast=True)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, strict=True)


class Source(_Wire):
    """Where an image or a document is: `base64`, `text`, `content`, `url`, `file`."""

    type: str
    media_type: str | None = None
    data: str | None = None
    url: str | None = None
    file_id: str | None = None
    content: str | _Several[Block] | None = None


class Block(_Wire):
    """A content block of any type; the `source` of a search result is its address."""

    type: str
    text: str | None = None
    thinking: str | None = None
    source: str | Source | None = None
    title: str | None = None
    context: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    tool_name: str | None = None
    is_error: StrictBool | None = None
    content: str | _Several[Block] | dict[str, Any] | None = None


class Turn(_Wire):
    """One message of the history."""

    role: Literal["user", "assistant", "system"]
    content: str | _Several[Block]


class Thinking(_Wire):
    """Whether to think, and to show it."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = Field(default=None, ge=0)
    display: str | None = None


class Format(_Wire):
    """What the answer has to look like."""

    type: str
    # "schema" is a method's name in pydantic.
    document: dict[str, Any] | None = Field(default=None, alias="schema")


class OutputConfig(_Wire):
    """How hard to work, and in which form to answer."""

    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None
    task_budget: Any = None


class Choice(_Wire):
    """Which tools may be called."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: StrictBool | None = None


class Metadata(_Wire):
    """Who asks."""

    user_id: str | None = Field(default=None, max_length=512)


class Body(_Wire):
    """The whole request; `max_tokens` may be missing only where tokens are counted."""

    model: str = Field(min_length=1, max_length=256)
    messages: _Several[Turn] = Field(min_length=1)
    system: str | _Several[Block] | None = None
    max_tokens: int | None = Field(default=None, ge=1)
    stream: StrictBool | None = None
    temperature: float | None = Field(default=None, ge=0, le=1)
    top_p: float | None = Field(default=None, ge=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    stop_sequences: _Several[str] | None = None
    tools: _Several[dict[str, Any]] | None = None
    tool_choice: Choice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: Format | None = None
    metadata: Metadata | None = None
    thread: dict[str, Any] | None = None
    compaction: dict[str, Any] | None = None
    mcp_servers: _Several[Any] | None = None
    # Nobody here can do these; the client is told so.
    container: Any = None
    fallbacks: Any = None
    inference_geo: Any = None
    speed: Any = None
    conversation_id: str | None = None
