"""Markers of the answer become citations on both wires, however the bytes are cut."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators import kimi_connect, kimi_legacy
from emulators.kimi_connect import bracket_citation, citation
from kimi_proxy.events import Citation, Event, TextDelta
from tests.providers.legacy_account import asking
from tests.providers.wire import Wire, opened

A, B, C = (f"https://example.org/{name}" for name in "abc")
HITS = (("A", A), ("B", B), ("C", C))
# The last two name nothing that was found.
MARKED = f"冷{citation(1)} and{citation(2)}{citation(1)} x[^2] [^a^]{citation(9)}."
TEXT = "冷<A> and<B><A> x[^2] [^a^]."
BRACKETS = (
    f"冷{bracket_citation('web_search:1#0')} and"
    f"{bracket_citation('web_search:1#1', 'web_search:1#0')} x[^2] [^a^]"
    f"{bracket_citation('web_search:9#9')}."
)


@pytest.fixture(params=["connect", "legacy"])
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with opened(request.param) as running:
        yield running


def script(wire: Wire, text: str, pieces: Any) -> None:
    """Let the emulator find all hits and say the text in these pieces."""
    package: Any = kimi_connect if wire.model == "k2d6-chat" else kimi_legacy
    hits = tuple(package.SearchHit(*hit) for hit in HITS)
    wire.emulator.answer = package.Answer(  # type: ignore[attr-defined]  # of either wire
        text, pieces=pieces, search=hits
    )


def events_of(wire: Wire) -> list[Event]:
    seen, error = wire.account.outcome(asking(model=wire.model, search=True))
    assert error is None
    return seen


def marked(events: list[Event]) -> str:
    """The answer with the titles of placed sources in their places."""
    words = []
    for event in events:
        if isinstance(event, TextDelta):
            words.append(event.text)
        elif isinstance(event, Citation) and event.placed:
            words.append(f"<{event.title}>")
    return "".join(words)


def unplaced(events: list[Event]) -> list[str]:
    return [e.title for e in events if isinstance(e, Citation) and not e.placed]


def test_markers_cut_at_every_character_become_citations_in_their_places(
    wire: Wire,
) -> None:
    for cut in range(1, len(MARKED)):
        script(wire, MARKED, (MARKED[:cut], MARKED[cut:]))
        events = events_of(wire)
        assert marked(events) == TEXT
        assert unplaced(events) == ["C"]
        assert isinstance(events[-2], Citation), "what is left comes at the end"


def test_markers_come_through_one_character_and_one_byte_at_a_time(wire: Wire) -> None:
    script(wire, MARKED, 1)
    wire.split(1)
    assert marked(events_of(wire)) == TEXT


def test_full_references_are_resolved_where_the_wire_knows_them(wire: Wire) -> None:
    for pieces in (1, len(BRACKETS)):
        script(wire, BRACKETS, pieces)
        known = wire.model == "k2d6-chat"
        expected = "冷<A> and<B><A> x[^2] [^a^]." if known else "冷 and x[^2] [^a^]."
        assert marked(events_of(wire)) == expected


def test_without_a_search_markers_are_dropped_and_nothing_is_invented(
    wire: Wire,
) -> None:
    script(wire, MARKED + BRACKETS, 5)
    seen, error = wire.account.outcome(asking(model=wire.model))
    assert error is None
    assert marked(seen) == "冷 and x[^2] [^a^]." * 2
    assert not any(isinstance(event, Citation) for event in seen)


def test_a_marker_that_never_ends_is_text(wire: Wire) -> None:
    script(wire, "see [^1", 2)
    assert marked(events_of(wire)) == "see [^1"
