"""Every text form of a call is found in every cut, and nothing of it is shown."""

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.shaping.tool_parser import Called, Said, ToolParser
from tests.shaping.tool_answers import (
    AS_STRING,
    CALL,
    FORMS,
    INVOKE,
    MARKERS,
    OSLO,
    SEARCH,
    SEARCHED,
    WEATHER,
    read,
    texts,
)

EVERY_FORM = pytest.mark.parametrize("form", FORMS)
BEFORE = ("", "\n \n", "Let me see.\n", "好的，我来查一下。\n\n", "A [1] <b> `x`:\r\n")


@EVERY_FORM
@pytest.mark.parametrize("before", BEFORE)
def test_a_form_is_read_whole_and_byte_by_byte(form: str, before: str) -> None:
    text, calls = FORMS[form]
    expected = [Said(before.rstrip()), *calls] if before.strip() else calls
    assert read([before + text]) == expected
    assert read(before + text) == expected


@EVERY_FORM
def test_what_is_said_after_a_call_is_dropped(form: str) -> None:
    text, calls = FORMS[form]
    if "closed" not in form or "wrongly" in form:
        assert read(text + "\n\nNow I wait. See <b> `<x>`.\n") == calls


SPLITS = 6


# Ten thousand cuts go through the whole pipeline, in test_tool_splits.
@EVERY_FORM
@settings(max_examples=2_000 // len(FORMS) // SPLITS + 1, deadline=None)
@given(before=st.sampled_from(BEFORE), seed=st.integers(0, 2**32))
def test_a_form_is_read_in_any_cut(form: str, before: str, seed: int) -> None:
    text, calls = FORMS[form]
    text, chance = before + text, Random(seed)
    for _ in range(SPLITS):
        spots = chance.choices(range(len(text)), k=chance.randrange(12))
        cuts = [0, *sorted(spots), len(text)]
        found = read(text[begin:end] for begin, end in pairwise(cuts))
        assert [piece for piece in found if isinstance(piece, Called)] == calls
        assert texts(found) == before.rstrip()
        assert len(found) - len(calls) == bool(texts(found))


@EVERY_FORM
def test_a_form_cut_off_anywhere_shows_no_marker(form: str) -> None:
    text = FORMS[form][0]
    for end in range(len(text)):
        said = texts(read([text[:end]]))
        # A handful of characters at the very end may be anything.
        shown = [marker for marker in MARKERS if marker in said and len(said) > 4]
        assert not shown or said.startswith(("```", "~~~")), said


def test_directly_behind_a_sentence_it_is_a_call_as_well() -> None:
    assert read(f"我来查。<tool_call>{CALL}</tool_call>") == [Said("我来查。"), WEATHER]
    text, calls = FORMS["Kimi"]
    assert read(f"Look.{text}") == [Said("Look."), *calls]


def test_calls_with_words_between_them_are_all_found() -> None:
    text = f"<tool_call>{CALL}</tool_call>\nAnd:\n<tool_call>{SEARCH}</tool_call>"
    assert read(text) == [WEATHER, SEARCHED]


def test_calls_behind_a_result_that_the_model_made_up_are_dropped() -> None:
    one = f"<tool_call>{CALL}</tool_call>\n"
    assert read(f'{one}<tool_result name="a">\n5\n</tool_result>\n{one}') == [WEATHER]


def test_text_is_passed_on_at_once_and_only_a_possible_marker_is_kept() -> None:
    parser = ToolParser(["search-web"])
    assert parser.feed("Well") == [Said("Well")]
    assert parser.feed(", a < b ") == [Said(", a < b")]
    assert parser.feed("<tool") == []
    assert parser.feed("box>") == [Said(" <toolbox>")]
    assert parser.feed("\n```json\n") == []
    assert parser.feed('{"id') == []
    assert parser.feed('entity": 1') == [Said('\n```json\n{"identity": 1')]


def test_a_call_is_told_as_soon_as_it_is_closed() -> None:
    parser = ToolParser(["search-web"])
    assert parser.feed(f"<tool_call>\n{SEARCH}\n</tool_call>\n<") == [SEARCHED]
    assert parser.feed(f"tool_call>\n{SEARCH}\n</tool_call>\n.") == [SEARCHED]
    assert parser.finish() == []


def test_the_schema_tells_a_string_from_a_number() -> None:
    schema = {"properties": {"city": {"type": "string"}, "n": {"type": "array"}}}
    parser = ToolParser(["get_weather"], {"get_weather": schema})
    [call] = parser.feed(INVOKE.replace("Oslo <b>", "07") + "\n\n.")
    assert call == Called("get_weather", '{"city": "07", "n": [1, 2]}')


def test_arguments_are_written_anew_only_where_they_must() -> None:
    line_end = '{"city": "a\nb"}'
    call = '<tool_call>{"name":"get_weather","arguments":%s}</tool_call>'
    assert read(call % line_end) == [Called("get_weather", '{"city": "a\\nb"}')]
    odd = '{ "city" :"\\u00e9" }'
    assert read(call % odd) == [Called("get_weather", odd)]
    assert read(f"<tool_call>{AS_STRING}</tool_call>") == [OSLO]


@pytest.mark.parametrize(
    "text",
    [
        "Some words, and then <b> or `x`.\n" * 5_000,
        '<tool_call>{"name": "get_weather", "arguments": {"a": "' + "x\\n" * 60_000,
        '```json\n{"name": "get_weather", "arguments": {"a": "' + "y " * 100_000,
        '<tool_call>{"name":"get_weather","arguments":"</tool_call>' * 4_000,
        "<function_calls>" * 8_000,
        "<tool_call>" + " " * 200_000,
        "```\n" * 30_000,
    ],
)
def test_long_texts_that_come_by_single_characters_are_read_to_the_end(
    text: str,
) -> None:
    """What grew with the square would meet the time-out."""
    parser = ToolParser(["get_weather"])
    for char in text:
        parser.feed(char)
    parser.finish()
