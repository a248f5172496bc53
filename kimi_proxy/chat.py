"""What is asked: the request as every provider sees it, whatever dialect it came in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call the assistant made in an earlier turn; `arguments` is JSON text."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the history.

    `text` joins the text parts in order. `tool_call_id` names the call that a message
    of role `tool` answers.
    """

    role: Role
    text: str
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """A chat completion, parsed once and trusted from then on.

    `model` is what the client asked for; the gateway replaces it by the route's own id
    before a provider sees it. `search` and `effort` are None when the client said
    nothing. `sampling` holds the parameters that only some upstreams honour, under
    their OpenAI names. `body` is the client's JSON object as it came, for upstreams
    that speak the same dialect.
    """

    model: str
    messages: tuple[Message, ...]
    stream: bool = False
    include_usage: bool = False
    search: bool | None = None
    effort: Literal["none", "low", "medium", "high", "max"] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Model:
    """A model an upstream offers; `context_length` is in tokens, None when unknown."""

    id: str
    name: str
    owner: str
    context_length: int | None = None
    reasoning: bool = False
