"""The grammar of a Responses stream, strictly: clients facts §3.5, pains 10 to 12.

stream = { keep-alive } created in_progress { keep-alive | item } ending
item   = added { part events } done          (one at a time, each whole)
ending = completed | incomplete | failed     (nothing follows)

Every event has a line with its name, and a number, dense from 0. What an item says when
it is done is what its deltas said, and the ending's output is the items that were done.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

KEEP_ALIVE = ": keep-alive"
ENDINGS = {"response.completed", "response.incomplete", "response.failed"}
RESPONSE = {
    "id",
    "object",
    "created_at",
    "status",
    "error",
    "incomplete_details",
    "model",
    "output",
    "usage",
    "background",
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "previous_response_id",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "store",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_p",
    "truncation",
    "user",
}
_TEXT = {"type", "text", "annotations", "logprobs"}
_FIELDS = {
    "message": {"type", "id", "role", "status", "content"},
    "function_call": {"type", "id", "call_id", "name", "arguments", "status"},
    "custom_tool_call": {"type", "id", "call_id", "name", "input", "status"},
    "local_shell_call": {"type", "id", "call_id", "action", "status"},
    "reasoning": {"type", "id", "summary", "status"},
}
_OPTIONAL = {
    "reasoning": {"content", "encrypted_content"},
    "function_call": {"namespace"},
    "custom_tool_call": {"namespace"},
}
Wire = dict[str, Any]


@dataclass(slots=True)
class Stream:
    """A stream that obeyed the grammar, taken apart."""

    events: list[Wire] = field(default_factory=list)
    keep_alives: int = 0

    @property
    def response(self) -> Wire:
        """As the last event told it."""
        found: Wire = self.events[-1]["response"]
        return found

    @property
    def kinds(self) -> list[str]:
        return [event["type"].removeprefix("response.") for event in self.events]

    @property
    def text(self) -> str:
        return text_of(self.response)

    @property
    def calls(self) -> list[Wire]:
        return [i for i in self.response["output"] if i["type"].endswith("_call")]

    @property
    def thought(self) -> str:
        return thought_of(self.response)


def text_of(response: Wire) -> str:
    """All that is said in a whole response."""
    messages = [i for i in response["output"] if i["type"] == "message"]
    parts = [part for m in messages for part in m["content"]]
    return "".join(part.get("text", "") for part in parts)


def refusal_of(response: Wire) -> str:
    """Why there is no answer."""
    messages = [i for i in response["output"] if i["type"] == "message"]
    parts = [part for m in messages for part in m["content"]]
    return "".join(part.get("refusal", "") for part in parts)


def thought_of(response: Wire) -> str:
    """All that is thought in a whole response."""
    thoughts = [i for i in response["output"] if i["type"] == "reasoning"]
    parts = [p for t in thoughts for p in (*t["summary"], *t.get("content", ()))]
    return "".join(part["text"] for part in parts)


def read(body: bytes) -> Stream:
    """Check a whole body; raises AssertionError for the first thing that is wrong."""
    stream = Stream()
    for name, payload in _payloads(body, stream):
        event = json.loads(payload)
        assert event["type"] == name, (event["type"], name)
        assert event["sequence_number"] == len(stream.events)
        stream.events.append(event)
    kinds = stream.kinds
    assert kinds[:2] == ["created", "in_progress"], kinds
    assert kinds.count("created") == kinds.count("in_progress") == 1
    first, second, *middle, last = stream.events
    assert last["type"] in ENDINGS, f"it ends with {last['type']}"
    for event in (first, second):
        assert set(event) == {"type", "sequence_number", "response"}
        check_response(event["response"], "in_progress")
        assert event["response"]["output"] == []
    done, open_item = _items(middle)
    _check_ending(first["response"], last, done, open_item)
    return stream


def _payloads(body: bytes, stream: Stream) -> Iterator[tuple[str, str]]:
    """Name and data of one event after the other; counts the keep-alives."""
    text = body.decode()
    assert "\r" not in text
    assert text.endswith("\n")
    lines = iter(text.split("\n")[:-1])
    for line in lines:
        ended = bool(stream.events) and stream.events[-1]["type"] in ENDINGS
        assert not ended, f"something after the end: {line!r}"
        if line == KEEP_ALIVE:
            stream.keep_alives += 1
            continue
        assert line.startswith("event: "), f"not the name of an event: {line!r}"
        data = next(lines, "")
        assert data.startswith("data: "), f"not an event's data: {data!r}"
        assert next(lines, None) == "", "an event without its blank line"
        yield line.removeprefix("event: "), data.removeprefix("data: ")


def check_response(response: Wire, *statuses: str) -> None:
    """Check a response object, told in a stream or whole."""
    extra = set(response) - RESPONSE
    assert RESPONSE <= set(response) and extra <= {"conversation_id"}, extra
    assert response["id"].startswith("resp_")
    assert response["object"] == "response"
    assert response["status"] in statuses, response["status"]
    assert isinstance(response["created_at"], int)
    status, error = response["status"], response["error"]
    assert (error is not None) == (status == "failed")
    if error is not None:
        assert set(error) == {"code", "message"} and all(error.values())
    reason = response["incomplete_details"]
    assert (reason is not None) == (status == "incomplete")
    if reason is not None:
        assert reason["reason"] in {"max_output_tokens", "content_filter"}
    for item in response["output"]:
        check_item(item)
    if response["usage"] is not None:
        _check_usage(response["usage"])


def _check_usage(usage: Wire) -> None:
    assert set(usage) - {"estimated"} == {
        "input_tokens",
        "input_tokens_details",
        "output_tokens",
        "output_tokens_details",
        "total_tokens",
    }
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert set(usage["input_tokens_details"]) == {"cached_tokens"}
    assert set(usage["output_tokens_details"]) == {"reasoning_tokens"}


def check_item(item: Wire) -> None:
    """Check an output item's fields."""
    kind = item["type"]
    optional = _OPTIONAL.get(kind, set())
    assert _FIELDS[kind] <= set(item) <= _FIELDS[kind] | optional, item
    assert item["status"] in {"in_progress", "completed", "incomplete"}
    if kind == "message":
        assert item["role"] == "assistant"
        for part in item["content"]:
            refused = part["type"] == "refusal"
            assert set(part) == ({"type", "refusal"} if refused else _TEXT)
            assert refused or part["type"] == "output_text"
    if kind == "local_shell_call":
        assert item["action"]["type"] == "exec"
        assert all(isinstance(w, str) for w in item["action"]["command"])


def _items(events: list[Wire]) -> tuple[list[Wire], Wire | None]:
    """The items that were done, and the one that was not."""
    done: list[Wire] = []
    pending: list[Wire] = []
    for event in events:
        place = len(done)
        assert event["output_index"] == place, "an item out of its turn"
        if not pending:
            assert event["type"] == "response.output_item.added", event["type"]
            check_item(event["item"])
            assert event["item"]["status"] == "in_progress"
        pending.append(event)
        if event["type"] == "response.output_item.done":
            check_item(event["item"])
            _check_item_events(pending)
            done.append(event["item"])
            pending = []
        else:
            assert event is pending[0] or event["item_id"] == pending[0]["item"]["id"]
    ids = [item["id"] for item in done]
    assert len(set(ids)) == len(ids), "an id twice"
    return done, pending[0]["item"] if pending else None


def _check_item_events(events: list[Wire]) -> None:
    """Whether an item's events say what the item says in the end."""
    added, *inner, last = events
    item = last["item"]
    assert (added["item"]["id"], added["item"]["type"]) == (item["id"], item["type"])
    kinds = [event["type"].removeprefix("response.") for event in inner]
    deltas = "".join(e["delta"] for e in inner if e["type"].endswith(".delta"))
    if item["type"] == "message":
        _check_message(item, inner, kinds, deltas)
    elif item["type"] == "reasoning":
        _check_thought(item, inner, kinds, deltas)
    elif item["type"] == "function_call":
        name = "function_call_arguments"
        assert set(kinds[:-1]) <= {f"{name}.delta"} and kinds[-1] == f"{name}.done"
        assert deltas == inner[-1]["arguments"] == item["arguments"]
        assert inner[-1]["name"] == item["name"]
    elif item["type"] == "custom_tool_call":
        name = "custom_tool_call_input"
        assert set(kinds[:-1]) <= {f"{name}.delta"} and kinds[-1] == f"{name}.done"
        assert deltas == inner[-1]["input"] == item["input"]
    else:
        assert not inner


def _check_message(
    item: Wire, inner: list[Wire], kinds: list[str], deltas: str
) -> None:
    (part,) = item["content"]
    name, told = ("output_text", "text")
    if part["type"] == "refusal":
        name, told = ("refusal", "refusal")
    assert kinds[0] == "content_part.added"
    assert kinds[-2:] == [f"{name}.done", "content_part.done"]
    said = {f"{name}.delta", "output_text.annotation.added"}
    assert set(kinds[1:-2]) <= said, kinds
    assert deltas == part[told] == inner[-2][told]
    assert part == inner[-1]["part"]
    assert all(e["content_index"] == 0 for e in inner)
    if told == "text":
        _check_notes(part, inner)


def _check_notes(part: Wire, inner: list[Wire]) -> None:
    notes = [e for e in inner if e["type"].endswith("annotation.added")]
    assert [n["annotation"] for n in notes] == part["annotations"]
    assert [n["annotation_index"] for n in notes] == list(range(len(notes)))
    for note in part["annotations"]:
        assert 0 <= note["start_index"] <= note["end_index"] <= len(part["text"])


def _check_thought(
    item: Wire, inner: list[Wire], kinds: list[str], deltas: str
) -> None:
    summed = "summary_index" in inner[0]
    part, text = ("content_part", "reasoning_text")
    if summed:
        part, text = ("reasoning_summary_part", "reasoning_summary_text")
    assert kinds[0] == f"{part}.added"
    assert kinds[-2:] == [f"{text}.done", f"{part}.done"]
    assert set(kinds[1:-2]) <= {f"{text}.delta"}
    (whole,) = item["summary"] if summed else item["content"]
    assert whole["type"] == ("summary_text" if summed else "reasoning_text")
    assert deltas == whole["text"] == inner[-2]["text"]
    assert whole == inner[-1]["part"]
    assert not (summed and item.get("content")) and not (not summed and item["summary"])


def _check_ending(
    first: Wire, last: Wire, done: list[Wire], open_item: Wire | None
) -> None:
    response = last["response"]
    assert set(last) == {"type", "sequence_number", "response"}
    check_response(response, last["type"].removeprefix("response."))
    changes = {"status", "error", "incomplete_details", "output", "usage", "store"}
    same = set(first) - changes
    assert {k: first[k] for k in same} == {k: response[k] for k in same}
    if response["status"] == "failed":
        assert response["output"][: len(done)] == done
        rest = response["output"][len(done) :]
        assert [i["id"] for i in rest] == ([open_item["id"]] if open_item else [])
        assert all(i["status"] == "incomplete" for i in rest)
        return
    assert open_item is None, "an item that never ended"
    assert response["output"] == done
    cut = {"completed": set(), "incomplete": {"incomplete"}}[response["status"]]
    assert {i["status"] for i in done[-1:]} <= (cut or {"completed"})
    assert all(i["status"] == "completed" for i in done[:-1])
