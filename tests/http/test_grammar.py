"""The chat stream's grammar, over any sequence of events; and the validator itself."""

import json
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.dialects import openai_chat
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.dialects.openai_chat import ChatEncoder
from kimi_proxy.errors import UpstreamCut
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)
from tests.http import grammar

STAMP = Stamp("1", 1_700_000_000, "echo/双 words")
TEXT = st.text(st.characters(codec="utf-8"), max_size=20)  # no half surrogates
COUNT = st.integers(0, 10_000)


@st.composite
def calls(draw: st.DrawFn) -> list[Event]:
    """Deltas of tool calls: dense from 0, id and name once and first."""
    events: list[Event] = []
    for index in range(draw(st.integers(0, 3))):
        events.append(ToolCallDelta(index, f"call-{index}", draw(TEXT), ""))
        pieces = draw(st.lists(TEXT, max_size=3))
        events += [ToolCallDelta(index, None, None, piece) for piece in pieces]
    return events


EVENT: st.SearchStrategy[Event] = st.one_of(
    st.builds(TextDelta, TEXT),
    st.builds(ReasoningDelta, TEXT),
    st.builds(Citation, TEXT, TEXT),
    st.builds(Usage, COUNT, COUNT, COUNT, COUNT, st.booleans()),
)
FINISHED = st.builds(
    Finished, st.sampled_from(["stop", "length", "tool_calls", "content_filter"])
)


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    before, after = draw(st.lists(EVENT)), draw(st.lists(EVENT))
    events = [*before, *draw(calls()), *after, draw(FINISHED)]
    refuses = draw(st.booleans())
    return [
        replace(event, refuses=refuses) if isinstance(event, TextDelta) else event
        for event in events
    ]


def encoded(encoder: ChatEncoder, events: list[Event]) -> bytes:
    return b"".join(encoder.feed(event) for event in events)


@given(answers(), st.booleans())
def test_any_answer_is_grammatical_and_folds_to_the_whole_one(
    events: list[Event], include_usage: bool
) -> None:
    encoder = ChatEncoder(STAMP, include_usage=include_usage)
    stream = grammar.read(
        encoded(encoder, events) + encoder.finish(), usage=include_usage
    )
    whole = json.loads(dump(openai_chat.render([collect(events)], STAMP)))
    assert stream.done
    assert stream.message() == whole["choices"][0]["message"]
    assert stream.reason == whole["choices"][0]["finish_reason"]
    if include_usage:
        assert stream.usage == whole.get("usage")
    for field in ("id", "created", "model"):
        assert {chunk[field] for chunk in stream.chunks} == {whole[field]}


@given(answers(), st.booleans(), TEXT)
def test_any_failed_answer_is_grammatical(
    events: list[Event], include_usage: bool, message: str
) -> None:
    encoder = ChatEncoder(STAMP, include_usage=include_usage)
    sent = encoded(encoder, events[:-1]) + encoder.fail(UpstreamCut(message))
    stream = grammar.read(sent, usage=include_usage)
    assert stream.error is not None and stream.error["message"] == message


def test_a_refusal_is_no_content() -> None:
    events = [TextDelta("No, ", refuses=True), TextDelta("sorry.", refuses=True)]
    encoder = ChatEncoder(STAMP, include_usage=False)
    said = encoded(encoder, [*events, Finished("stop")]) + encoder.finish()
    message = grammar.read(said).message()
    assert message == {"role": "assistant", "content": None, "refusal": "No, sorry."}


@given(st.text(st.characters(), max_size=20))
def test_half_a_surrogate_pair_does_not_break_the_stream(text: str) -> None:
    encoder = ChatEncoder(STAMP, include_usage=False)
    sent = encoded(encoder, [TextDelta(text), Finished("stop")]) + encoder.finish()
    found = grammar.read(sent).text
    assert found.encode() == found.encode("utf-8", "surrogatepass")
    if text.isascii():
        assert found == text
    whole = openai_chat.render([collect([TextDelta(text), Finished("stop")])], STAMP)
    assert orjson.loads(dump(whole))["choices"][0]["message"]


def test_a_surrogate_pair_in_two_halves_of_one_text_is_mended() -> None:
    assert json.loads(dump({"a": ["\ud83d\ude00", "\ud83d"]})) == {
        "a": ["😀", "\ufffd"]
    }


@pytest.mark.parametrize(
    ("reason", "told"),
    [("stop", "tool_calls"), ("length", "length"), ("tool_calls", "tool_calls")],
)
def test_calls_change_stop_and_nothing_else(reason: Any, told: str) -> None:
    events: list[Event] = [ToolCallDelta(0, "c", "f", "{}"), Finished(reason)]
    encoder = ChatEncoder(STAMP, include_usage=False)
    stream = grammar.read(encoded(encoder, events) + encoder.finish())
    assert stream.reason == told
    whole = openai_chat.render([collect(events)], STAMP)
    assert whole["choices"][0]["finish_reason"] == told
    assert whole["choices"][0]["message"]["content"] is None


def _chunk(delta: dict[str, Any], reason: str | None = None, **other: Any) -> bytes:
    value = {
        "id": "1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [{"index": 0, "delta": delta, "finish_reason": reason}],
        **other,
    }
    return b"data: " + json.dumps(value).encode() + b"\n\n"


ROLE = _chunk({"role": "assistant", "content": ""})
WORD = _chunk({"content": "x"})
STOP = _chunk({}, "stop")
DONE = b"data: [DONE]\n\n"
ERROR = b'data: {"error":{"message":"m","type":"t","param":null,"code":null}}\n\n'
KEPT = b": keep-alive\n"


@pytest.mark.parametrize(
    "body",
    [
        ROLE + WORD + STOP + DONE,
        ROLE + KEPT + WORD + KEPT + KEPT + STOP + DONE,
        ROLE + ERROR,
        ERROR,
        KEPT + ROLE + WORD + ERROR,
    ],
)
def test_the_validator_accepts(body: bytes) -> None:
    grammar.read(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        ROLE + WORD,
        ROLE + WORD + STOP,
        ROLE + WORD + DONE,
        WORD + STOP + DONE,
        ROLE + ROLE + STOP + DONE,
        ROLE + STOP + STOP + DONE,
        ROLE + STOP + WORD + DONE,
        ROLE + STOP + DONE + DONE,
        ROLE + STOP + DONE + KEPT,
        ROLE + STOP + DONE + WORD,
        ROLE + ERROR + DONE,
        ROLE + ERROR + KEPT,
        ROLE + STOP + ERROR,
        ROLE + ERROR + ERROR,
        ROLE + b": keep-alive\n\n" + STOP + DONE,
        ROLE + b": other\n" + STOP + DONE,
        ROLE + b"event: x\n" + WORD + STOP + DONE,
        ROLE + b"id: 7\n" + WORD + STOP + DONE,
        ROLE + WORD[:-1] + STOP + DONE,
        ROLE + WORD.replace(b"\n\n", b"\n: keep-alive\n\n") + STOP + DONE,
        ROLE + WORD.replace(b"\n\n", b"\r\n\r\n") + STOP + DONE,
        ROLE + WORD.replace(b'"id": "1"', b'"id": "2"') + STOP + DONE,
        ROLE + _chunk({"content": "x"}, usage=None) + STOP + DONE,
        ROLE + _chunk({"content": None}) + STOP + DONE,
        ROLE + _chunk({}) + STOP + DONE,
        ROLE + _chunk({"content": "x"}, "stop") + DONE,
        ROLE + _chunk({}, "ended") + DONE,
        ROLE + STOP + _chunk({}, choices=[]) + DONE,
        ROLE + b'data: {"error":"text"}\n\n',
    ],
    ids=range(30),
)
def test_the_validator_refuses(body: bytes) -> None:
    with pytest.raises(AssertionError):
        grammar.read(body)
