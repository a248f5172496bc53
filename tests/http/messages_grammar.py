"""The grammar of a Messages stream, strictly: clients facts §3.6.

stream  = { ping } message_start { ping | block } ending | { ping } error
block   = content_block_start { ping | content_block_delta } content_block_stop
ending  = message_delta message_stop | error

An error may come at any border of events. Blocks are numbered from 0 without gaps and
never overlap.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

REASONS = {
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "tool_use",
    "refusal",
}
_USAGE = {
    "input_tokens",
    "cache_creation_input_tokens",
    "cache_read_input_tokens",
    "output_tokens",
    "output_tokens_details",
}
# The deltas of each block, and the field that each adds to.
_DELTAS = {
    "text": {"text_delta": "text", "citations_delta": "citation"},
    "thinking": {"thinking_delta": "thinking", "signature_delta": "signature"},
    "tool_use": {"input_json_delta": "partial_json"},
}
_EMPTY = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_CITATION = {"type", "url", "title", "cited_text", "encrypted_index"}
Block = dict[str, Any]


@dataclass(slots=True)
class Stream:
    """A stream that obeyed the grammar, taken apart.

    Blocks are put together as clients do it; `input` stays JSON text.
    """

    message: dict[str, Any] | None = None
    blocks: list[Block] = field(default_factory=list)
    end: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    pings: int = 0
    done: bool = False
    _open: Block | None = None

    @property
    def text(self) -> str:
        return "".join(b["text"] for b in self.blocks if b["type"] == "text")

    @property
    def thinking(self) -> str:
        return "".join(b["thinking"] for b in self.blocks if b["type"] == "thinking")

    @property
    def calls(self) -> list[tuple[str, str]]:
        return [(b["name"], b["input"]) for b in self.blocks if b["type"] == "tool_use"]

    @property
    def citations(self) -> list[str]:
        return [c["url"] for b in self.blocks for c in b.get("citations", [])]

    @property
    def reason(self) -> str | None:
        return self.end["delta"]["stop_reason"] if self.end else None

    @property
    def usage(self) -> dict[str, Any] | None:
        return self.end["usage"] if self.end else None


def read(body: bytes, *, cut: bool = False) -> Stream:
    """Check a whole body; `cut` allows that it ends too early, at an event's border."""
    stream = Stream()
    for name, event in _events(body):
        assert event["type"] == name, "an event with two names"
        assert not stream.done, "something after message_stop"
        assert stream.error is None, "something after the error"
        _READERS[name](stream, event)
    if not cut:
        assert stream.done or stream.error is not None, "it just ends"
    if stream.error is not None:
        assert stream.end is None, "an end that looks like success"
    return stream


def _events(body: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    text = body.decode()
    assert "\r" not in text
    assert not text or text.endswith("\n\n"), "an event without its blank line"
    for block in text.split("\n\n")[:-1]:
        name, data = block.split("\n")
        assert name.startswith("event: ") and data.startswith("data: "), block
        yield name.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def _ping(stream: Stream, event: dict[str, Any]) -> None:
    assert event == {"type": "ping"}
    assert stream.end is None, "a late ping"
    stream.pings += 1


def _start(stream: Stream, event: dict[str, Any]) -> None:
    assert set(event) == {"type", "message"}
    assert stream.message is None, "a second message"
    message = event["message"]
    check_message(message)
    assert message["content"] == [] and message["stop_reason"] is None
    stream.message = message


def check_message(message: dict[str, Any]) -> None:
    """The fields that every message has."""
    fields = {"id", "type", "role", "model", "content", "usage"}
    fields |= {"stop_reason", "stop_sequence"}
    assert set(message) - {"conversation_id"} == fields
    assert message["id"].startswith("msg_")
    assert (message["type"], message["role"]) == ("message", "assistant")
    _check_usage(message["usage"])


def _check_usage(usage: dict[str, Any]) -> None:
    assert set(usage) - {"estimated"} == _USAGE
    assert usage.get("estimated", True) is True
    details = usage["output_tokens_details"]
    counts = [v for k, v in usage.items() if k.endswith("_tokens")]
    assert all(type(n) is int and n >= 0 for n in [*counts, *details.values()])
    assert set(details) == {"thinking_tokens"}


def _block_start(stream: Stream, event: dict[str, Any]) -> None:
    assert set(event) == {"type", "index", "content_block"}
    assert stream.message is not None, "a block before the message"
    assert stream._open is None, "blocks overlap"
    assert stream.end is None, "a block after the end"
    assert event["index"] == len(stream.blocks), "a gap between blocks"
    block = event["content_block"]
    if block["type"] == "tool_use":
        assert set(block) == {"type", "id", "name", "input"}
        assert block["id"] and block["input"] == {}
        assert block["id"] not in {b.get("id") for b in stream.blocks}
        block = {**block, "input": ""}
    else:
        assert block == _EMPTY[block["type"]]
    stream._open = block
    stream.blocks.append(block)


def _block_delta(stream: Stream, event: dict[str, Any]) -> None:
    assert set(event) == {"type", "index", "delta"}
    block, delta = stream._open, event["delta"]
    assert block is not None, "a delta without a block"
    assert event["index"] == len(stream.blocks) - 1
    kind = delta["type"]
    added = _DELTAS[block["type"]][kind]
    assert set(delta) == {"type", added}
    value = delta[added]
    if kind == "citations_delta":
        assert set(value) == _CITATION
        block.setdefault("citations", []).append(value)
        return
    assert isinstance(value, str) and value, "an empty delta"
    if block["type"] == "thinking" and kind != "signature_delta":
        assert not block["signature"], "thinking after its signature"
    name = "input" if kind == "input_json_delta" else added
    block[name] += value


def _block_stop(stream: Stream, event: dict[str, Any]) -> None:
    assert event == {"type": "content_block_stop", "index": len(stream.blocks) - 1}
    block = stream._open
    assert block is not None, "a stop without a block"
    if block["type"] == "thinking":
        assert block["signature"], "thinking without a signature"
    if block["type"] in ("text", "thinking"):
        assert block[block["type"]], "a block that says nothing"
    stream._open = None


def _delta(stream: Stream, event: dict[str, Any]) -> None:
    assert set(event) - {"conversation_id"} == {"type", "delta", "usage"}
    assert stream.message is not None and stream._open is None and stream.end is None
    delta = event["delta"]
    assert set(delta) == {"stop_reason", "stop_sequence"}
    assert delta["stop_reason"] in REASONS
    by_sequence = delta["stop_reason"] == "stop_sequence"
    assert by_sequence == (delta["stop_sequence"] is not None)
    _check_usage(event["usage"])
    stream.end = event


def _stop(stream: Stream, event: dict[str, Any]) -> None:
    assert event == {"type": "message_stop"}
    assert stream.end is not None, "a stop without its reason"
    stream.done = True


def _error(stream: Stream, event: dict[str, Any]) -> None:
    check_error(event)
    stream.error = event["error"]


def check_error(value: dict[str, Any]) -> None:
    """The error object."""
    assert set(value) == {"type", "error", "request_id"}
    assert value["type"] == "error"
    error = value["error"]
    assert set(error) - {"details"} == {"type", "message"}
    assert isinstance(error["message"], str) and error["message"]
    if "details" in error:
        assert set(error["details"]) == {"error_code"}


_READERS = {
    "ping": _ping,
    "message_start": _start,
    "content_block_start": _block_start,
    "content_block_delta": _block_delta,
    "content_block_stop": _block_stop,
    "message_delta": _delta,
    "message_stop": _stop,
    "error": _error,
}
