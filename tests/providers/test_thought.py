"""Thinking inside the text is told from it, however the tags are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.events import ReasoningDelta, TextDelta
from kimi_proxy.providers.thought import ThoughtReader

CASES = [
    ("Hello", "", "Hello"),
    ("<think>Plan.</think>Hello", "Plan.", "Hello"),
    ("\n<think>\nPlan.\n</think>\n\nHello\n", "Plan.\n", "Hello\n"),
    ("<think></think>\n\nHello", "", "Hello"),
    ("<think>never closed", "never closed", ""),
    ("Hi\n<think>more</think>\nend", "more", "Hi\n\nend"),
    ("Say `<think>` aloud", "", "Say `<think>` aloud"),
    ("a <think> b </think> c", "", "a <think> b </think> c"),
    ("</think>x", "", "</think>x"),
    ("<think>a < b </thin </think>ok", "a < b </thin ", "ok"),
    ("<thinker>x", "", "<thinker>x"),
    ("a\n \t<think>b</think>c", "b", "a\n \tc"),
    ("a\r\n<think>b</think>c", "b", "a\r\nc"),
    ("a <think>\n<think>b</think>c", "b", "a <think>\nc"),
    ("<thin", "", "<thin"),
    ("  \n indented", "", "  \n indented"),
    ("<think>冷🌍</think>👩‍👩‍👧", "冷🌍", "👩‍👩‍👧"),
]


def read(pieces: list[str]) -> tuple[str, str]:
    """The joined thinking and the joined text; no piece of either is empty."""
    reader = ThoughtReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    events += reader.end()
    assert all(isinstance(e, ReasoningDelta | TextDelta) and e.text for e in events)
    thought = "".join(e.text for e in events if isinstance(e, ReasoningDelta))
    return thought, "".join(e.text for e in events if isinstance(e, TextDelta))


@pytest.mark.parametrize(("whole", "thought", "text"), CASES)
def test_the_parts_are_told_apart_whole_and_character_by_character(
    whole: str, thought: str, text: str
) -> None:
    assert read([whole]) == read(list(whole)) == (thought, text)


@pytest.mark.parametrize(("whole", "thought", "text"), CASES)
def test_a_cut_at_any_place_changes_nothing(
    whole: str, thought: str, text: str
) -> None:
    for at in range(len(whole) + 1):
        assert read([whole[:at], whole[at:]]) == (thought, text)


def test_text_is_handed_on_at_once() -> None:
    reader = ThoughtReader()
    assert list(reader.feed("Hel")) == [TextDelta("Hel")]
    assert list(reader.feed("lo < ")) == [TextDelta("lo < ")]
    assert list(reader.feed("\n<thi")) == [TextDelta("\n")]
    assert list(reader.feed("nk>a")) == [ReasoningDelta("a")]


@given(st.lists(st.sampled_from(["<", "think", "/", ">", "\n", " ", "a", "<think>"])))
def test_how_it_is_cut_never_matters_and_nothing_is_lost(pieces: list[str]) -> None:
    whole = "".join(pieces)
    assert read(pieces) == read([whole])
    if "<think>" not in whole:
        assert read(pieces) == ("", whole)


def test_tags_that_open_nothing_cost_no_more_than_text() -> None:
    whole = "x" + "<think>" * 100_000
    assert read([whole]) == ("", whole)
