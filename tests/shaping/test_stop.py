"""Stop sequences: the answer ends before the first, however it is cut."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.chat import Thread
from kimi_proxy.events import Finished, ReasoningDelta, TextDelta, Usage
from tests.shaping.model import Model, calls_of, question, through, tooled, whole

STOPS = ("END", "\n\nHuman:", "。停", "ENDE", "aab", "xENDx", "停")


def expected(text: str, stops: tuple[str, ...]) -> str:
    """What is left of it when it comes by single characters."""
    for end in range(len(text) + 1):
        hits = [len(stop) for stop in stops if text[:end].endswith(stop)]
        if hits:
            return text[: end - max(hits)]
    return text


PIECES = st.sampled_from((*STOPS, *"ENDaab\n。停x", "Human:"))


@given(
    text=st.lists(PIECES, max_size=12).map("".join),
    stops=st.sets(st.sampled_from(STOPS), min_size=1).map(tuple),
    seed=st.integers(0, 2**32),
)
def test_the_answer_ends_before_the_first_in_any_cut(
    text: str, stops: tuple[str, ...], seed: int
) -> None:
    chance = Random(seed)
    spots = sorted(chance.choices(range(len(text) + 1), k=chance.randrange(9)))
    parts = [text[a:b] for a, b in pairwise([0, *spots, len(text)]) if a != b]
    result = whole(Model(parts), question(stop=stops))
    assert (result.text, result.reason) == (expected(text, stops), "stop")


def test_only_what_may_become_one_is_held_back() -> None:
    model = Model(["Go on", " E", "N", "E then EN", "D never"])
    events = through(model, question(stop=("END",)))
    said = [event.text for event in events if isinstance(event, TextDelta)]
    assert said == ["Go on", " ", "ENE then "]
    assert model.pulled == 5


def test_nothing_more_is_read_where_the_chat_is_thrown_away() -> None:
    model = Model(["a END b", "never read", "nor this"])
    assert whole(model, question(stop=("END",))).text == "a "
    assert (model.pulled, model.closed) == (1, 1)


def test_a_kept_chat_is_read_to_its_end_and_named() -> None:
    end = Finished("length", "chat-1", "head-9")
    model = Model(["a END b", "c END", ReasoningDelta("hm"), Usage(1, 2), end])
    events = through(model, question(stop=("END",), keeps=True))
    assert events[0] == TextDelta("a ")
    end = Finished("stop", "chat-1", "head-9", matched="END")
    assert events[1:] == [Usage(1, 2), end]
    assert model.closed == 1


def test_thinking_may_say_it() -> None:
    model = Model([ReasoningDelta("END END"), "a EN", ReasoningDelta("D"), " b"])
    result = whole(model, question(stop=("END",)))
    assert (result.reasoning, result.text) == ("END ENDD", "a EN b")


def test_no_upstream_is_asked_for_it_where_the_gateway_sees_to_it() -> None:
    model = Model("a")
    whole(model, question(stop=("END",)))
    assert model.asked[0].stop == ()


CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "END"}}</tool_call>'


def test_arguments_of_calls_may_have_it_and_text_before_them_keeps_its_place() -> None:
    model = Model(f"Look: E\n{CALL}")
    events = through(model, tooled(stop=("END",)))
    assert events[0] == TextDelta("Look: ")
    assert events[1] == TextDelta("E")
    result = whole(Model(f"Look\n{CALL}"), tooled(stop=("END",)))
    assert calls_of(result) == [("get_weather", '{"city": "END"}')]
    assert result.reason == "tool_calls"


def test_a_call_behind_it_is_not_made() -> None:
    model = Model(f"a END\n{CALL}")
    result = whole(model, tooled(stop=("END",), keeps=True, follows=Thread("c")))
    assert (result.text, result.tool_calls, result.reason) == ("a ", (), "stop")


@pytest.mark.parametrize("stops", [("a", "ab"), ("ab", "a")])
def test_the_shorter_of_two_ends_it_first(stops: tuple[str, ...]) -> None:
    result = whole(Model(list("xxaby")), question(stop=stops))
    assert (result.text, result.matched) == ("xx", "a")


def test_an_answer_that_has_none_ended_by_none() -> None:
    assert whole(Model("a EN"), question(stop=("END",))).matched is None
