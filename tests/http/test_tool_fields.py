"""`tools`, `tool_choice`, `response_format`, `stop`: what a request means by them."""

from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, JsonFormat, Tool, ToolCall, ToolChoice
from kimi_proxy.dialects.openai_request import parse
from kimi_proxy.errors import InvalidRequest

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
F: dict[str, Any] = {
    "type": "function",
    "function": {"name": "f", "description": "Does.", "parameters": SCHEMA},
}
G: dict[str, Any] = {"type": "function", "function": {"name": "g.h-1_2"}}
SEARCHES: tuple[Any, ...] = (
    {"type": "web_search"},
    {"type": "web_search_preview"},
    {"type": "web_search_2025_08_26"},
    {"type": "builtin_function", "function": {"name": "$web_search"}},
)


def asked(**fields: Any) -> ChatRequest:
    messages = [{"role": "user", "content": "hi"}]
    return parse({"model": "m", "messages": messages} | fields)


def refused(param: str, **fields: Any) -> str:
    with pytest.raises(InvalidRequest) as caught:
        asked(**fields)
    assert caught.value.param == param
    return caught.value.message


def test_functions_are_read_in_both_spellings() -> None:
    flat = {"type": "function", **F["function"], "strict": True}
    assert asked(tools=[F]).tools == (Tool("f", "Does.", SCHEMA),)
    assert asked(tools=[flat]).tools == (Tool("f", "Does.", SCHEMA, strict=True),)
    assert asked(tools=[G]).tools == (Tool("g.h-1_2"),)
    assert asked(tools=[]).tools == asked(tools=None).tools == asked().tools == ()


@pytest.mark.parametrize("search", SEARCHES)
def test_a_search_among_the_tools_is_the_services_own(search: Any) -> None:
    request = asked(tools=[search, F])
    assert request.search is True
    assert [tool.name for tool in request.tools] == ["f"]
    assert asked(tools=[search], use_search=False).search is False


def test_schemas_of_objects_are_taken_as_they_are() -> None:
    either: Any = {"type": ["object", "null"]}
    open_ones: list[Any] = [{}, either, {"type": None}, {"anyOf": [{}]}]
    for schema in open_ones:
        tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
        assert asked(tools=[tool]).tools[0].parameters == schema


NAMELESS: tuple[tuple[Any, str], ...] = (
    ({"type": "function"}, "tools[1].name"),
    ({"type": "function", "function": {}}, "tools[1].function.name"),
    ({"type": "function", "function": {"name": ""}}, "tools[1].function.name"),
    ({"type": "function", "function": {"name": "a b"}}, "tools[1].function.name"),
    ({"type": "function", "function": {"name": "x" * 65}}, "tools[1].function.name"),
    ({"type": "function", "function": {"name": 5}}, "tools[1].function.name"),
    ({"type": "function", "function": None}, "tools[1].function"),
    ({"type": ["function"]}, "tools[1].type"),
    (F, "tools[1]"),
)


@pytest.mark.parametrize(("tool", "param"), NAMELESS)
def test_a_wrong_tool_is_named(tool: Any, param: str) -> None:
    refused(param, tools=[F, tool])


def test_a_wrong_part_of_a_tool_is_named() -> None:
    for name, value in (("description", 5), ("parameters", []), ("parameters", "{}")):
        tool = {"type": "function", "function": {"name": "x", name: value}}
        refused(f"tools[0].function.{name}", tools=[tool])


CHOICES: tuple[tuple[Any, ToolChoice], ...] = (
    (None, ToolChoice("auto")),
    ("auto", ToolChoice("auto")),
    ("none", ToolChoice("none")),
    ("required", ToolChoice("required")),
    ({"type": "function", "function": {"name": "f"}}, ToolChoice("required", "f")),
    ({"type": "function", "name": "f"}, ToolChoice("required", "f")),
)


@pytest.mark.parametrize(("choice", "meant"), CHOICES)
def test_a_choice_is_read(choice: Any, meant: ToolChoice) -> None:
    assert asked(tools=[F, G], tool_choice=choice).tool_choice == meant


@pytest.mark.parametrize("nested", [True, False])
@pytest.mark.parametrize("mode", ["auto", "required"])
def test_allowed_tools_are_the_only_ones(nested: bool, mode: str) -> None:
    inner = {"mode": mode, "tools": [{"type": "function", "function": {"name": "f"}}]}
    choice = {"type": "allowed_tools"} | ({"allowed_tools": inner} if nested else inner)
    request = asked(tools=[F, G], tool_choice=choice)
    assert [tool.name for tool in request.tools] == ["f"]
    assert request.tool_choice.mode == mode


def allowing(*names: str) -> dict[str, Any]:
    tools = [{"type": "function", "name": name} for name in names]
    return {"type": "allowed_tools", "mode": "auto", "tools": tools}


@pytest.mark.parametrize(
    ("choice", "param"),
    [
        ("always", "tool_choice"),
        ({"type": "function", "function": {"name": "x"}}, "tool_choice"),
        ({"type": "function"}, "tool_choice.function.name"),
        ({"type": "custom", "name": "f"}, "tool_choice.type"),
        ({}, "tool_choice.type"),
        (allowing("x"), "tool_choice"),
        (allowing(), "tool_choice"),
        ({"type": "allowed_tools"}, "tool_choice.allowed_tools.tools"),
        ({**allowing("f"), "mode": "maybe"}, "tool_choice.allowed_tools.mode"),
    ],
)
def test_a_wrong_choice_is_named(choice: Any, param: str) -> None:
    refused(param, tools=[F], tool_choice=choice)


def test_nothing_can_be_required_where_there_is_nothing() -> None:
    refused("tool_choice", tool_choice="required")
    refused("tool_choice", tools=[SEARCHES[0]], tool_choice="required")
    assert asked(tool_choice="none").tool_choice == ToolChoice("none")


def test_only_a_plain_no_forbids_calls_side_by_side() -> None:
    assert asked(tools=[F]).parallel_tool_calls
    assert asked(tools=[F], parallel_tool_calls=True).parallel_tool_calls
    assert not asked(tools=[F], parallel_tool_calls=False).parallel_tool_calls


def test_formats_are_read() -> None:
    described = {"name": "x", "schema": SCHEMA, "strict": True}
    assert asked(response_format={"type": "text"}).json_format is None
    assert asked(response_format={"type": "json_object"}).json_format == JsonFormat()
    wanted = {"type": "json_schema", "json_schema": described}
    assert asked(response_format=wanted).json_format == JsonFormat(SCHEMA, "x")


@pytest.mark.parametrize("described", [None, {}, {"name": "x"}, {"schema": None}])
def test_a_format_without_its_schema_is_refused(described: Any) -> None:
    wanted = {"type": "json_schema", "json_schema": described}
    refused("response_format.json_schema.schema", response_format=wanted)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"response_format": {"type": "grammar"}}, "response_format.type"),
        ({"n": 9}, "n"),
        ({"stop": ["a"] * 17}, "stop"),
        ({"stop": "a" * 1025}, "stop"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"reasoning_effort": "vast"}, "reasoning_effort"),
        ({"thinking": {"type": "adaptive"}}, "thinking.type"),
        ({"tools": [F, {"type": "code_interpreter"}]}, "tools[1].type"),
        ({"tools": [{"type": "builtin_function"}]}, "tools[0].type"),
        (
            {"tools": [{"type": "custom"}], "tool_choice": {"type": "custom"}},
            "tools[0].type",
        ),
        ({"tools": [{"type": "custom"}], "tool_choice": "required"}, "tools[0].type"),
    ],
)
def test_what_only_the_same_dialect_may_know_is_a_need(
    fields: dict[str, Any], param: str
) -> None:
    request = asked(**fields)
    assert [need.param for need in request.needs] == [param]


def test_what_all_upstreams_are_asked_for_is_no_need() -> None:
    assert not asked(tools=[F, SEARCHES[0]], n=8, stop=["a"] * 16).needs


def test_stops_and_limits_are_read() -> None:
    assert asked(stop="a").stop == ("a",)
    assert asked(stop=["a", "", "b"]).stop == ("a", "b")
    assert asked(stop="").stop == asked(stop=None).stop == ()
    assert asked(max_tokens=5).max_tokens == 5
    assert asked(max_tokens=5, max_completion_tokens=6).max_tokens == 6
    assert asked(n=None).choices == 1


def test_what_clients_leave_out_of_calls_and_results_harms_nobody() -> None:
    function = {"name": "f", "arguments": '{"a": 1}'}
    for said in (
        {"tool_calls": [{"function": function}]},
        {"tool_calls": [{"id": None, "type": "function", "function": function}]},
        {"function_call": function, "tool_calls": None},
    ):
        for role in ("tool", "function"):
            messages = [
                {"role": "user", "content": "hi"},
                {"role": "assistant", "content": None, **said},
                {"role": role, "name": "f", "content": None},
            ]
            _, assistant, result = asked(messages=messages).messages
            assert assistant.tool_calls == (ToolCall("", "f", '{"a": 1}'),)
            assert (result.role, result.name, result.text) == ("tool", "f", "")


def test_a_user_without_a_name_is_none() -> None:
    assert asked(user="").user is None
    assert asked(user="me").user == "me"
