"""Anthropic's Messages: the answer side (clients facts §3.6)."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects.anthropic_errors import error_body
from kimi_proxy.dialects.anthropic_stream import MessageEncoder
from kimi_proxy.dialects.anthropic_told import (
    SIGNATURE,
    citation_of,
    message_of,
    stop_of,
    usage_of,
)
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.errors import GatewayError, InvalidAnswer
from kimi_proxy.events import ChatResult, CollectedCall


class AnthropicMessages:
    """The dialect of `/v1/messages`."""

    keep_alive = b'event: ping\ndata: {"type":"ping"}\n\n'

    def encoder(self, request: ChatRequest, stamp: Stamp) -> MessageEncoder:
        """The encoder of a streamed answer."""
        return MessageEncoder(stamp)

    def written(
        self, results: Sequence[ChatResult], request: ChatRequest, stamp: Stamp
    ) -> bytes:
        """The whole answer; raises `InvalidAnswer` for calls that cannot be written."""
        return dump(render(results[0], stamp))

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The error object."""
        return dump(error_body(error, request_id))


def render(result: ChatResult, stamp: Stamp) -> dict[str, Any]:
    """The whole answer as one object: thinking, then words, then calls."""
    content: list[dict[str, Any]] = []
    if result.reasoning:
        thought = {"thinking": result.reasoning, "signature": SIGNATURE}
        content.append({"type": "thinking", **thought})
    if result.text:
        text: dict[str, Any] = {"type": "text", "text": result.text}
        if result.citations:
            text["citations"] = [citation_of(c) for c in result.citations]
        content.append(text)
    content += _calls(result, stamp)
    message = message_of(stamp, usage_of(result.usage))
    message["content"] = content
    message |= stop_of(result.reason, bool(result.tool_calls), result.matched)
    if result.conversation is not None:
        message["conversation_id"] = result.conversation
    return message


def _calls(result: ChatResult, stamp: Stamp) -> Iterator[dict[str, Any]]:
    """The calls; one that the limit of tokens has cut in two is left out."""
    for index, call in enumerate(result.tool_calls):
        given = _input(call)
        if given is not None:
            call_id = call.id or f"toolu_{stamp.token}_{index}"
            named = {"type": "tool_use", "id": call_id, "name": call.name}
            yield {**named, "input": given}
        elif result.reason != "length":
            name = repr(call.name[:80])
            raise InvalidAnswer(f"the arguments of {name} are no JSON object")


def _input(call: CollectedCall) -> dict[str, Any] | None:
    """The arguments as the object they have to be; None for any other text."""
    if not call.arguments.strip():
        return {}
    try:
        value = json.loads(call.arguments)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else {} if value is None else None
