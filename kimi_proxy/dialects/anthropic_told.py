"""Pieces of an answer as Anthropic writes them, streamed and whole alike."""

from typing import Any

from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.events import Citation, FinishReason, Usage

# What a thinking block is sealed with. It seals nothing and says so: nobody here checks
# whether thinking that comes back was changed.
SIGNATURE = "kimi-proxy:not-signed"
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
_UNKNOWN = Usage(0, 0, estimated=True)


def message_of(stamp: Stamp, usage: dict[str, Any]) -> dict[str, Any]:
    """The message as it is before anything was said."""
    return {
        "id": f"msg_{stamp.token}",
        "type": "message",
        "role": "assistant",
        "model": stamp.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage,
    }


def stop_of(
    reason: FinishReason, called: bool, matched: str | None
) -> dict[str, str | None]:
    """Why it ended; `called`: tools were, and wait for a result."""
    told = _REASONS[reason]
    if reason == "stop" and called:
        told = "tool_use"
    elif reason == "stop" and matched is not None:
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": told, "stop_sequence": None}


def usage_of(usage: Usage | None) -> dict[str, Any]:
    """The usage object; an estimate says so in a field of its own.

    What was read from a cache does not count as input here.
    """
    known = usage or _UNKNOWN
    cached = min(known.cached_tokens, known.prompt_tokens)
    counts: dict[str, Any] = {
        "input_tokens": known.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": known.completion_tokens,
        "output_tokens_details": {"thinking_tokens": known.reasoning_tokens},
    }
    if known.estimated:
        counts["estimated"] = True
    return counts


def citation_of(citation: Citation) -> dict[str, str]:
    """A source of a text block; which of its words are cited nobody tells."""
    return {
        "type": "web_search_result_location",
        "url": citation.url,
        "title": citation.title,
        "cited_text": "",
        "encrypted_index": "",
    }
