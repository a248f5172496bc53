"""What the model is told of tools, in the very form that the parser reads."""

import json

import pytest

from kimi_proxy.chat import Tool, ToolChoice
from kimi_proxy.shaping.tool_parser import Broken, Called, ToolParser
from kimi_proxy.shaping.tool_prompt import (
    call_text,
    correction,
    instructions,
    reminder,
    result_text,
)

CITY = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (
    Tool("get_weather", "The weather of a city: 天气.", CITY, False),
    Tool("search-web", "", {}, False),
)
AUTO, NONE, REQUIRED = ToolChoice(), ToolChoice("none"), ToolChoice("required")
NAMED = ToolChoice("required", "get_weather")


def test_every_tool_is_told_with_its_description_and_its_schema() -> None:
    text = instructions(TOOLS, AUTO, True)
    assert "## get_weather\nThe weather of a city: 天气.\n" in text
    assert json.dumps(CITY, separators=(",", ":")) in text
    assert '## search-web\nJSON Schema of its arguments: {"type":"object"' in text


@pytest.mark.parametrize(
    ("choice", "rule"),
    [
        (AUTO, "only if it helps"),
        (REQUIRED, "must call at least one"),
        (NAMED, "must call the tool get_weather"),
        (NONE, "Do not call a tool"),
    ],
)
def test_the_choice_is_the_last_word(choice: ToolChoice, rule: str) -> None:
    assert rule in instructions(TOOLS, choice, True).splitlines()[-1]
    assert rule in reminder(TOOLS, choice, True)


def test_a_named_tool_is_the_only_one_told() -> None:
    assert "search-web" not in instructions(TOOLS, NAMED, True)
    assert "search-web" not in reminder(TOOLS, NAMED, True)


def test_one_call_is_the_most_where_several_are_not_wanted() -> None:
    for told in (instructions, reminder):
        assert "at most one call" in told(TOOLS, AUTO, False)
        assert "at most one call" not in told(TOOLS, AUTO, True)


def test_without_a_choice_the_form_is_not_taught() -> None:
    assert "</tool_call>" not in instructions(TOOLS, NONE, True)


def test_the_example_calls_nothing_should_the_model_repeat_it() -> None:
    parser = ToolParser([tool.name for tool in TOOLS])
    found = parser.feed(instructions(TOOLS, AUTO, True)) + parser.finish()
    assert not [piece for piece in found if isinstance(piece, Called)]


@pytest.mark.parametrize(
    "arguments", ["{}", '{"city": "</tool_call> 北京 \\" }"}', '{\n  "n": [1, {}]\n}']
)
def test_a_call_in_the_history_is_one_the_parser_reads(arguments: str) -> None:
    text = call_text("get_weather", arguments)
    parser = ToolParser(["get_weather"])
    [call] = parser.feed(text) + parser.finish()
    assert isinstance(call, Called)
    assert json.loads(call.arguments) == json.loads(arguments)
    assert text.count("</tool_call>") == 1


def test_arguments_that_are_no_json_do_not_spoil_the_call() -> None:
    assert (
        call_text("a", "")
        == '<tool_call>\n{"name": "a", "arguments": {}}\n</tool_call>'
    )
    assert '"arguments": "{oops\\n"}' in call_text("a", "{oops\n")


@pytest.mark.parametrize(
    "tag",
    ["</tool_result>", "< / TOOL_RESULT>", "<tool_call>", "<|tool_call_begin|>",
     '<tool_result name="b">', "<function_calls>", '<invoke name="b">'],
)  # fmt: skip
def test_no_result_ends_itself_or_calls_anything(tag: str) -> None:
    text = result_text("a", "call_1", f"5 < 6 <b>\n{tag}\nmore")
    assert text.startswith('<tool_result name="a" id="call_1">\n5 < 6 <b>\n&lt;')
    assert text.endswith("\nmore\n</tool_result>")
    assert tag not in text.removesuffix("</tool_result>")[len("<tool_result ") :]


def test_no_name_or_id_ends_the_tag_of_a_result() -> None:
    text = result_text('a">\n<b', '1" x="', "5")
    assert text.splitlines()[0] == (
        '<tool_result name="a&quot;> &lt;b" id="1&quot; x=&quot;">'
    )


def test_a_correction_quotes_the_call_and_says_what_is_wrong() -> None:
    parser = ToolParser(["get_weather"])
    [piece] = parser.feed(
        '<tool_call>\n{"name": "other", "arguments": {}}\n</tool_call>'
    )
    assert isinstance(piece, Broken)
    text = correction(piece.text, piece.why, TOOLS)
    assert piece.text in text
    assert "there is no tool named 'other'" in text
    assert text.endswith("The tools are: get_weather, search-web.")


def test_a_correction_of_a_long_call_stays_short() -> None:
    text = correction("<tool_call>" + "x" * 99_999 + "</answer>END", "cut off", TOOLS)
    assert len(text) < 3000
    assert "END" in text
    assert text.count("</answer>") == 1
