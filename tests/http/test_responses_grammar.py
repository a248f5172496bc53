"""The validator of Responses streams: each rule has a stream that breaks it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.responses_answer import OpenAIResponses
from kimi_proxy.dialects.responses_request import parse_chat
from kimi_proxy.errors import UpstreamCut
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta, ToolCallDelta
from tests.http.responses_grammar import read

Events = list[dict[str, Any]]
STAMP = Stamp("0123456789abcdef" * 2, 1_700_000_000, "m")
SAID: tuple[Event, ...] = (
    ReasoningDelta("hm"),
    TextDelta("a"),
    TextDelta("b"),
    ToolCallDelta(0, "c", "f", "{}"),
)


def encoded(*events: Event, fails: bool = False) -> bytes:
    asked = parse_chat({"model": "m", "messages": [{"role": "user", "content": "x"}]})
    request = ChatRequest("m", (Message("user", "x"),))
    encoder = OpenAIResponses(asked, lambda _: True).encoder(request, STAMP)
    body = b"".join(map(encoder.feed, events))
    return body + (encoder.fail(UpstreamCut("cut")) if fails else encoder.finish())


GOOD = encoded(*SAID, Finished("stop"))


def events_of(body: bytes) -> Events:
    lines = body.decode().split("\n")
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def frames(events: Events) -> bytes:
    """The events written out, numbered anew."""
    told = []
    for number, event in enumerate(events):
        data = json.dumps({**event, "sequence_number": number})
        told.append(f"event: {event['type']}\ndata: {data}\n\n")
    return "".join(told).encode()


def test_what_is_right_is_taken_apart() -> None:
    stream = read(GOOD)
    assert (stream.text, stream.thought, len(stream.calls)) == ("ab", "hm", 1)
    assert read(frames(events_of(GOOD))).text == "ab"
    assert read(encoded(*SAID, fails=True)).kinds[-1] == "failed"
    assert read(b": keep-alive\n" + GOOD).keep_alives == 1


def without(kind: str) -> Callable[[Events], None]:
    def change(events: Events) -> None:
        at = [e["type"] for e in events].index(f"response.{kind}")
        del events[at]

    return change


def changed(kind: str, **fields: Any) -> Callable[[Events], None]:
    def change(events: Events) -> None:
        found = next(e for e in events if e["type"] == f"response.{kind}")
        found.update(fields)

    return change


def swap(events: Events) -> None:
    events[2], events[3] = events[3], events[2]


def twice(events: Events) -> None:
    events.insert(1, events[0])


def after(events: Events) -> None:
    events.append(events[2])


def status(events: Events) -> None:
    events[-1]["response"]["status"] = "in_progress"


def output(events: Events) -> None:
    events[-1]["response"]["output"].pop()


def renamed(events: Events) -> None:
    events[-1]["response"]["id"] = "resp_other"


BROKEN = [
    *map(without, ["created", "in_progress", "output_item.added", "completed"]),
    *map(without, ["content_part.added", "output_text.delta", "output_text.done"]),
    *map(without, ["content_part.done", "output_item.done", "reasoning_text.delta"]),
    without("function_call_arguments.done"),
    changed("output_text.delta", delta="x"),
    changed("output_text.delta", output_index=7),
    changed("output_text.delta", item_id="msg_other"),
    changed("function_call_arguments.done", arguments="[]"),
    *(swap, twice, after, status, output, renamed),
]


@pytest.mark.parametrize("change", BROKEN)
def test_what_is_wrong_is_seen(change: Callable[[Events], None]) -> None:
    events = events_of(GOOD)
    change(events)
    with pytest.raises((AssertionError, KeyError)):
        read(frames(events))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        GOOD[:-1],
        GOOD + b": keep-alive\n",
        GOOD + b"data: [DONE]\n\n",
        GOOD.replace(b"\n", b"\r\n"),
        GOOD.replace(b"event: response.created\n", b""),
        GOOD.replace(b"event: response.created", b"event: response.queued"),
        GOOD.replace(b'"sequence_number":3}', b'"sequence_number":4}'),
        b": ping\n" + GOOD,
    ],
)
def test_framing_that_is_wrong_is_seen(body: bytes) -> None:
    with pytest.raises(AssertionError):
        read(body)


def test_a_failure_that_ends_an_item_as_if_it_were_whole_is_seen() -> None:
    events = events_of(encoded(TextDelta("a"), fails=True))
    events[-1]["response"]["output"][0]["status"] = "completed"
    with pytest.raises(AssertionError):
        read(frames(events))
