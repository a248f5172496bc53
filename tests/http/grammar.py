"""The grammar of a chat stream, strictly: clients facts §3.3 and pains 1 to 9.

stream  = { keep-alive } role { keep-alive | delta } ending
ending  = finish [ usage ] "data: [DONE]" | error
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

REASONS = {"stop", "length", "tool_calls", "content_filter"}
_KEEP_ALIVE = ": keep-alive"
_DELTAS = (
    {"content"},
    {"reasoning_content"},
    {"tool_calls"},
    {"content", "annotations"},
    {"content", "refusal"},
)
Chunk = dict[str, Any]


@dataclass(slots=True)
class Stream:
    """A stream that obeyed the grammar, taken apart."""

    chunks: list[Chunk] = field(default_factory=list)
    keep_alives: int = 0
    error: dict[str, Any] | None = None
    done: bool = False

    @property
    def deltas(self) -> list[dict[str, Any]]:
        return [c["choices"][0]["delta"] for c in self.chunks if c["choices"]]

    @property
    def text(self) -> str:
        return "".join(delta.get("content") or "" for delta in self.deltas)

    @property
    def reason(self) -> str | None:
        found = [c["choices"][0]["finish_reason"] for c in self.chunks if c["choices"]]
        return found[-1] if found else None

    @property
    def usage(self) -> dict[str, Any] | None:
        return self.chunks[-1].get("usage") if self.chunks else None

    def message(self) -> dict[str, Any]:
        """The deltas put together as clients do it."""
        whole: dict[str, Any] = {"role": "assistant", "content": self.text}
        thought = "".join(d.get("reasoning_content", "") for d in self.deltas)
        notes = [n for d in self.deltas for n in d.get("annotations", [])]
        calls = _calls([c for d in self.deltas for c in d.get("tool_calls", [])])
        refused = [d["refusal"] for d in self.deltas if "refusal" in d]
        if refused:
            whole |= {"content": self.text or None, "refusal": "".join(refused)}
        if thought:
            whole["reasoning_content"] = thought
        if notes:
            whole["annotations"] = notes
        if calls:
            whole["tool_calls"] = calls
            whole["content"] = self.text or None
        return whole


def read(body: bytes, *, usage: bool = False, cut: bool = False) -> Stream:
    """Check a whole body; `cut` allows that it ends too early, at an event's border.

    `usage` says that the client asked for it.
    """
    stream = Stream()
    for payload in _payloads(body, stream):
        assert stream.error is None, "something after the error frame"
        assert not stream.done, "something after [DONE]"
        if payload == "[DONE]":
            stream.done = True
            continue
        value = json.loads(payload)
        if "error" in value:
            assert set(value) == {"error"}
            assert set(value["error"]) == {"message", "type", "param", "code"}
            stream.error = value["error"]
        else:
            stream.chunks.append(value)
    _check_chunks(stream, usage)
    if not cut:
        assert stream.done or stream.error is not None, "it just ends"
    if stream.done:
        assert stream.reason in REASONS
    else:
        assert stream.reason is None, "an end that looks like success"
    return stream


def _payloads(body: bytes, stream: Stream) -> Iterator[str]:
    """What stands after `data: `, one event at a time; counts the keep-alives."""
    text = body.decode()
    assert "\r" not in text
    assert not text or text.endswith("\n")
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        if line == _KEEP_ALIVE:
            assert stream.error is None and not stream.done, "a late keep-alive"
            stream.keep_alives += 1
            continue
        assert line.startswith("data: "), f"not a line of an event: {line!r}"
        assert next(lines, None) == "", "an event without its blank line"
        yield line.removeprefix("data: ")


def _check_chunks(stream: Stream, usage: bool) -> None:
    heads = {(c["id"], c["object"], c["created"], c["model"]) for c in stream.chunks}
    assert len(heads) <= 1, heads
    fields = {"id", "object", "created", "model", "choices"}
    fields |= {"usage"} if usage else set()
    finished = 0
    for place, chunk in enumerate(stream.chunks):
        assert set(chunk) == fields, chunk
        if not chunk["choices"]:
            assert usage and stream.done, "usage unasked, or without success"
            assert place == len(stream.chunks) - 1, "usage is not last"
            continue
        assert chunk.get("usage") is None
        (choice,) = chunk["choices"]
        assert set(choice) == {"index", "delta", "finish_reason"}
        assert choice["index"] == 0
        assert not finished, "a delta after the finish chunk"
        finished += choice["finish_reason"] is not None
        _check_delta(place, choice["delta"], choice["finish_reason"])
    if stream.done:
        assert finished == 1
        assert usage == (stream.chunks[-1]["choices"] == [])


def _check_delta(place: int, delta: dict[str, Any], reason: str | None) -> None:
    if place == 0:
        assert delta == {"role": "assistant", "content": ""}
        assert reason is None
    elif reason is not None:
        assert delta == {}
    else:
        assert set(delta) in _DELTAS, delta
        assert isinstance(delta.get("content", ""), str)


def _calls(pieces: list[dict[str, Any]]) -> list[dict[str, Any]]:
    whole: list[dict[str, Any]] = []
    for piece in pieces:
        index, function = piece["index"], piece["function"]
        if index == len(whole):
            assert piece["type"] == "function"
            whole.append(
                {
                    "id": piece["id"],
                    "type": "function",
                    "function": {"name": function["name"], "arguments": ""},
                }
            )
        else:
            assert 0 <= index < len(whole), "indexes are not dense from 0"
            assert "id" not in piece and "name" not in function, "said twice"
        whole[index]["function"]["arguments"] += function["arguments"]
    return whole
