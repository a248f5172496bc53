"""How an upstream may differ from OpenAI, as data that the code obeys."""

from dataclasses import dataclass
from typing import Literal

Thinking = Literal["reasoning_effort", "thinking", "enable_thinking", "reasoning"]


@dataclass(frozen=True, slots=True)
class Quirks:
    """One upstream's ways; the defaults are OpenAI's own.

    `stream_options`: knows the field; else it tells token counts unasked.
    `limit` is the name it has for the most tokens to answer; None: as the client says.
    `developer`: knows the role, which is `system` otherwise.
    `thinking` is the field that says how hard to think; None: `reasoning_effort`, and
    whatever else the client sent.
    `efforts` are the words it knows for that; empty: it can only be switched, unless
    `thinking` is a word itself, and then all are known.
    `unsupported` are parameters it does not know: left out and told.
    `lists_models`: answers `GET /models`.
    `finish_reason`: says how an answer ended; else its end mark has to do.
    `returns_reasoning`: wants the thinking back that led to a tool call.
    `plain_schemas`: wants tools' schemas without `$ref` and with a `type` everywhere.
    `plain_names`: wants tools' names of 3 to 64 letters, digits, `_` and `-`.
    `empty_content`: takes "" beside tool calls.
    `longest_call_id` in characters; None: any.
    `files`: documents in the message, or extracted by the upstream to text.
    `search`: has Moonshot's `$web_search`.
    `account`: whose calls tell balance and quota.
    """

    stream_options: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    developer: bool = True
    thinking: Thinking | None = None
    efforts: tuple[str, ...] = ()
    unsupported: tuple[str, ...] = ()
    lists_models: bool = True
    finish_reason: bool = True
    returns_reasoning: bool = False
    plain_schemas: bool = False
    plain_names: bool = False
    empty_content: bool = True
    longest_call_id: int | None = None
    files: Literal["inline", "extract"] = "inline"
    search: bool = False
    account: Literal["none", "moonshot", "kimi-code"] = "none"
