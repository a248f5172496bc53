"""Thinking that is kept for the next turn: whose it is, how long, how much."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import pytest

from kimi_proxy.errors import StateUnavailable
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
)
from kimi_proxy.providers.openai_model import Listed, listed
from kimi_proxy.providers.openai_thought import Thoughts

ASKED = {"role": "user", "content": "weather?"}


class Memory:
    """Documents in a dict, and for how long each was put there."""

    def __init__(self) -> None:
        self.documents: dict[str, Any] = {}
        self.times: list[float | None] = []
        self.is_down = False

    def get(self, key: str) -> dict[str, Any] | None:
        if self.is_down:
            raise StateUnavailable("down")
        found: dict[str, Any] | None = self.documents.get(key)
        return found

    def put(
        self, key: str, document: dict[str, Any], *, ttl: float | None = None
    ) -> None:
        if self.is_down:
            raise StateUnavailable("down")
        self.documents[key] = document
        self.times.append(ttl)


@pytest.fixture
def memory() -> Memory:
    return Memory()


def answering(*events: Event) -> Generator[Event]:
    yield from events


def calling(thought: str = "hm", name: str = "f", id: str = "c") -> Generator[Event]:
    call = ToolCallDelta(0, id, name, '{"a": 1}')
    return answering(ReasoningDelta(thought), call, Finished("tool_calls"))


def said(name: str = "f", arguments: str = '{"a":1}', id: str = "c") -> dict[str, Any]:
    function = {"name": name, "arguments": arguments}
    call = {"id": id, "type": "function", "function": function}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def given_back(thoughts: Thoughts, *messages: Any, model: Listed | None = None) -> Any:
    body: dict[str, Any] = {"messages": list(messages)}
    thoughts.give_back(body, model)
    return [m.get("reasoning_content") for m in body["messages"][1:]]


def watch(thoughts: Thoughts, events: Generator[Event], asked: Any = ASKED) -> None:
    list(thoughts.watch([asked], events))


def test_a_thought_is_known_again_by_question_and_call(memory: Memory) -> None:
    thoughts = Thoughts("up", memory)
    watch(thoughts, calling("it rains"))
    assert given_back(thoughts, ASKED, said()) == ["it rains"]
    assert given_back(Thoughts("up", memory), ASKED, said()) == ["it rains"]
    (seconds,) = memory.times
    assert seconds is not None and seconds <= 86_400


@pytest.mark.parametrize(
    ("asked", "call"),
    [
        ({"role": "user", "content": "other"}, said()),
        (ASKED, said(name="g")),
        (ASKED, said(arguments="{}")),
        (ASKED, said(id="other")),
    ],
)
def test_it_is_nobody_elses(memory: Memory, asked: Any, call: Any) -> None:
    thoughts = Thoughts("up", memory)
    watch(thoughts, calling("secret"))
    assert "secret" not in given_back(thoughts, asked, call)
    assert given_back(Thoughts("else", memory), ASKED, said()) != ["secret"]


def test_what_is_relayed_is_kept_too(memory: Memory) -> None:
    thoughts = Thoughts("up", memory)
    call = ToolCallDelta(0, "c", "f", '{"a": 1}')
    events = answering(
        Relayed(b"{}", (ReasoningDelta("h"),)),
        Relayed(b"{}", (ReasoningDelta("m"), call)),
        Finished("tool_calls"),
    )
    assert len(list(thoughts.watch([ASKED], events))) == 3
    assert given_back(thoughts, ASKED, said()) == ["hm"]


def test_without_a_call_or_a_thought_nothing_is_kept(memory: Memory) -> None:
    thoughts = Thoughts("up", memory)
    watch(thoughts, answering(ReasoningDelta("h"), TextDelta("x"), Finished("stop")))
    call = ToolCallDelta(0, "c", "f", "{}")
    watch(thoughts, answering(call, Finished("tool_calls")))
    watch(thoughts, calling("x" * 300_000))
    assert memory.documents == {}


def test_there_is_room_for_so_many_and_no_more(memory: Memory) -> None:
    thoughts = Thoughts("up", memory)
    for number in range(6000):
        watch(thoughts, calling(f"thought {number}", id=f"c{number}"))
    assert len(memory.documents) <= 4096
    assert given_back(thoughts, ASKED, said(id="c5999")) == ["thought 5999"]


def test_a_store_that_is_down_is_in_nobodys_way(memory: Memory) -> None:
    memory.is_down = True
    thoughts = Thoughts("up", memory)
    watch(thoughts, calling())
    assert given_back(thoughts, ASKED, said()) == ["(not kept)"]


def test_a_stream_that_is_left_is_closed(memory: Memory) -> None:
    closed = []

    def events() -> Generator[Event]:
        try:
            yield ReasoningDelta("h")
        finally:
            closed.append(True)

    watched: Any = Thoughts("up", memory).watch([ASKED], events())
    next(watched)
    watched.close()
    assert closed


@pytest.mark.parametrize(
    "odd",
    [
        "text",
        {"role": "assistant", "content": "x"},
        {"role": "assistant", "tool_calls": "x"},
        {"role": "assistant", "tool_calls": ["x", {"function": 1}]},
        {"role": "user"},
    ],
)
def test_odd_messages_are_left_alone(memory: Memory, odd: Any) -> None:
    body = {"messages": [ASKED, odd]}
    Thoughts("up", memory).give_back(body, None)
    assert body["messages"] == [ASKED, odd]


def test_a_model_that_may_rest_does_when_a_thought_of_this_turn_is_lost(
    memory: Memory,
) -> None:
    row = {"id": "m", "supports_thinking_type": "both"}
    (model,) = listed({"data": [row]}, "up")
    body: dict[str, Any] = {"messages": [ASKED, said()]}
    Thoughts("up", memory).give_back(body, model)
    assert body["thinking"] == {"type": "disabled"}
    assert "reasoning_content" not in body["messages"][1]
    later = [ASKED, said(), {"role": "tool", "content": "1"}, ASKED]
    body = {"messages": later}
    Thoughts("up", memory).give_back(body, model)
    assert "thinking" not in body
