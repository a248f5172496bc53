"""`max_tokens`: the answer is cut at the estimate, thinking included."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.events import Finished, ReasoningDelta, TextDelta
from kimi_proxy.shaping import tokens
from tests.shaping.model import Model, question, through, tooled, whole

TEXT = "The quick brown fox jumps over the lazy dog. 敏捷的棕色狐狸跳过了懒狗。" * 3


@given(st.integers(1, 200), st.integers(0, 2**32))
def test_the_answer_is_cut_there_however_it_comes(limit: int, seed: int) -> None:
    parts, rest, chance = [], TEXT, Random(seed)
    while rest:
        size = chance.randrange(1, 20)
        parts.append(rest[:size])
        rest = rest[size:]
    result = whole(Model(parts), question(max_tokens=limit))
    assert TEXT.startswith(result.text)
    assert tokens.count(result.text) <= limit
    cut = tokens.count(TEXT) > limit
    assert result.reason == ("length" if cut else "stop")
    assert (result.text == TEXT) != cut


def test_an_answer_that_just_fits_is_whole() -> None:
    limit = tokens.count(TEXT)
    result = whole(Model([TEXT]), question(max_tokens=limit))
    assert (result.text, result.reason) == (TEXT, "stop")


def test_thinking_counts_and_may_leave_nothing_for_the_answer() -> None:
    model = Model([ReasoningDelta("one two three four"), "five six"])
    result = whole(model, question(max_tokens=2))
    assert result.text == ""
    assert result.reasoning == "one two"
    assert result.reason == "length"
    assert (model.pulled, model.closed) == (1, 1)


def test_hidden_thinking_counts_as_well() -> None:
    model = Model([ReasoningDelta("one two three four"), "five"])
    events = through(model, question(max_tokens=2, show_reasoning=False))
    assert events == [Finished("length")]


def test_a_kept_chat_is_read_to_its_end_and_named() -> None:
    end = Finished("stop", "chat-1", "head-9")
    model = Model(["one two three", "four", end])
    events = through(model, question(max_tokens=2, keeps=True))
    assert events == [TextDelta("one two"), Finished("length", "chat-1", "head-9")]
    assert model.closed == 1


def test_a_call_is_never_cut_in_two() -> None:
    call = '<tool_call>{"name": "get_time", "arguments": {"a": "b c d e"}}</tool_call>'
    result = whole(Model(call), tooled(max_tokens=2))
    assert result.reason == "tool_calls"
    assert result.tool_calls[0].arguments == '{"a": "b c d e"}'
    result = whole(Model(f"one two three four\n{call}"), tooled(max_tokens=2))
    assert (result.text, result.tool_calls, result.reason) == ("one two", (), "length")
