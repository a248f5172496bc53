"""Where sources are shown, in all four ways."""

from collections.abc import Iterator

import pytest

from kimi_proxy.chat import ChatRequest, Citations, JsonFormat, Message
from kimi_proxy.events import Citation, Event, Finished, TextDelta
from kimi_proxy.shaping.citation import showing_sources
from kimi_proxy.shaping.pipeline import shaped

A = Citation("https://a.example/", "A [1]")
B = Citation("https://b.example/x_(y)", "B")
SAID: list[Event] = [
    TextDelta("Cold"),
    Citation(A.url, A.title, placed=True),
    TextDelta(" and wet."),
    Citation(B.url, B.title, placed=True),
    Citation(A.url, A.title, placed=True),
    Citation("https://c.example/", "C"),
    Citation("https://c.example/", "C"),
    Finished("stop", "chat", "head"),
]


def shown(mode: Citations | None, *events: Event) -> list[Event]:
    def ask(request: ChatRequest) -> Iterator[Event]:
        yield from events

    request = ChatRequest("m", (Message("user", "hi"),), citations=mode)
    return list(showing_sources(ask)(request))


def text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_none_shows_the_text_alone() -> None:
    events = shown("none", *SAID)
    assert text(events) == "Cold and wet."
    assert not any(isinstance(event, Citation) for event in events)


@pytest.mark.parametrize("mode", ["annotations", None])
def test_annotations_name_the_place_in_the_text(mode: Citations | None) -> None:
    events = shown(mode, *SAID)
    assert text(events) == "Cold and wet."
    spans = [(e.url[8], e.span) for e in events if isinstance(e, Citation)]
    assert spans == [
        *(("a", (4, 4)), ("b", (13, 13)), ("a", (13, 13))),
        *(("c", (0, 13)), ("c", (0, 13))),
    ]


def test_footnotes_number_the_places_and_list_each_source_once() -> None:
    events = shown("footnotes", *SAID)
    assert text(events) == (
        "Cold[1] and wet.[2][1]\n"
        "\n[1] [A \\[1\\]](https://a.example/)"
        "\n[2] [B](https://b.example/x_%28y%29)"
        "\n[3] [C](https://c.example/)"
    )


def test_inline_links_stand_at_the_places_and_the_rest_follows() -> None:
    events = shown("inline", *SAID)
    assert text(events) == (
        "Cold ([A \\[1\\]](https://a.example/)) and wet."
        " ([B](https://b.example/x_%28y%29))"
        " ([A \\[1\\]](https://a.example/))"
        "\n\n[1] [C](https://c.example/)"
    )


@pytest.mark.parametrize("mode", ["none", "annotations", "footnotes", "inline"])
def test_without_sources_every_way_is_the_same(mode: Citations) -> None:
    plain: list[Event] = [TextDelta("Cold."), Finished("stop", "chat", "head")]
    assert shown(mode, *plain) == plain


@pytest.mark.parametrize("mode", ["none", "annotations", "footnotes", "inline"])
def test_the_end_comes_last_and_once(mode: Citations) -> None:
    events = shown(mode, *SAID)
    assert [e for e in events if isinstance(e, Finished)] == [SAID[-1]] == events[-1:]


@pytest.mark.parametrize("mode", ["annotations", "footnotes", "inline"])
def test_json_is_never_written_into(mode: Citations) -> None:
    said = [TextDelta('{"a": '), *SAID[1:2], TextDelta("1}"), SAID[-1]]

    def ask(request: ChatRequest) -> Iterator[Event]:
        yield from said

    request = ChatRequest(
        "m", (Message("user", "hi"),), citations=mode, json_format=JsonFormat()
    )
    for honoured in (frozenset[str](), frozenset({"response_format"})):
        events = list(shaped(ask, request, honoured)(request))
        assert text(events) == '{"a": 1}'
        sources = [event for event in events if isinstance(event, Citation)]
        assert [source.url for source in sources] == [A.url]
    events = list(shaped(ask, request, frozenset())(request))
    (source,) = [event for event in events if isinstance(event, Citation)]
    assert source.span == (0, 8), "where it stood is lost with the text around it"


def test_a_place_is_kept_where_a_stop_sequence_may_have_begun() -> None:
    said = [TextDelta("Cold.\n"), *SAID[1:2], TextDelta("Wet.\n\nMore"), SAID[-1]]

    def ask(request: ChatRequest) -> Iterator[Event]:
        yield from said

    request = ChatRequest("m", (Message("user", "hi"),), stop=("\n\n",))
    events = list(shaped(ask, request, frozenset())(request))
    assert text(events) == "Cold.\nWet."
    (source,) = [event for event in events if isinstance(event, Citation)]
    assert source.span == (6, 6)
