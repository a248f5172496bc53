"""Tool calling over a model that only writes text: choices, corrections, order."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from kimi_proxy.chat import Message, Thread, Tool, ToolCall, ToolChoice
from kimi_proxy.errors import InvalidAnswer
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    collect,
)
from kimi_proxy.providers.prompt import merge
from tests.shaping.model import Model, calls_of, through, tooled, way, whole


def call(name: str, arguments: str) -> str:
    return f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'


OSLO, ROME = '{"city": "Oslo"}', '{"city": "Rome"}'
IN_OSLO, IN_ROME = call("get_weather", OSLO), call("get_weather", ROME)
NOW = call("get_time", "{}")
UNKNOWN = call("get_tide", "{}")
AGAINST = call("get_weather", '{"town": "Oslo"}')
TORN = '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"\n'
WRONG = {"unknown": UNKNOWN, "against the schema": AGAINST, "torn": TORN}


def test_a_call_is_told_in_the_order_that_clients_demand() -> None:
    model = Model(["Let me see.\n", ReasoningDelta("hm"), IN_OSLO, f"\n{NOW}"])
    said, thought, *rest, end = through(model, tooled())
    assert said == TextDelta("Let me see.")
    assert thought == ReasoningDelta("hm")
    assert end == Finished("tool_calls")
    deltas = [event for event in rest if isinstance(event, ToolCallDelta)]
    assert deltas == rest
    assert [delta.index for delta in deltas] == [0, 0, 1, 1]
    first, arguments, second, none = deltas
    assert (first.name, first.arguments) == ("get_weather", "")
    assert arguments == ToolCallDelta(0, None, None, OSLO)
    assert (second.name, none.arguments) == ("get_time", "{}")
    assert first.id and second.id and first.id != second.id


def test_text_before_a_call_is_told_before_the_call_has_come() -> None:
    model = Model(["Let me see.", "\n", IN_OSLO])
    request = tooled()
    events = way(model, request)(request)
    assert next(events) == TextDelta("Let me see.")
    assert model.pulled == 1


def test_without_a_call_it_is_a_plain_answer() -> None:
    model = Model(["Cold", ".\n"])
    result = whole(model, tooled())
    assert (result.text, result.reason) == ("Cold.\n", "stop")
    assert result.tool_calls == ()


def test_the_model_reads_what_the_tools_are_and_no_upstream_sees_them() -> None:
    model = Model("Cold.")
    whole(model, tooled("Where?"))
    (asked,) = model.asked
    assert asked.tools == ()
    words, last = asked.messages
    assert words.role == "system" and last == Message("user", "Where?")
    assert "get_weather" in words.text and '"required":["city"]' in words.text


def test_no_id_is_ever_given_twice() -> None:
    results = [whole(Model(f"{IN_OSLO}\n{IN_ROME}"), tooled()) for _ in range(5)]
    ids = [call.id for result in results for call in result.tool_calls]
    assert len(set(ids)) == 10


def history(*results: str) -> tuple[Message, ...]:
    calls = tuple(ToolCall(f"c{n}", "get_weather", OSLO) for n in range(len(results)))
    told = [
        Message("tool", text, tool_call_id=f"c{n}") for n, text in enumerate(results)
    ]
    asked = Message("user", "How is it?")
    return (asked, Message("assistant", "One moment.", tool_calls=calls), *told)


def test_results_follow_the_directions_as_one_message() -> None:
    model = Model("Cold.")
    whole(model, tooled(messages=history("5 degrees", "6 degrees")))
    _, said, words, results = model.asked[0].messages
    assert said.text.startswith("One moment.\n<tool_call>")
    assert words.role == "system"
    assert results.role == "tool"
    assert "user's last message" not in merge(model.asked[0].messages)
    assert results.text.count("<tool_result") == 2
    assert results.text.index("5 degrees") < results.text.index("6 degrees")


@pytest.mark.parametrize("follows", [None, Thread("c", "h")])
def test_results_stand_in_the_order_of_the_calls(follows: Thread | None) -> None:
    asked, said, first, second = history("5 degrees", "6 degrees")
    stray = Message("tool", "stray", tool_call_id="unknown")
    past, new = (asked, said), (stray, second, first)
    fields: dict[str, object] = {"messages": (*past, *new)}
    if follows is not None:
        fields = {"messages": new, "past": past, "follows": follows}
    model = Model("Cold.")
    whole(model, tooled(**fields))
    told = model.asked[0].messages[-1].text
    places = [told.index(text) for text in ("5 degrees", "6 degrees", "stray")]
    assert places == sorted(places)


def test_an_id_that_is_used_again_names_the_latest_call() -> None:
    steps = [("c1", "get_time"), ("c1", "get_weather")]
    turns = [
        (
            Message("assistant", "", tool_calls=(ToolCall(id, name, "{}"),)),
            Message("tool", f"of {name}", tool_call_id=id),
        )
        for id, name in steps
    ]
    model = Model("Cold.")
    whole(model, tooled(messages=(Message("user", "q"), *turns[0], *turns[1])))
    for _, name in steps:
        assert f'name="{name}" id="c1">\nof {name}' in model.prompts[0]


def test_a_result_in_a_chat_that_goes_on_has_its_tools_name() -> None:
    asked, said, told = history("5 degrees")
    request = tooled(messages=(told,), past=(asked, said), follows=Thread("c", "h"))
    model = Model("Cold.")
    whole(model, request)
    words, result = model.asked[0].messages
    assert 'name="get_weather"' in result.text
    assert "as described above" in words.text and "JSON Schema" not in words.text
    unknowing = replace(request, follows=Thread("c", "h", knows_tools=False))
    model = Model("Cold.")
    whole(model, unknowing)
    assert "JSON Schema" in model.prompts[0]


class TestChoice:
    """What `tool_choice` and `parallel_tool_calls` say is done."""

    def test_none_gives_words_only(self) -> None:
        request = tooled(tool_choice=ToolChoice("none"))
        model = Model("Cold.")
        assert whole(model, request).text == "Cold."
        assert model.prompts == ["How is it?"]

    def test_none_after_calls_tells_the_model_to_make_no_more(self) -> None:
        model = Model("Cold.")
        request = tooled(messages=history("5"), tool_choice=ToolChoice("none"))
        whole(model, request)
        assert "Do not call a tool now" in model.prompts[0]

    def test_none_a_call_that_comes_all_the_same_is_asked_to_be_words(self) -> None:
        model = Model(f"I look.\n{IN_OSLO}", "It is cold.", chat="chat-1")
        result = whole(model, tooled(tool_choice=ToolChoice("none")))
        assert result.text == "I look.\n\nIt is cold."
        assert (result.tool_calls, result.reason) == ((), "stop")
        assert "Do not call a tool now" in model.prompts[1]
        assert "<tool_call>\n" not in model.prompts[1]

    def test_none_a_model_that_insists_is_an_error(self) -> None:
        model = Model(IN_OSLO, IN_OSLO)
        with pytest.raises(InvalidAnswer, match="no tool may be called"):
            whole(model, tooled(tool_choice=ToolChoice("none")))

    def test_required_asks_again_for_a_call(self) -> None:
        model = Model("Cold, I guess.", IN_OSLO)
        result = whole(model, tooled(tool_choice=ToolChoice("required")))
        assert calls_of(result) == [("get_weather", OSLO)]
        assert result.reason == "tool_calls"
        assert "must call at least one" in model.prompts[0]
        assert "one has to be called now" in model.prompts[1]

    def test_required_without_any_call_is_an_error(self) -> None:
        model = Model("Cold, I guess.", "No.")
        with pytest.raises(InvalidAnswer, match="has to be called"):
            whole(model, tooled(tool_choice=ToolChoice("required")))

    def test_a_named_one_is_the_only_one(self) -> None:
        model = Model(NOW, IN_OSLO)
        choice = ToolChoice("required", "get_weather")
        result = whole(model, tooled(tool_choice=choice))
        assert calls_of(result) == [("get_weather", OSLO)]
        assert "only get_weather may be called" in model.prompts[1]
        assert "get_time" not in model.prompts[0]

    def test_in_a_kept_chat_all_tools_are_told_for_later_turns(self) -> None:
        for choice in (ToolChoice("required", "get_weather"), ToolChoice("none")):
            model = Model(IN_OSLO if choice.name else "Cold.", chat="chat-1")
            whole(model, tooled(tool_choice=choice, keeps=True))
            assert "## get_time" in model.prompts[0]
            assert "## get_weather" in model.prompts[0]

    @pytest.mark.parametrize("wrong", ["", f"{UNKNOWN}\n"])
    def test_one_at_a_time(self, wrong: str) -> None:
        model = Model(f"{wrong}{IN_OSLO}\n{NOW}")
        result = whole(model, tooled(parallel_tool_calls=False))
        assert calls_of(result) == [("get_weather", OSLO)]
        assert "at most one call" in model.prompts[0]


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
class TestCorrection:
    """A call that is wrong is asked for once more."""

    def test_it_is_put_right_in_the_same_chat(self, wrong: str) -> None:
        model = Model(f"I look.\n{wrong}", f"Sorry!\n{IN_OSLO}", chat="chat-1")
        result = whole(model, tooled())
        assert calls_of(result) == [("get_weather", OSLO)]
        assert (result.text, result.reason) == ("I look.", "tool_calls")
        again = model.asked[1]
        assert again.follows == Thread("chat-1", "head-1")
        assert len(again.messages) == 1

    def test_where_no_chat_is_kept_all_is_told_again(self, wrong: str) -> None:
        model = Model(wrong, IN_OSLO)
        assert calls_of(whole(model, tooled())) == [("get_weather", OSLO)]
        first, second = model.asked
        assert second.messages[: len(first.messages)] == first.messages
        said, told = second.messages[len(first.messages) :]
        assert said == Message("assistant", wrong)
        assert told.role == "system" and "could not be carried out" in told.text

    def test_a_second_mistake_is_an_error(self, wrong: str) -> None:
        model = Model(f"I look.\n{wrong}", wrong, IN_OSLO)
        request = tooled()
        events = way(model, request)(request)
        assert next(events) == TextDelta("I look.")
        with pytest.raises(InvalidAnswer):
            list(events)
        assert len(model.asked) == 2

    def test_right_calls_beside_it_are_made_once(self, wrong: str) -> None:
        # A torn call takes what is behind it along, so the right one comes first.
        model = Model(f"{NOW}\n{wrong}", f"{NOW}\n{IN_OSLO}")
        assert calls_of(whole(model, tooled())) == [
            ("get_time", "{}"),
            ("get_weather", OSLO),
        ]

    def test_words_in_its_place_are_the_answer(self, wrong: str) -> None:
        model = Model(wrong, "There is no need: it is cold.")
        result = whole(model, tooled())
        assert (result.text, result.reason) == ("There is no need: it is cold.", "stop")

    def test_nothing_in_its_place_is_an_error(self, wrong: str) -> None:
        with pytest.raises(InvalidAnswer):
            whole(Model(f"I look.\n{wrong}", " \n"), tooled())

    def test_an_answer_that_is_cut_off_says_so(self, wrong: str) -> None:
        model = Model(wrong, [TORN, Finished("length")])
        assert whole(model, tooled()).reason == "length"
        model = Model([wrong, Finished("content_filter")])
        assert whole(model, tooled()).reason == "content_filter"


def test_calls_behind_a_wrong_one_are_not_lost() -> None:
    model = Model(f"{UNKNOWN}\n{IN_OSLO}\n{AGAINST}", IN_ROME)
    result = whole(model, tooled())
    assert calls_of(result) == [("get_weather", OSLO), ("get_weather", ROME)]
    assert "get_tide" in model.prompts[1] and "'city' is a required" in model.prompts[1]


def test_every_answer_is_closed() -> None:
    model = Model(UNKNOWN, ["text", IN_OSLO])
    whole(model, tooled())
    assert model.closed == 2
    model, request = Model(["a", "b"]), tooled()
    events = way(model, request)(request)
    next(events)
    events.close()  # type: ignore[attr-defined]  # a generator's
    assert model.closed == 1


ODD_SCHEMAS = {
    "no schema at all": {},
    "an unknown type": {"type": "object", "properties": {"city": {"type": "any"}}},
    "required in the old way": {"properties": {"city": {"required": True}}},
    "a reference to nowhere": {"properties": {"city": {"$ref": "#/$defs/none"}}},
    "a reference to the network": {"$ref": "http://127.0.0.1:9/schema"},
    "a pattern that is none": {"properties": {"city": {"pattern": "("}}},
    "itself": {"$ref": "#"},
}


@pytest.mark.parametrize("schema", ODD_SCHEMAS.values(), ids=ODD_SCHEMAS)
def test_a_schema_that_nothing_can_be_checked_by_breaks_nothing(
    schema: dict[str, object],
) -> None:
    tool = Tool("get_weather", "", schema)
    assert calls_of(whole(Model(IN_OSLO), tooled(tools=(tool,)))) == [
        ("get_weather", OSLO)
    ]


def test_half_a_surrogate_in_arguments_is_passed_on_as_it_is_written() -> None:
    odd = '{"city": "\\ud800"}'
    assert calls_of(whole(Model(call("get_weather", odd)), tooled())) == [
        ("get_weather", odd)
    ]


def pieces(text: str, cuts: list[int]) -> list[Event | str]:
    spots = [0, *sorted(cuts), len(text)]
    return [text[a:b] for a, b in pairwise(spots) if a != b]


def test_arguments_stay_valid_json_when_written_with_line_ends() -> None:
    text = (
        '<tool_call>{"name": "get_weather", "arguments": {"city": "a\nb"}}</tool_call>'
    )
    ((_, arguments),) = calls_of(whole(Model(pieces(text, [5, 50])), tooled()))
    assert json.loads(arguments) == {"city": "a\nb"}


def test_calls_and_text_fold_to_the_same_streamed_or_whole() -> None:
    text = f"I look.\n{IN_OSLO}\n{NOW}"
    one = collect(through(Model([text]), tooled()))
    many = collect(through(Model(list(text)), tooled(stream=False)))
    assert (one.text, calls_of(one), one.reason) == (
        many.text,
        calls_of(many),
        many.reason,
    )
