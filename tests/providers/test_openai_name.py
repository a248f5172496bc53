"""Names of tools: changed on the way up where they have to be, and changed back."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.events import Relayed, ToolCallDelta
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_name import plain, write_plainly

ALLOWED = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{2,63}")


@pytest.mark.parametrize("name", ["weather", "_ab", "get-it_2", "x" * 64])
def test_a_name_that_is_allowed_stays(name: str) -> None:
    assert plain(name) == name


@given(st.text(max_size=90))
def test_any_other_becomes_one_that_is(name: str) -> None:
    assert ALLOWED.fullmatch(plain(name))
    assert plain(name) == plain(name)


@given(st.lists(st.text(alphabet="ab.-1", max_size=6), unique=True))
def test_no_two_become_the_same(names: list[str]) -> None:
    assert len({plain(name) for name in names}) == len(names)


def tool(name: str) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name}}


def call(name: str) -> dict[str, Any]:
    function = {"name": name, "arguments": "{}"}
    return {"id": "c", "type": "function", "function": function}


def test_it_is_the_same_wherever_the_name_is() -> None:
    body: dict[str, Any] = {
        "tools": [tool("ls"), tool("weather"), {"type": "odd"}],
        "tool_choice": tool("ls"),
        "messages": [
            {"role": "user", "content": "hi", "name": "me"},
            {"role": "assistant", "tool_calls": [call("ls"), call("weather")]},
            {"role": "tool", "tool_call_id": "c", "name": "ls", "content": "x"},
            "odd",
        ],
    }
    names = write_plainly(body)
    other = plain("ls")
    assert names == {other: "ls"}
    assert body["tools"] == [tool(other), tool("weather"), {"type": "odd"}]
    assert body["tool_choice"] == tool(other)
    user, assistant, result, odd = body["messages"]
    assert user["name"] == "me" and odd == "odd"
    assert assistant["tool_calls"] == [call(other), call("weather")]
    assert result["name"] == other


@pytest.mark.parametrize(
    "body",
    [
        {"messages": []},
        {"tools": "odd", "tool_choice": "auto", "messages": [{"role": "tool"}]},
        {"tools": [{"type": "function"}, {"type": "function", "function": {}}]},
        {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]},
    ],
)
def test_what_has_no_such_name_is_left_alone(body: dict[str, Any]) -> None:
    before = orjson.dumps(body)
    assert write_plainly(body) == {}
    assert orjson.dumps(body) == before


@pytest.mark.parametrize("relays", [True, False])
def test_calls_come_back_under_the_tools_own_name(relays: bool) -> None:
    names = {plain("ls"): "ls"}
    delta = {"tool_calls": [{"index": 0, **call(plain("ls"))}]}
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]}
    wire = b"data: " + orjson.dumps(chunk) + b"\n\ndata: [DONE]\n\n"
    first, *_ = streamed(iter([wire]), relays=relays, names=names)
    if relays:
        assert isinstance(first, Relayed)
        (first,) = first.events
        told = next(iter(streamed(iter([wire]), relays=True, names=names)))
        assert isinstance(told, Relayed) and plain("ls").encode() not in told.data
    assert first == ToolCallDelta(0, "c", "ls", "{}")
    message = {"role": "assistant", "tool_calls": [call(plain("ls"))]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    answer = orjson.dumps({"choices": [choice]})
    (told, _) = whole(answer, relays=True, names=names)
    assert isinstance(told, Relayed) and b'"ls"' in told.data
