"""The sources of an answer on the Connect wire (connect sheet §6, §7)."""

from typing import Any

import pytest

from kimi_proxy.events import Citation, TextDelta
from kimi_proxy.providers.kimi_connect_source import Sources
from tests.providers.connect_frames import (
    answered,
    block,
    chunk,
    page,
    refs,
    text,
    told,
)


@pytest.mark.parametrize(
    "source",
    [
        refs(usedSearchChunks=[chunk("https://a.example/")]),
        refs(searchChunks=[chunk("https://a.example/")]),
        {"message": {"id": "m1", "ref": {"search": [page("https://a.example/")]}}},
        {
            "message": {
                "id": "m1",
                "ref": {"search": {"items": [page("https://a.example/")]}},
            }
        },
        block(
            "set",
            "block.search.webPages",
            search={"webPages": [page("https://a.example/")]},
        ),
        block(
            "append",
            "block.tool.contents",
            tool={"contents": [{"searchResult": chunk("https://a.example/")}]},
        ),
    ],
    ids=["used", "found", "old ref", "old ref items", "web pages", "tool"],
)
def test_sources_are_told_at_the_end(source: dict[str, Any]) -> None:
    events = told(source, text("set", "a"))
    assert events == [TextDelta("a"), Citation("https://a.example/", "T")]


def test_used_sources_win_and_none_comes_twice() -> None:
    found = refs(searchChunks=[chunk(f"https://{n}.example/") for n in "abc"])
    used = refs(
        usedSearchChunks=[chunk("https://b.example/"), chunk("https://b.example/", "X")]
    )
    assert told(found, used, found) == [Citation("https://b.example/", "T")]


def test_a_new_list_of_used_sources_replaces_the_old_one() -> None:
    first = refs(usedSearchChunks=[chunk("https://a.example/")])
    second = refs(usedSearchChunks=[chunk("https://b.example/")])
    assert told(first, second) == [Citation("https://b.example/", "T")]
    added = {**second, "op": "append"}
    assert len(told(first, added)) == 2


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "ftp://a.example/",
        "//a.example/",
        "https://",
        "http://[",
        5,
    ],
)
def test_only_links_to_the_web_are_sources(url: object) -> None:
    assert told(refs(searchChunks=[{"base": page(url)}])) == []


def test_a_source_without_title_is_called_by_its_address() -> None:
    source = refs(searchChunks=[{"base": page("https://a.example/", None)}])
    assert told(source) == [Citation("https://a.example/", "https://a.example/")]


def result(ref: object, url: str) -> dict[str, Any]:
    found = {"searchResult": {"refIndex": ref, **chunk(url, url[8])}}
    return block("append", "block.tool.contents", tool={"contents": [found]})


def placed(*documents: object) -> str:
    """The answer, with the title of each placed source in its place."""
    return "".join(
        event.text if isinstance(event, TextDelta) else f"<{event.title}>"
        for event in told(*documents)
        if isinstance(event, TextDelta)
        or (isinstance(event, Citation) and event.placed)
    )


A, B, C = "https://a.example/", "https://b.example/", "https://c.example/"
ALL = "1[^1^] 2[^2^] 3[^3^]"


def test_a_number_is_first_of_all_a_refindex() -> None:
    results = [result(3, A), result("1", B)]
    assert placed(*results, text("set", ALL)) == "1<b> 2 3<a>"


def test_a_number_counts_results_only_where_none_has_a_number() -> None:
    results = [result("web_search:1#0", A), result("web_search:1#1", B)]
    assert placed(*results, text("set", ALL)) == "1<a> 2<b> 3"
    assert placed(*results, result(7, C), text("set", ALL)) == "1 2 3"
    assert placed(*results, text("set", "0[^0^]")) == "0"


def test_the_results_of_an_older_build_are_counted() -> None:
    pages = {"webPages": [page(A, "a"), page("javascript:x", "x"), page(B, "b")]}
    search = block("set", "block.search.webPages", search=pages)
    assert placed(search, text("set", ALL)) == "1<a> 2 3<b>"


def test_a_full_reference_names_its_result_alone() -> None:
    results = [result("web_search:1#0", A), result("web_search:1#1", B)]
    marks = [f"\ue3a0cite\ue3a3web_search:1#{at}\ue3a8" for at in (1, 0, 9)]
    assert placed(*results, text("set", "x".join(marks))) == "<b>x<a>x"


def test_a_result_that_comes_later_is_never_guessed() -> None:
    later = refs(usedSearchChunks=[chunk(A)])
    assert told(text("set", "x[^1^]"), later) == [TextDelta("x"), Citation(A, "T")]


def test_in_a_chat_that_goes_on_a_number_counts_nothing() -> None:
    sources = Sources(begins=False)
    results = [result("web_search:1#0", A), result(4, B)]
    sources.block(results[0]["block"])
    assert sources.named("1") is None
    assert sources.named("web_search:1#0") == Citation(A, "a")
    sources.block(results[1]["block"])
    assert sources.named("4") == Citation(B, "b")


def test_a_placed_source_is_not_told_again_at_the_end() -> None:
    results = [result("web_search:1#0", A), result("web_search:1#1", B)]
    used = refs(usedSearchChunks=[chunk(A, "a"), chunk(C, "c")])
    events = told(*results, text("set", "x[^1^]"), used)
    assert events == [
        *(TextDelta("x"), Citation(A, "a", placed=True), Citation(C, "c"))
    ]


def test_what_was_only_found_is_not_told_once_a_marker_told_what_is_used() -> None:
    results = [result("web_search:1#0", A), result("web_search:1#1", B)]
    events = told(*results, text("set", "x[^1^]"))
    assert events == [TextDelta("x"), Citation(A, "a", placed=True)]


def test_no_marker_reaches_from_one_block_into_another() -> None:
    other = {"op": "set", "block": {"id": "2", "text": {"content": "1^]"}}}
    assert answered(text("set", "x[^"), other) == "x[^1^]"
