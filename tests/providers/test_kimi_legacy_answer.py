"""The pure halves of the legacy wire: what frames and refusals mean."""

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_proxy.errors import (
    AccountBusy,
    ContentRefused,
    UpstreamCut,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamUnsupported,
)
from kimi_proxy.events import Citation, Event, Finished, TextDelta
from kimi_proxy.providers.kimi_legacy_answer import Answer
from kimi_proxy.providers.kimi_legacy_error import refusal
from kimi_proxy.sse import ServerEvent

# A busy machine is slow, which is no fault of the code.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

END = {"event": "all_done"}
NOW = 1_790_000_000.0


def parsed(*bodies: Any, unknown: Counter[str] | None = None) -> list[Event]:
    frames = [ServerEvent("message", orjson.dumps(body).decode()) for body in bodies]
    answer = Answer("c1")
    events = [*answer.read(frames), *answer.end()]
    if unknown is not None:
        unknown += answer.unknown
    return events


def test_done_alone_is_not_the_end() -> None:
    with pytest.raises(UpstreamCut):
        parsed({"event": "cmpl", "text": "a"}, {"event": "done"})


def test_what_follows_the_end_is_not_read() -> None:
    assert parsed(END, {"event": "cmpl", "text": "late"}) == [Finished("stop", "c1")]


def test_empty_pieces_are_no_events() -> None:
    assert parsed({"event": "cmpl", "text": ""}, END) == [Finished("stop", "c1")]


def test_the_name_of_the_event_line_serves_when_the_json_has_none() -> None:
    frames = [
        ServerEvent("cmpl", '{"text":"a"}'),
        ServerEvent("all_done", "{}"),
    ]
    expected = [TextDelta("a"), Finished("stop", "c1")]
    answer = Answer("c1")
    assert [*answer.read(frames), *answer.end()] == expected


def test_unknown_events_are_counted_under_a_short_name() -> None:
    unknown: Counter[str] = Counter()
    odd = {"event": "k1"}, {"event": "k1"}, {"event": 5}, {"event": "x" * 999}, {}
    parsed(*odd, END, unknown=unknown)
    assert unknown == {"k1": 2, "5": 1, "x" * 40: 1, "message": 1}


@pytest.mark.parametrize(
    "data",
    ["", "[DONE]", "{", "[]", "1", '{"event":"cmpl"}', '{"event":"cmpl","text":1}'],
)
def test_what_is_not_as_the_sheet_says_is_garbled(data: str) -> None:
    with pytest.raises(UpstreamGarbled):
        list(Answer("c1").read([ServerEvent("message", data)]))


@pytest.mark.parametrize("error", [None, "text", [], {}])
def test_an_error_event_of_any_shape_is_an_error(error: object) -> None:
    with pytest.raises(UpstreamFailed):
        parsed({"event": "error", "error": error}, END)


@pytest.mark.parametrize(
    "body",
    [
        {"event": "search_plus"},
        {"event": "search_plus", "msg": {"type": "start"}},
        {"event": "search_plus", "msg": {"type": "get_res"}},
        {"event": "search_plus", "msg": {"type": "get_res", "url": 5}},
        {"event": "ref_docs", "ref_cards": {"url": "https://example.org"}},
        {"event": "ref_docs", "ref_cards": [None, "x", {"url": "ftp://example.org"}]},
    ],
)
def test_search_progress_without_a_source_cites_nothing(body: Any) -> None:
    assert parsed(body, END) == [Finished("stop", "c1")]


def test_cards_and_hits_are_one_list_of_sources() -> None:
    hit = {"type": "get_res", "url": "https://example.org/a", "title": "A"}
    cards = [{"url": "https://example.org/a"}, {"url": "HTTPS://example.org/b"}]
    assert parsed(
        {"event": "search_plus", "msg": hit},
        {"event": "ref_docs", "ref_cards": cards},
        END,
    ) == [
        Citation("https://example.org/a", "A"),
        Citation("HTTPS://example.org/b", "HTTPS://example.org/b"),
        Finished("stop", "c1"),
    ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["type", "url", "text", "error_type", "message"]), inner
        )
    ),
    max_leaves=5,
)
names = st.sampled_from(
    ["cmpl", "search_plus", "ref_docs", "length", "error", "done", "ping", "new"]
)
bodies = st.builds(
    lambda name, rest: {**rest, "event": name},
    names,
    st.dictionaries(st.sampled_from(["text", "msg", "ref_cards", "error"]), values),
)


@PATIENT
@given(st.lists(bodies, max_size=6))
def test_no_stream_without_its_end_is_an_answer(stream: list[Any]) -> None:
    with pytest.raises((UpstreamError, ContentRefused)):
        parsed(*stream)


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_missing_call_is_told_apart_from_a_missing_object(status: int) -> None:
    assert type(refusal(status, None)) is UpstreamUnsupported
    assert type(refusal(404, {"message": "no"})) is UpstreamNotFound


def test_the_upstreams_wait_goes_before_ours() -> None:
    busy = {"error_type": "chat.user_stream_pushing"}
    assert refusal(200, busy).retry_after == 3
    assert refusal(429, busy, 7).retry_after == 7
    assert isinstance(refusal(429, busy), AccountBusy)


@pytest.mark.parametrize("code", ["a b", "eyJmade-up", "x" * 50, 7, None, ""])
def test_an_odd_code_is_not_repeated(code: object) -> None:
    assert refusal(500, {"error_type": code}).upstream_code == "http_500"
