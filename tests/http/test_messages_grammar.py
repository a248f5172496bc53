"""The Messages stream's grammar, over any sequence of events; round trips."""

import json
from itertools import pairwise
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from anthropic.types import RawMessageStreamEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from kimi_proxy.dialects import anthropic_request
from kimi_proxy.dialects.anthropic_messages import AnthropicMessages, render
from kimi_proxy.dialects.anthropic_stream import MessageEncoder
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.errors import InvalidAnswer, UpstreamCut
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)
from tests.http import messages_grammar as grammar

STAMP = Stamp("1", 1_700_000_000, "claude/双 words", "req_1")
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)  # no half surrogates
COUNT = st.integers(0, 10_000)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2)
    ),
    max_leaves=5,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
OTHER: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, TEXT),
    st.builds(ReasoningDelta, TEXT),
    st.builds(Citation, TEXT, TEXT),
    st.builds(Usage, COUNT, COUNT, COUNT, COUNT, st.booleans()),
)
FINISHED = st.builds(
    Finished, st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
)


@st.composite
def pieces(draw: st.DrawFn, index: int) -> list[Event]:
    """A call's deltas: id and name first, then its arguments, cut anywhere."""
    text = json.dumps(draw(OBJECT))
    spots = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    cuts = [0, *spots, len(text)]
    parts = [text[a:b] for a, b in pairwise(cuts)]
    name = draw(st.sampled_from(["get", "put", "functions.look"]))
    begun = ToolCallDelta(index, f"call-{index}", name, parts[0])
    return [begun, *(ToolCallDelta(index, None, None, part) for part in parts[1:])]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    """Deltas of several calls and all else, each in its order, mixed at will."""
    rows = [draw(st.lists(OTHER, max_size=8))]
    rows += [draw(pieces(n)) for n in range(draw(st.integers(0, 3)))]
    events: list[Event] = []
    opened = 0
    while any(rows):
        # Calls begin in their order, as `ToolCallDelta` promises.
        ready = [n for n, row in enumerate(rows) if row and n <= opened + 1]
        row = draw(st.sampled_from(ready))
        opened = max(opened, row)
        events.append(rows[row].pop(0))
    return [*events, draw(FINISHED)]


def sent(events: list[Event]) -> bytes:
    encoder = MessageEncoder(STAMP)
    body = b"".join(encoder.feed(event) for event in events)
    assert encoder.finished == isinstance(events[-1], Finished)
    return body + encoder.finish()


def joined(content: list[dict[str, Any]], kind: str, name: str) -> str:
    return "".join(block[name] for block in content if block["type"] == kind)


@given(answers())
def test_any_answer_is_grammatical_and_means_what_the_whole_one_does(
    events: list[Event],
) -> None:
    stream = grammar.read(sent(events))
    whole = json.loads(dump(render(collect(events), STAMP)))
    grammar.check_message(whole)
    content = whole["content"]
    assert stream.done and stream.message is not None and stream.end is not None
    assert stream.text == joined(content, "text", "text")
    assert stream.thinking == joined(content, "thinking", "thinking")
    calls = [(b["name"], b["input"]) for b in content if b["type"] == "tool_use"]
    assert sorted(map(repr, calls)) == sorted(
        repr((name, json.loads(given))) for name, given in stream.calls
    )
    cited = [c["url"] for b in content for c in b.get("citations", [])]
    assert cited[: len(stream.citations)] == stream.citations
    assert stream.end["delta"]["stop_reason"] == whole["stop_reason"]
    assert stream.usage == whole["usage"]
    for name in ("id", "model", "role"):
        assert stream.message[name] == whole[name]


READER: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


@given(answers())
def test_the_clients_own_reader_makes_the_same_of_it(events: list[Event]) -> None:
    body = sent(events)
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    for line in body.decode().split("\n"):
        if not line.startswith("data: "):
            continue
        snapshot = accumulate_event(
            event=READER.validate_json(line.removeprefix("data: ")),
            current_snapshot=snapshot,
            json_bufs=buffers,
        )
    stream = grammar.read(body)
    said = [b.text for b in snapshot.content if b.type == "text"]
    assert "".join(said) == stream.text
    given_ = [b.input for b in snapshot.content if b.type == "tool_use"]
    assert given_ == [json.loads(text) for _, text in stream.calls]
    assert snapshot.stop_reason == stream.reason
    assert stream.usage is not None
    assert snapshot.usage.input_tokens == stream.usage["input_tokens"]


@given(answers())
def test_an_answer_that_is_sent_back_is_understood_as_it_was_meant(
    events: list[Event],
) -> None:
    result = collect(events)
    content = json.loads(dump(render(result, STAMP)))["content"]
    question = {"role": "user", "content": "hi"}
    answer = {"role": "assistant", "content": content}
    asked = anthropic_request.parse(
        {"model": "m", "max_tokens": 1, "messages": [question, answer]}
    )
    *_, back = asked.messages
    if not (result.text.strip() or result.tool_calls):
        assert back.role == "user", "an answer of nothing is no turn"
        return
    assert (back.text, back.reasoning) == (result.text, result.reasoning)
    meant = [(c.id, c.name, json.loads(c.arguments)) for c in result.tool_calls]
    assert [(c.id, c.name, json.loads(c.arguments)) for c in back.tool_calls] == meant


@given(answers(), st.integers(0, 30), st.text(min_size=1, max_size=20))
def test_any_failed_answer_is_grammatical(
    events: list[Event], kept: int, message: str
) -> None:
    encoder = MessageEncoder(STAMP)
    body = b"".join(encoder.feed(event) for event in events[:-1][:kept])
    stream = grammar.read(body + encoder.fail(UpstreamCut(message)))
    assert stream.error is not None and stream.error["type"] == "api_error"


@given(st.text(st.characters(), min_size=1, max_size=20))
def test_half_a_surrogate_pair_does_not_break_the_stream(text: str) -> None:
    found = grammar.read(sent([TextDelta(text), Finished("stop")])).text
    assert found.encode() == found.encode("utf-8", "surrogatepass")


def test_a_call_waits_for_the_one_before_it_and_words_for_both() -> None:
    stream = grammar.read(
        sent(
            [
                ToolCallDelta(0, "a", "first", '{"x"'),
                ToolCallDelta(1, "b", "second", '{"y": '),
                TextDelta("after"),
                ToolCallDelta(0, None, None, ": 1}"),
                ToolCallDelta(1, None, None, "2}"),
                Finished("stop"),
            ]
        )
    )
    assert [b["type"] for b in stream.blocks] == ["tool_use", "tool_use", "text"]
    assert stream.calls == [("first", '{"x": 1}'), ("second", '{"y": 2}')]
    assert stream.reason == "tool_use"


def test_pieces_of_a_call_are_sent_as_they_come() -> None:
    encoder = MessageEncoder(STAMP)
    encoder.feed(ToolCallDelta(0, "a", "f", ""))
    assert b'"partial_json":"{\\"x"' in encoder.feed(
        ToolCallDelta(0, None, None, '{"x')
    )


def test_a_call_that_never_is_whole_ends_with_the_answer() -> None:
    begun: list[Event] = [ToolCallDelta(0, "a", "f", '{"x'), TextDelta("b")]
    cut = [*begun, Finished("length")]
    stream = grammar.read(sent(cut))
    assert (stream.calls, stream.text) == ([("f", '{"x')], "b")
    assert stream.reason == "max_tokens"
    whole = render(collect(cut), STAMP)
    assert [b["type"] for b in whole["content"]] == ["text"]
    with pytest.raises(InvalidAnswer, match="'f'"):
        render(collect([*begun, Finished("stop")]), STAMP)


@pytest.mark.parametrize("arguments", ["", "  ", "null", "{}"])
def test_a_call_without_arguments_has_an_empty_input(arguments: str) -> None:
    made: list[Event] = [ToolCallDelta(0, None, "f", arguments)]
    made.append(Finished("tool_calls"))
    (block,) = render(collect(made), STAMP)["content"]
    assert block["input"] == {} and block["id"] == "toolu_1_0"


@pytest.mark.parametrize(
    ("reason", "called", "matched", "told"),
    [
        ("stop", False, None, ("end_turn", None)),
        ("stop", False, "END", ("stop_sequence", "END")),
        ("stop", True, "END", ("tool_use", None)),
        ("stop", True, None, ("tool_use", None)),
        ("tool_calls", True, None, ("tool_use", None)),
        ("length", True, None, ("max_tokens", None)),
        ("length", False, "END", ("max_tokens", None)),
        ("content_filter", False, None, ("refusal", None)),
    ],
)
def test_why_an_answer_ended(
    reason: FinishReason, called: bool, matched: str | None, told: tuple[str, Any]
) -> None:
    events: list[Event] = [TextDelta("a")]
    events += [ToolCallDelta(0, "c", "f", "{}")] if called else []
    events.append(Finished(reason, matched=matched))
    stream, whole = grammar.read(sent(events)), render(collect(events), STAMP)
    assert stream.end is not None
    assert tuple(stream.end["delta"].values()) == told
    assert (whole["stop_reason"], whole["stop_sequence"]) == told


def test_what_came_from_a_cache_is_no_input() -> None:
    stream = grammar.read(sent([TextDelta("a"), Usage(10, 5, 2, 7), Finished("stop")]))
    assert stream.usage == {
        "input_tokens": 3,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 7,
        "output_tokens": 5,
        "output_tokens_details": {"thinking_tokens": 2},
    }


def test_the_message_begins_with_an_estimate_of_what_was_asked() -> None:
    events: list[Event] = [
        Usage(9, 0, estimated=True),
        TextDelta("a"),
        Usage(7, 1),
        Finished("stop"),
    ]
    stream = grammar.read(sent(events))
    assert stream.message is not None and stream.usage is not None
    assert stream.message["usage"]["input_tokens"] == 9
    assert stream.message["usage"]["estimated"] is True
    assert stream.usage["input_tokens"] == 7
    assert "estimated" not in stream.usage


def test_a_source_belongs_to_the_words_it_comes_with_or_to_the_next() -> None:
    source: Event = Citation("https://a.example", "A")
    after = grammar.read(sent([TextDelta("a"), source, Finished("stop")]))
    before = grammar.read(sent([source, TextDelta("a"), Finished("stop")]))
    assert after.blocks == before.blocks
    assert after.citations == ["https://a.example"]
    assert grammar.read(sent([source, Finished("stop")])).blocks == []


def test_the_conversation_is_named_at_the_end() -> None:
    events: list[Event] = [TextDelta("a"), Finished("stop", "chat-1")]
    stream = grammar.read(sent(events))
    assert stream.end is not None and stream.end["conversation_id"] == "chat-1"
    assert render(collect(events), STAMP)["conversation_id"] == "chat-1"


def test_what_an_upstream_relays_is_told_by_its_meaning() -> None:
    relayed = Relayed(b"{}", (ReasoningDelta("hm"), TextDelta("a"), Usage(1, 2)))
    stream = grammar.read(sent([relayed, Finished("stop")]))
    assert (stream.thinking, stream.text) == ("hm", "a")


def test_a_ping_fills_a_silence_anywhere() -> None:
    ping = AnthropicMessages.keep_alive
    body = GOOD.encode()
    frames = [f"{frame}\n\n".encode() for frame in body.decode().split("\n\n")[:-1]]
    stream = grammar.read(ping + ping.join(frames[:-1]) + frames[-1])
    assert stream.pings == len(frames) - 1
    assert (stream.text, stream.thinking) == ("a", "b")


GOOD = sent([TextDelta("a"), ReasoningDelta("b"), Finished("stop")]).decode()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("message_stop", "message_end"),
        ('"index":1', '"index":2'),
        ("event: message_start\n", ""),
        ("\n\nevent: message_delta", "\nevent: message_delta"),
        ('"stop_reason":"end_turn"', '"stop_reason":"stop"'),
        ('"text":"a"', '"text":""'),
        ('"type":"signature_delta","signature"', '"type":"text_delta","text"'),
        ('"output_tokens":0', '"output_tokens":null'),
    ],
)
def test_the_validator_refuses_what_is_wrong(old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises((AssertionError, KeyError, ValueError)):
        grammar.read(GOOD.replace(old, new).encode())


@pytest.mark.parametrize("event", range(GOOD.count("\n\n")))
def test_the_validator_misses_every_event(event: int) -> None:
    frames = GOOD.split("\n\n")[:-1]
    del frames[event]
    with pytest.raises(AssertionError):
        grammar.read("".join(f"{frame}\n\n" for frame in frames).encode())
