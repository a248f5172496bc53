"""Token counts: the upstream's own, or a marked estimate; for nobody who asks not."""

import time
from typing import Any

import pytest

from kimi_proxy.chat import Message, Tool, ToolCall
from kimi_proxy.events import ReasoningDelta, ToolCallDelta, Usage
from kimi_proxy.shaping import tokens
from tests.shaping.model import Model, question, through, tooled, whole

ASKED: dict[str, Any] = {"include_usage": True}


def counted(model: Model, **fields: Any) -> Usage:
    found = whole(model, question(**{**ASKED, **fields})).usage
    assert found is not None
    return found


def test_an_estimate_says_that_it_is_one() -> None:
    found = counted(Model(["one two ", ReasoningDelta("hm hm"), "three"]))
    reasoning = tokens.count("hm hm")
    assert found == Usage(
        prompt_tokens=tokens.count("How is it?") + 4,
        completion_tokens=tokens.count("one two three") + reasoning,
        reasoning_tokens=reasoning,
        estimated=True,
    )


def test_a_count_of_the_upstream_is_left_alone() -> None:
    assert counted(Model(["one", Usage(7, 5, 3, 2)])) == Usage(7, 5, 3, 2)


def test_a_stream_that_does_not_ask_costs_no_counting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse() -> None:
        raise AssertionError("counted for nobody")

    monkeypatch.setattr(tokens, "Counter", refuse)
    assert whole(Model("one"), question()).usage is None
    with pytest.raises(AssertionError):
        whole(Model("one"), question(stream=False))


def test_the_prompt_is_counted_first_where_that_is_wanted() -> None:
    estimate = tokens.count("How is it?") + 4
    first = Usage(estimate, 0, estimated=True)
    asked = question(counts_first=True, **ASKED)
    own = through(Model(["one", Usage(7, 5)]), asked)
    assert [own[0], own[2]] == [first, Usage(7, 5)]
    said = tokens.count("one")
    none = through(Model(["one"]), asked)
    assert [none[0], none[2]] == [first, Usage(estimate, said, estimated=True)]


def test_hidden_thinking_has_been_paid_for() -> None:
    model = Model([ReasoningDelta("hm hm"), "one"])
    found = counted(model, show_reasoning=False)
    assert found.reasoning_tokens == tokens.count("hm hm")


def test_tools_calls_and_results_are_part_of_the_prompt() -> None:
    told = (
        Message("user", "Oslo?"),
        Message(
            "assistant", "", tool_calls=(ToolCall("c", "get_weather", '{"a": 1}'),)
        ),
        Message("tool", "5 degrees", tool_call_id="c"),
    )
    plain = counted(Model("Cold."), messages=told)
    parts = ("Oslo?", "get_weather", '{"a": 1}', "5 degrees")
    assert plain.prompt_tokens == 3 * 4 + sum(map(tokens.count, parts))
    tool = Tool("get_weather", "The weather.", {"type": "object"})
    more = counted(Model("Cold."), messages=told, tools=(tool,))
    words = 'get_weather The weather. {"type": "object"}'
    assert more.prompt_tokens - plain.prompt_tokens == tokens.count(words)


def test_a_chat_that_goes_on_costs_its_past_again() -> None:
    first, said, next_one = (
        Message("user", "one"),
        Message("assistant", "two"),
        Message("user", "three"),
    )
    resent = counted(Model("four"), messages=(first, said, next_one))
    went_on = counted(Model("four"), past=(first, said), messages=(next_one,))
    assert went_on.prompt_tokens == resent.prompt_tokens


def test_calls_count_with_their_names() -> None:
    call = '<tool_call>{"name": "get_time", "arguments": {"a": 1}}</tool_call>'
    found = whole(Model(call), tooled(**ASKED)).usage
    assert found is not None
    assert found.completion_tokens == tokens.count('get_time{"a": 1}')


def test_it_comes_once_and_just_before_the_end() -> None:
    model = Model(["one", ToolCallDelta(0, "c", "f", "{}")])
    kinds = [type(event) for event in through(model, question(**ASKED))]
    assert kinds.count(Usage) == 1
    assert kinds.index(Usage) == len(kinds) - 2


def test_an_empty_answer_counts_nothing() -> None:
    assert counted(Model([])).completion_tokens == 0


def test_while_a_long_text_is_counted_others_get_their_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns: list[float] = []
    monkeypatch.setattr(time, "sleep", turns.append)
    text = "A few words, 几个字。 " * 20_000
    found = counted(Model("ok"), messages=(Message("user", text),))
    assert found.prompt_tokens == tokens.count(text) + 4
    assert turns == [0] * (len(text) // 16_384)
    turns.clear()
    counted(Model("ok"), messages=(Message("user", "short words"),) * 3_000)
    assert turns == [0, 0]
