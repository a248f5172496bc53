"""OpenAI's chat completions: the answer side (clients facts §3.3, pains 1-8)."""

from collections.abc import Sequence
from functools import reduce
from operator import add
from typing import Any, assert_never

import orjson

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.dialects.openai_errors import error_body
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import (
    ChatResult,
    Citation,
    Event,
    Finished,
    Meaning,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)

_DONE = b"data: [DONE]\n\n"


class OpenAIChat:
    """The dialect of `/v1/chat/completions`; its errors are all of OpenAI's."""

    keep_alive = b": keep-alive\n"  # a blank line more would end an event (pain 5)

    def encoder(self, request: ChatRequest, stamp: Stamp) -> "ChatEncoder":
        """The encoder of a streamed answer."""
        return ChatEncoder(
            stamp, include_usage=request.include_usage, choices=request.choices
        )

    def written(
        self, results: Sequence[ChatResult], request: ChatRequest, stamp: Stamp
    ) -> bytes:
        """The whole answer, in the upstream's own words if they are relayed."""
        first = results[0]
        if first.relayed is None:
            return dump(render(results, stamp))
        document = orjson.loads(first.relayed)
        if first.usage is None or document.get("usage") is not None:
            return first.relayed
        return dump({**document, "usage": usage_of(first.usage)})

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The error object."""
        return dump(error_body(error))


class ChatEncoder:
    """Events to server-sent chunks; every method returns bytes ready to be sent.

    Each of the `choices` ends with a `Finished`, relayed ones all with the same; after
    the last one `finished` is true.
    """

    def __init__(self, stamp: Stamp, *, include_usage: bool, choices: int = 1) -> None:
        head = {
            "id": _id(stamp),
            "object": "chat.completion.chunk",
            "created": stamp.created,
            "model": stamp.model,
        }
        self._head = b"data: " + orjson.dumps(head)[:-1]
        self._include_usage = include_usage
        self._tail = b',"usage":null}\n\n' if include_usage else b"}\n\n"
        self._usages: dict[int, Usage] = {}  # by choice
        self._called_tools = False
        self._choices = choices
        self._index = 0
        self._begun = False  # whether the choice's role was told
        self._relays = False
        self._usage_told = False

    @property
    def finished(self) -> bool:
        return self._index == self._choices

    def feed(self, event: Event) -> bytes:
        """What to send for an event; a choice begins with its role, told once."""
        if isinstance(event, Relayed):
            self._relays = True
            if self._include_usage:
                told = any(isinstance(meant, Usage) for meant in event.events)
                self._usage_told = self._usage_told or told
            return b"data: " + event.data + b"\n\n"
        if self._relays and isinstance(event, Finished):
            self._index = self._choices  # they all came together
            return b""
        if self._begun or self._relays:
            return self._said(event)
        self._begun = True
        return self._chunk({"role": "assistant", "content": ""}) + self._said(event)

    def _said(self, event: Meaning) -> bytes:
        # Beside sources and refusals there is content, too: some clients stumble over
        # a delta without (pain 4).
        match event:
            case TextDelta():
                return self._chunk(_text_delta(event))
            case ReasoningDelta(text):
                return self._chunk({"reasoning_content": text})
            case ToolCallDelta():
                self._called_tools = True
                return self._chunk({"tool_calls": [_call_delta(event)]})
            case Citation():
                return self._chunk({"content": "", "annotations": [_annotation(event)]})
            case Usage():
                self._usages[self._index] = event
                return b""
            case Finished(reason, conversation):
                if reason == "stop" and self._called_tools:
                    reason = "tool_calls"
                if conversation is not None:
                    self._name(conversation)
                end = self._chunk({}, reason)
                self._index += 1
                self._called_tools = self._begun = False
                return end
            case _:
                assert_never(event)

    def finish(self) -> bytes:
        """What follows the finish chunk: usage if it was asked for, and the end."""
        if not self._include_usage or self._usage_told:
            return _DONE
        known = self._usages and (self._relays or len(self._usages) == self._choices)
        counts = usage_of(reduce(add, self._usages.values())) if known else None
        usage = orjson.dumps(counts)
        return b"".join((self._head, b',"choices":[],"usage":', usage, b"}\n\n", _DONE))

    def fail(self, error: GatewayError) -> bytes:
        """An error frame, and no sign of success after it."""
        return b"data: " + dump(error_body(error)) + b"\n\n"

    def _name(self, conversation: str) -> None:
        """From here on every chunk tells the conversation's id."""
        self._head += b',"conversation_id":' + orjson.dumps(conversation)

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": self._index, "delta": delta, "finish_reason": reason}
        body = dump(choice)
        return b"".join((self._head, b',"choices":[', body, b"]", self._tail))


def _id(stamp: Stamp) -> str:
    return f"chatcmpl-{stamp.token}"


def render(results: Sequence[ChatResult], stamp: Stamp) -> dict[str, Any]:
    """The whole answer, a choice for each result, as one object.

    `usage` is left out when nobody knows it.
    """
    body: dict[str, Any] = {
        "id": _id(stamp),
        "object": "chat.completion",
        "created": stamp.created,
        "model": stamp.model,
        "choices": [_choice(*numbered) for numbered in enumerate(results)],
    }
    conversation = results[-1].conversation
    if conversation is not None:
        body["conversation_id"] = conversation
    counts = [result.usage for result in results if result.usage is not None]
    if len(counts) == len(results):
        body["usage"] = usage_of(reduce(add, counts))
    return body


def _choice(index: int, result: ChatResult) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": result.text}
    if result.refuses:
        message.update(content=None, refusal=result.text)
    if result.reasoning:
        message["reasoning_content"] = result.reasoning
    if result.citations:
        message["annotations"] = [_annotation(c) for c in result.citations]
    reason: str = result.reason
    if result.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in result.tool_calls
        ]
        message["content"] = message["content"] or None
        reason = "tool_calls" if reason == "stop" else reason
    return {"index": index, "message": message, "finish_reason": reason}


def usage_of(usage: Usage) -> dict[str, Any]:
    """The usage object; an estimate says so in a field of its own."""
    counts: dict[str, Any] = {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
    }
    if usage.estimated:
        counts["estimated"] = True
    return counts


def _annotation(citation: Citation) -> dict[str, Any]:
    source: dict[str, Any] = {"url": citation.url, "title": citation.title}
    if citation.span is not None:
        source["start_index"], source["end_index"] = citation.span
    return {"type": "url_citation", "url_citation": source}


def _text_delta(delta: TextDelta) -> dict[str, Any]:
    if delta.refuses:
        return {"content": "", "refusal": delta.text}
    return {"content": delta.text}


def _call_delta(delta: ToolCallDelta) -> dict[str, Any]:
    function: dict[str, Any] = {"arguments": delta.arguments}
    if delta.name is not None:
        function["name"] = delta.name
    call: dict[str, Any] = {"index": delta.index, "function": function}
    if delta.id is not None:
        call.update(id=delta.id, type="function")
    return call
