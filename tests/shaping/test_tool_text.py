"""Ordinary text about tool calls stays text; calls that went wrong are told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.shaping.tool_parser import Broken, Said
from tests.shaping.tool_answers import (
    CALL,
    FORMS,
    NAMES,
    SEARCH,
    SEARCHED,
    WEATHER,
    broken,
    read,
)

UNKNOWN = CALL.replace("get_weather", "another")
ORDINARY = (
    " \n leading,  inner \t and trailing space \r\n\n ",
    "Wrap it in <tool_call> tags, and close with </tool_call>.",
    "<tool_call> is the tag that opens a call, <invoke name=...> another.",
    "[function_calls] and [call:name] are in use; see [call:get_weather] for one.",
    "Kimi writes <|tool_calls_section_begin|> and <|tool_call_begin|> around them.",
    f"The form is `<tool_call>{CALL}</tool_call>`, on one line.",
    f"It is `like <tool_call>{CALL}</tool_call> here`, they say.",
    f"Two ticks: ``<tool_call>{CALL}</tool_call> ` `` end.",
    f'It must say "<tool_call>{CALL}</tool_call>".',
    f"写成“<tool_call>{CALL}</tool_call>”即可。",
    f"> <tool_call>{CALL}</tool_call>\n> as I said",
    f"```xml\n<tool_call>\n{CALL}\n</tool_call>\n```\nThat was an example.",
    f"~~~\n<tool_call>\n{CALL}\n</tool_call>\n~~~\n",
    f"````markdown\n```json\n{CALL}\n```\n````\n",
    f"See: ```json\n{CALL}\n```\nand then\n\n```python\n# <tool_call>{CALL}\n```",
    f"```json\n{UNKNOWN}\n```",
    f'```json\n{{"tool_calls": [{UNKNOWN}]}}\n```',
    f"```json\n{CALL}\n// that was it\n```",
    f"```json\n{CALL}\n{UNKNOWN}\n```",
    '```json\n{"name": "get_weather", "description": "Now.", "parameters": {}}\n```',
    '```json\n{"name": "get_weather", "version": 2}\n```',
    '```json\n{"id": 7, "type": "list"}\n```\n```\n[{"name": 1}]\n```',
    '```json\n{"tool_calls": [...]}\n```',
    '```json\n{"name": "get_weather"',
    f"It went <tool_call>{UNKNOWN}</tool_call> in the log.",
    f"{CALL}",
    "if a[call] < b<c> and x<|y: d[function] = '<'",
    "a ` stray tick, ``` three of them ``` and <in",
    "<name>get_weather</name><arguments>{}</arguments>",
    "<tool_result name='x'>kept</tool_result>",
    "<", "[", "```", "`", "~~~json", "<to", "",
)  # fmt: skip


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_comes_out_unchanged(text: str) -> None:
    expected = [Said(text)] if text else []
    assert read([text]) == expected
    assert read(text) == expected


@given(st.data())
def test_markers_in_any_muddle_never_make_a_call_of_nothing(
    data: st.DataObject,
) -> None:
    """Without JSON nothing is called, and without any tool nothing at all."""
    words = [" ", "\n", "`", "```", "json", ">", '"', "name", "a", ":", "</", "<", "["]
    words += ["<tool_call>", "</tool_call>", "[call:", "]", "<|tool_call_begin|>"]
    text = "".join(data.draw(st.lists(st.sampled_from(words), max_size=30)))
    whole = read([text])
    assert whole == read(text)
    assert all(isinstance(piece, Said | Broken) for piece in whole)
    if not broken(whole):
        assert whole == ([Said(text)] if text else [])


@given(st.text(st.sampled_from('<[`~>|/_: \n\r{}"ab中'), max_size=60))
def test_text_that_only_looks_like_markers_comes_out_unchanged(text: str) -> None:
    assert read(text) == ([Said(text)] if text else [])


@pytest.mark.parametrize("form", FORMS)
def test_no_form_calls_a_tool_that_was_not_declared(form: str) -> None:
    text = FORMS[form][0]
    found = read(text, ["unrelated"])
    shown = form.startswith("fence") and "labelled" not in form and "our" not in form
    if shown:
        assert found == [Said(text)]
    else:
        assert {type(piece) for piece in found} == {Broken}
        assert "there is no tool named" in broken(found)[0].why


OPEN, CLOSE = '<tool_call>{"name": "get_weather", "arguments": ', "</tool_call>"
BROKEN = {
    "a brace is missing": (f"{OPEN}{{}}\n{CLOSE}", "JSON is not valid"),
    "a quote is missing": (f'{OPEN}{{"a": "b}}}}{CLOSE}', "JSON"),
    "a comma too many": (f'{OPEN}{{"a": 1,}}}}{CLOSE}', "JSON"),
    "single quotes": ("<tool_call>{'name': 'get_weather'}</tool_call>", "JSON"),
    "a brace too many": (f"{OPEN}{{}}}}}}{CLOSE}", "other text"),
    "no name": ('<tool_call>{"arguments": {}}</tool_call>', 'needs a "name"'),
    "a name by another key": (
        '<tool_call>{"tool": "get_weather", "arguments": {}}</tool_call>',
        'needs a "name"',
    ),
    "arguments not in one object": (
        '<tool_call>{"name": "get_weather", "city": "Oslo"}</tool_call>',
        "in one object",
    ),
    "arguments a list": (f"{OPEN}[]}}{CLOSE}", "not a JSON object"),
    "NaN": (f'{OPEN}{{"a": NaN}}}}{CLOSE}', "JSON"),
    "too deep": (f"{OPEN}{'[' * 99_999}{']' * 99_999}}}{CLOSE}", "JSON"),
    "a digit too many": (f"{OPEN}{'1' * 9_999}}}{CLOSE}", "JSON"),
    "unknown": ("[call:nothing]{}[/call]", "no tool named 'nothing'"),
    "unknown, Kimi": (
        "<|tool_call_begin|>functions.no:0<|tool_call_argument_begin|>{}"
        "<|tool_call_end|>",
        "'no'",
    ),
    "a parameter without name": (
        '<invoke name="get_weather"><parameter id="x">1</parameter></invoke>',
        "no name",
    ),
    "half a call in a fence": (
        '```json\n{"name": "get_weather", "arguments": {"a": "b"\n```',
        "JSON",
    ),
    "words instead of a call": (
        '```tool_call\n{"name": "get_weather"} or so\n```',
        "other text",
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_call_is_told_with_its_text_and_those_behind_it_are_found(
    case: str,
) -> None:
    text, why = BROKEN[case]
    for parts in ([text], text):
        [fault] = broken(read(parts))
        assert fault.text == text
        assert why in fault.why
    behind = read(f"So:\n{text}\n<tool_call>\n{SEARCH}\n</tool_call>")
    assert [Said("So:"), SEARCHED] == [behind[0], behind[-1]]
    assert [one.text for one in broken(behind)] == [text]


@pytest.mark.parametrize("end", range(1, len(CALL)))
def test_a_call_that_was_cut_off_is_told(end: int) -> None:
    text = f"<tool_call>\n{CALL[:end]}"
    [fault] = read([text])
    assert isinstance(fault, Broken)
    assert fault.text == text.rstrip()
    assert "cut off" in fault.why


def test_a_call_behind_a_broken_one_that_has_no_end_is_found() -> None:
    lost = '<tool_call>\n{"name": "get_weather", "arguments": {"a": "b}\n'
    whole = f"<tool_call>\n{CALL}\n</tool_call>"
    assert read(lost + whole)[1:] == [WEATHER]


def test_names_that_were_declared_with_a_dot_are_kept() -> None:
    call = '<tool_call>{"name": "functions.x:1", "arguments": {}}</tool_call>'
    [piece] = read(call, [*NAMES, "functions.x:1"])
    assert piece.name == "functions.x:1"  # type: ignore[union-attr]
