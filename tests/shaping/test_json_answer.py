"""JSON mode over a model that only writes text: valid JSON or a clear error."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.chat import JsonFormat, Message, Thread, ToolChoice
from kimi_proxy.errors import InvalidAnswer, InvalidRequest
from kimi_proxy.events import (
    ChatResult,
    Citation,
    Finished,
    ReasoningDelta,
    TextDelta,
    collect,
)
from kimi_proxy.shaping import json_answer, schema_check
from kimi_proxy.shaping.pipeline import emulated
from tests.shaping.model import CITY, Model, calls_of, question, through, tooled, whole

OBJECT = JsonFormat()
NAMED = JsonFormat(CITY, "city")
LIST = JsonFormat({"type": "array", "items": {"type": "integer"}})


def answer(model: Model, wanted: JsonFormat = OBJECT, **fields: Any) -> ChatResult:
    return whole(model, question(json_format=wanted, **fields))


TRICKY = '{"a": "}{ ```\\n\\"] <b> 北京", "b": [1, {"c": {}}], "d": null}'
WAYS = {
    "bare": TRICKY,
    "spaced": f"\n  {TRICKY}\n",
    "fenced": f"```json\n{TRICKY}\n```",
    "fenced, bare": f"```\n{TRICKY}\n```\n",
    "words before": f"Here it is, [as asked]:\n\n{TRICKY}",
    "words after": f"{TRICKY}\n\nI hope {{this}} helps [1].",
    "words and fence": f"Sure!\n```json\n{TRICKY}\n```\nThat's it.",
    "an array first": f"From [1] and [2, 3]: {TRICKY}",
}


@pytest.mark.parametrize("text", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("by_character", [False, True])
def test_the_json_comes_alone(text: str, by_character: bool) -> None:
    result = answer(Model(list(text) if by_character else [text]))
    assert (result.text, result.reason) == (TRICKY, "stop")


def test_nothing_is_said_before_it_is_known_to_be_right() -> None:
    model = Model(["Su", "re: ", '{"a"', ": 1}"])
    events = through(model, question(json_format=OBJECT))
    assert events == [TextDelta('{"a": 1}'), Finished("stop")]


NO_OBJECT = {
    "words": "I cannot.",
    "nothing": "",
    "an array": "[1, 2]",
    "a string": '"{}"',
    "a number": "7",
    "never ends": '{"items": [{"a": 1}, {"a": 2}',
    "never ends inside a string": '{"code": "f = {}; [1]',
    "broken behind an object": '{"a": {"b": 1}, oops}',
    "broken by an escape": '{"a": "\\x", "b": {}}',
    "single quotes": "{'a': {}}",
    "NaN": '{"a": NaN}',
    "NaN with words": 'So: {"a": NaN, "b": {}}',
    "Infinity": '[{"a": -Infinity}]',
    "too deep": '{"a":' * 99_999 + "1" + "}" * 99_999,
    "deep and open": "[" * 99_999,
    "a number without end": f'{{"a": {"9" * 9_999}}}',
}


@pytest.mark.parametrize("text", NO_OBJECT.values(), ids=NO_OBJECT)
def test_what_is_no_object_is_asked_for_again_once(text: str) -> None:
    model = Model(text, '{"a": 1}', chat="chat-1")
    assert answer(model).text == '{"a": 1}'
    assert model.asked[1].follows == Thread("chat-1", "head-1")
    model = Model(text, text, '{"a": 1}')
    with pytest.raises(InvalidAnswer, match="no valid JSON"):
        answer(model)
    assert len(model.asked) == 2


def test_line_ends_in_strings_are_written_as_json_has_them() -> None:
    text = answer(Model('{"code": "f() {\n\treturn {};\n}"}')).text
    assert json.loads(text) == {"code": "f() {\n\treturn {};\n}"}


def test_a_schema_is_told_and_held_to() -> None:
    model = Model('{"town": "Oslo"}', '{"city": "Oslo"}')
    assert answer(model, NAMED).text == '{"city": "Oslo"}'
    assert '"required":["city"]' in model.prompts[0]
    assert "'city' is a required property" in model.prompts[1]
    with pytest.raises(InvalidAnswer, match="'city' is a required property"):
        answer(Model("{}", "{}"), NAMED)


def test_of_several_values_the_first_that_fits_is_taken() -> None:
    text = 'Not {"town": 1} but {"city": "Oslo"} or {"city": "Rome"}.'
    assert answer(Model(text), NAMED).text == '{"city": "Oslo"}'
    assert answer(Model("Of [1] all: [2, 3]"), LIST).text == "[1]"
    assert answer(Model("7"), JsonFormat({"type": "integer"})).text == "7"


def test_however_many_values_there_are_the_schema_is_read_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read: list[object] = []
    known = schema_check.checker

    def checker(schema: Any) -> Any:
        read.append(schema)
        return known(schema)

    monkeypatch.setattr(schema_check, "checker", checker)
    text = "As [1] and [2] say: " * 50 + '{"a": 1}'
    assert answer(Model(text), JsonFormat({"type": "object"})).text == '{"a": 1}'
    assert len(read) == 1


def test_an_answer_of_broken_values_only_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried: list[int] = []

    class Decoder(json.JSONDecoder):
        def raw_decode(self, s: str, idx: int = 0) -> tuple[Any, int]:
            tried.append(idx)
            return super().raw_decode(s, idx)

    monkeypatch.setattr(json_answer, "_DECODER", Decoder())
    with pytest.raises(InvalidAnswer):
        answer(Model(*['{"a":1,}' * 30_000] * 2))
    assert len(tried) < 1_000


def test_where_no_chat_is_kept_all_is_told_again() -> None:
    model = Model("No.", '{"a": 1}')
    answer(model)
    first, second = model.asked
    asked, said, told = second.messages
    assert asked == Message("user", "How is it?") == first.messages[-1]
    assert said == Message("assistant", "No.")
    assert "not valid" in told.text


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_an_answer_that_was_broken_off_is_told_as_such(reason: Any) -> None:
    result = answer(Model(['{"a": ', Finished(reason)]))
    assert (result.text, result.reason) == ('{"a": ', reason)


def test_max_tokens_cuts_it_and_says_so() -> None:
    model = Model('{"a": "one two three four five six"}')
    result = answer(model, max_tokens=3)
    assert result.reason == "length"
    assert '{"a": "one two'.startswith(result.text)


def test_a_stop_sequence_never_leaves_half_of_it() -> None:
    whole_one, cut = '{"a": "x END y"}', '{"a": 1}\nEND\n{"b": 2}'
    assert answer(Model(cut), stop=("END",)).text == '{"a": 1}'
    with pytest.raises(InvalidAnswer):
        answer(Model(whole_one, whole_one), stop=("END",))


def test_links_are_put_beside_it_and_not_into_it() -> None:
    for citations in ("inline", "footnotes", "annotations"):
        model = Model(['{"a": 1', Citation("http://a", "A", placed=True), "}"])
        result = answer(model, citations=citations)
        assert result.text == '{"a": 1}'
        assert [found.url for found in result.citations] == ["http://a"]


def test_thinking_passes() -> None:
    result = answer(Model([ReasoningDelta("hm"), "{}"]))
    assert (result.reasoning, result.text) == ("hm", "{}")


CALL = '<tool_call>{"name": "get_weather", "arguments": {"city": "Oslo"}}</tool_call>'


class TestWithTools:
    """Tools and JSON mode in one request."""

    def test_calls_come_without_the_words_beside_them(self) -> None:
        request = tooled(json_format=NAMED)
        result = whole(Model(f"I look.\n{CALL}"), request)
        assert calls_of(result) == [("get_weather", '{"city": "Oslo"}')]
        assert (result.text, result.reason) == ("", "tool_calls")

    def test_an_answer_without_calls_is_held_to_the_schema(self) -> None:
        model = Model("It is Oslo.", '{"city": "Oslo"}')
        assert whole(model, tooled(json_format=NAMED)).text == '{"city": "Oslo"}'

    def test_a_correction_may_end_in_a_call(self) -> None:
        model = Model("Let me see first.", CALL, chat="chat-1")
        result = whole(model, tooled(json_format=NAMED))
        assert (len(result.tool_calls), result.reason) == (1, "tool_calls")
        assert "get_weather" in model.prompts[1]

    def test_an_answer_that_looks_like_a_call_is_none_without_a_tool_of_it(
        self,
    ) -> None:
        text = '{"name": "other", "arguments": {}}'
        choice = ToolChoice("auto")
        request = tooled(json_format=OBJECT, tool_choice=choice)
        assert whole(Model(f"```json\n{text}\n```"), request).text == text


WRONG_SCHEMAS: dict[str, Any] = {
    "an unknown type": {"type": "nothing"},
    "a reference to nowhere": {"$ref": "#/$defs/missing"},
    "a reference to the network": {"$ref": "http://127.0.0.1:9/schema"},
    "itself": {"$ref": "#"},
    "a reference within": {"properties": {"a": {"$ref": "#/$defs/none"}}},
    "a pattern that is none": {"pattern": "("},
    "a dialect that is none": {"$schema": 5},
}


@pytest.mark.parametrize("schema", WRONG_SCHEMAS.values(), ids=WRONG_SCHEMAS)
def test_a_wrong_schema_is_refused_unless_the_upstream_reads_it(schema: Any) -> None:
    request = question(json_format=JsonFormat(schema))
    with pytest.raises(InvalidRequest) as caught:
        emulated(request, frozenset())
    assert caught.value.param == "response_format.json_schema.schema"
    assert emulated(request, frozenset({"response_format"})) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=12,
)
NOISE = st.text(st.sampled_from('{}[]"\\:, \n`a1'), max_size=12)


@given(value=st.dictionaries(st.text(max_size=4), JSON, max_size=3), noise=NOISE)
def test_whatever_stands_around_it_a_success_is_an_object(
    value: Any, noise: str
) -> None:
    text = json.dumps(value, ensure_ascii=False)
    for muddle in (noise, text + noise, noise + text, text[:-1] + noise, noise * 2):
        try:
            result = answer(Model(muddle, muddle))
        except InvalidAnswer:
            continue
        assert isinstance(orjson.loads(result.text), dict)
    assert answer(Model(f"Here:\n{text}\n.")).text == text


def test_a_stream_and_a_whole_answer_say_the_same() -> None:
    for stream in (True, False):
        request = question(json_format=OBJECT, stream=stream)
        assert collect(through(Model("So: {}"), request)).text == "{}"
