"""The sources of an answer on the Connect wire (connect sheet §6, §7)."""

from typing import Any

import pytest

from kimi_proxy.events import Citation, TextDelta
from tests.providers.connect_frames import block, chunk, page, refs, text, told


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
