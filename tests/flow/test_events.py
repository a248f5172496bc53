"""The fold of an event stream: what a client gets that does not stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.errors import UpstreamCut
from kimi_proxy.events import (
    ChatResult,
    Citation,
    CollectedCall,
    Collector,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)


def test_every_kind_of_event_finds_its_place() -> None:
    source = Citation("https://example.org/", "Example")
    events: list[Event] = [
        ReasoningDelta("let me "),
        TextDelta("hel"),
        ReasoningDelta("think"),
        source,
        TextDelta("lo"),
        ToolCallDelta(1, "call-b", "second", ""),
        ToolCallDelta(0, "call-a", "first", '{"x"'),
        ToolCallDelta(0, None, None, ": 1}"),
        Usage(1, 1, estimated=True),
        Usage(3, 2),
        Finished("tool_calls", "chat-1"),
    ]
    assert collect(events) == ChatResult(
        text="hello",
        reasoning="let me think",
        tool_calls=(
            CollectedCall("call-a", "first", '{"x": 1}'),
            CollectedCall("call-b", "second", ""),
        ),
        citations=(source,),
        usage=Usage(3, 2),
        reason="tool_calls",
        conversation="chat-1",
    )


@given(st.lists(st.text(min_size=1)))
def test_the_text_is_what_was_said_however_it_was_cut(pieces: list[str]) -> None:
    events: list[Event] = [*map(TextDelta, pieces), Finished("stop")]
    assert collect(events).text == "".join(pieces)


def test_nothing_is_whole_before_it_has_finished() -> None:
    collector = Collector()
    collector.add(TextDelta("hel"))
    assert not collector.finished
    with pytest.raises(ValueError, match="not finished"):
        collector.result()
    collector.add(Finished("stop"))
    assert collector.finished


def test_a_stream_that_fails_is_no_answer() -> None:
    def broken() -> Iterator[Event]:
        yield TextDelta("hel")
        raise UpstreamCut("cut")

    with pytest.raises(UpstreamCut):
        collect(broken())


def test_nothing_else_is_an_event() -> None:
    something: Any = object()
    with pytest.raises(AssertionError):
        Collector().add(something)
