"""Citation markers in text, cut anywhere (connect sheet §7)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.events import Citation, Event, TextDelta
from kimi_proxy.providers.kimi_citation import CitedText, Marker, Splitter

REF = "web_search:1#0"
ONE = f"\ue3a0cite\ue3a3{REF}\ue3a8"
TWO = "\ue3a0cite\ue3a3web_search:1#0\ue3a3web_search:2#11\ue3a8"
Parts = list[str | Marker]

MARKED: list[tuple[str, Parts]] = [
    ("[^1^]", [Marker(("1",))]),
    ("a[^12^]b", ["a", Marker(("12",)), "b"]),
    ("[^1^][^2^]", [Marker(("1",)), Marker(("2",))]),
    (f"a{ONE}b", ["a", Marker(("web_search:1#0",)), "b"]),
    (TWO, [Marker(("web_search:1#0", "web_search:2#11"))]),
    (f"冷[^3^]{ONE}。", ["冷", Marker(("3",)), Marker(("web_search:1#0",)), "。"]),
    ("[[^4^]]", ["[", Marker(("4",)), "]"]),
    ("[^5[^5^]", ["[^5", Marker(("5",))]),
    (
        f"{ONE[:-1]}\ue3a3A page, of 2026\ue3a8.",
        [Marker((REF, "A page, of 2026")), "."],
    ),
    ("\ue3a0cite\ue3a3 a \ue3a3\ue3a8", [Marker(("a",))]),
    ("x\ue3a0cite\ue3a8y", ["x", Marker(()), "y"]),
]
PLAIN = [
    "a footnote[^1] and x[^2]: not a marker",
    "[^1]: the note itself",
    "regex [^a^] [^^] [^0-9^] [^] [1] [^1^ ] [ ^1^] [^1 ^]",
    "[^1234567^] [^-1^] [^１^] [^1.5^] [^1,2^]",
    "\ue3a0cited\ue3a3x\ue3a8 \ue3a0 \ue3a3x\ue3a8",
    "\ue3a0cite\ue3a3a\nb\ue3a8",
    "ends with [",
    "ends with [^",
    "ends with [^1",
    "ends with [^1^",
    "ends with \ue3a0cit",
    "\ue3a0cite\ue3a3" + "a" * 161 + "\ue3a8",
]


def split(*pieces: str) -> Parts:
    """The parts of the pieces, with texts that touch as one."""
    splitter = Splitter()
    parts = [part for piece in pieces for part in splitter.feed(piece)]
    joined: Parts = []
    for part in (*parts, splitter.rest()):
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part:
            joined.append(part)
    return joined


@pytest.mark.parametrize(("text", "parts"), MARKED)
def test_a_marker_is_found_wherever_it_is_cut(text: str, parts: Parts) -> None:
    assert split(text) == split(*text) == parts
    for cut in range(len(text) + 1):
        assert split(text[:cut], text[cut:]) == parts


@pytest.mark.parametrize("text", PLAIN)
def test_what_only_resembles_a_marker_is_text(text: str) -> None:
    assert split(text) == split(*text) == [text]
    for cut in range(len(text) + 1):
        assert split(text[:cut], text[cut:]) == [text]


letters = st.sampled_from([*"[^1]ab:#\ue3a0\ue3a3\ue3a8", "cite", "[^1^]", ONE])
texts = st.lists(letters, max_size=30).map("".join)


@given(texts, st.lists(st.integers(1, 5), min_size=1, max_size=10))
def test_no_cut_changes_what_is_found(text: str, sizes: list[int]) -> None:
    pieces: list[str] = []
    place = 0
    while place < len(text):
        size = sizes[len(pieces) % len(sizes)]
        pieces.append(text[place : place + size])
        place += size
    assert split(*pieces) == split(text)


@given(texts)
def test_nothing_is_held_back_that_can_be_no_marker(text: str) -> None:
    splitter = Splitter()
    list(splitter.feed(text))
    held = splitter.rest()
    endings = ["^1^]", "1^]", "^]", "]", "\ue3a8", "a\ue3a8"]
    endings += [f"{'cite'[at:]}\ue3a3a\ue3a8" for at in range(5)]
    assert held == "" or any(
        isinstance(split(held + ending)[0], Marker) for ending in endings
    )


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "\ue3a0cite" + "\ue3a3a" * 50_000, "[^1" * 30_000]
)
def test_a_text_full_of_beginnings_is_not_hoarded(text: str) -> None:
    splitter = Splitter()
    given_back = "".join(p for p in splitter.feed(text) if isinstance(p, str))
    assert len(given_back) > len(text) - 2600


@pytest.mark.parametrize("begun", ["\ue3a0cite", "\ue3a0cite\ue3a3web", ONE[:-1]])
def test_an_answer_that_ends_within_a_marker_shows_nothing_of_it(begun: str) -> None:
    for cut in range(len(begun) + 1):
        assert split(f"Cold{begun[:cut]}", begun[cut:]) == ["Cold"]


SOURCES = {
    "1": Citation("https://a.example/", "A"),
    "web_search:1#0": Citation("https://a.example/", "A"),
    "2": Citation("https://b.example/", "B"),
}


def told(*pieces: str) -> list[Event]:
    cited = CitedText(SOURCES.get)
    return [e for piece in pieces for e in cited.feed(piece)] + list(cited.flush())


def test_a_marker_becomes_the_citation_at_its_place() -> None:
    a = Citation("https://a.example/", "A", placed=True)
    b = Citation("https://b.example/", "B", placed=True)
    assert told("x[^", "1^]y[^2^]", "[^") == [
        *(TextDelta("x"), a, TextDelta("y"), b, TextDelta("[^"))
    ]


def test_what_cannot_be_resolved_is_dropped_and_the_rest_told_once() -> None:
    assert told("x[^9^]y") == [TextDelta("x"), TextDelta("y")]
    refs = ("web_search:1#0", "1", "web_search:9#9", "2")
    listed = "".join(f"\ue3a3{ref}" for ref in refs)
    urls = [e.url for e in told(f"\ue3a0cite{listed}\ue3a8") if isinstance(e, Citation)]
    assert urls == ["https://a.example/", "https://b.example/"]
