"""A Responses request that is refused names its field; other shapes are understood."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.http import expect
from tests.http.conftest import house
from tests.http.responses_house import Asking, steps
from tests.http.test_responses_request import FUNCTION, call, result, said


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with house(tmp_path_factory.mktemp("responses"), {}) as made:
        yield Asking(made)


WRONG: list[tuple[dict[str, Any], str | None]] = [
    ({"model": None}, "model"),
    ({"model": ""}, "model"),
    ({"input": None}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": 7}, "input"),
    ({"input": [7]}, "input[0]"),
    ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
    ({"input": [{"type": "message", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{}]}, "input[0].role"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_text"}]}]},
        "input[0].content[0]",
    ),
    (
        {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
        "input[0].content[0]",
    ),
    ({"input": [{**call(), "name": None}]}, "input[0].name"),
    ({"input": [{**call(), "call_id": None}]}, "input[0].call_id"),
    ({"input": [{**call(), "arguments": 7}]}, "input[0].arguments"),
    ({"input": [{**result("x"), "call_id": None}]}, "input[0].call_id"),
    ({"instructions": 7}, "instructions"),
    ({"temperature": 3}, "temperature"),
    ({"top_p": "1"}, "top_p"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"stream": "yes"}, "stream"),
    ({"store": 1}, "store"),
    ({"metadata": {"a": 1}}, "metadata.a"),
    ({"metadata": {"a": "b" * 600}}, "metadata"),
    ({"tools": [{"type": "function"}]}, "tools[0].name"),
    ({"tools": [{"type": 7}]}, "tools[0].type"),
    ({"tools": [{"type": "custom"}]}, "tools[0].name"),
    ({"tools": [{"type": "namespace"}]}, "tools[0]"),
    ({"tools": [FUNCTION, FUNCTION]}, "tools[1]"),
    ({"tool_choice": "required"}, "tool_choice"),
    ({"tool_choice": "maybe"}, "tool_choice"),
    ({"tool_choice": {"type": 7}}, "tool_choice.type"),
    ({"tool_choice": {"type": "function", "name": "g"}}, "tool_choice"),
    ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
    ({"text": "short"}, "text"),
]
FOREIGN: list[tuple[dict[str, Any], str]] = [
    ({"background": True}, "background"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"conversation": {"id": "conv_1"}}, "conversation"),
    ({"prompt": {"id": "pmpt_1"}}, "prompt"),
    ({"top_logprobs": 2}, "top_logprobs"),
    ({"include": ["message.output_text.logprobs"]}, "include"),
    ({"reasoning": {"effort": "heroic"}}, "reasoning.effort"),
    ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
    ({"tools": [{"type": "mcp"}]}, "tools[0].type"),
    ({"tools": [{"type": "file_search"}]}, "tools[0].type"),
    (
        {"tools": [{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]},
        "tools[0].tools[0].type",
    ),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"input": [{"type": "computer_call", "action": 7}]}, "input[0].type"),
    ({"input": [{"type": "mcp_call", "output": {}}]}, "input[0].type"),
    (
        {"input": [{"role": "user", "content": [{"type": "input_audio"}]}]},
        "input[0].content[0]",
    ),
]


@pytest.mark.parametrize(("fields", "param"), WRONG)
def test_what_is_wrong_is_refused_by_its_field(
    ask: Asking, fields: dict[str, Any], param: str | None
) -> None:
    answer = ask.post(**{"model": "echo", "input": "x", **fields})
    expect.error(answer, 400, None, param)


@pytest.mark.parametrize(("fields", "param"), FOREIGN)
def test_what_is_not_served_here_is_refused_by_its_field(
    ask: Asking, fields: dict[str, Any], param: str
) -> None:
    for stream in (True, False):
        answer = ask.post(**{"model": "echo", "input": "x", **fields}, stream=stream)
        expect.error(answer, 400, "unsupported_parameter", param)


def test_bodies_that_are_no_objects_are_refused(ask: Asking) -> None:
    for body in (["x"], "x", 7):
        expect.error(ask.call("POST", "", body), 400, None)


def test_an_unknown_model_is_not_found(ask: Asking) -> None:
    found = "model_not_found"
    expect.error(ask.post(model="nobody", input="x"), 404, found, "model")
    asked = {"model": "nobody", "input": "x", "tools": [{"type": "mcp"}]}
    expect.error(ask.call("POST", "", asked), 404, found, "model")


def test_a_chat_is_understood_here_and_answered_as_a_response(ask: Asking) -> None:
    body = {"messages": [said("user", steps(["text", "a"], ["finish"]))]}
    assert ask.stream(**body).text == "a"
    whole = ask.whole(**body, tools=[{"type": "function", "function": {"name": "f"}}])
    assert whole["store"] is False
    assert whole["tools"][0]["name"] == "f"
    answer = ask.post(**body, n=2)
    expect.error(answer, 400, "unsupported_parameter", "n")
    odd = {"messages": [said("user", "x")], "modalities": ["audio"]}
    expect.error(ask.post(**odd), 400, "unsupported_parameter", "modalities")


def test_a_response_is_understood_among_chats_and_answered_as_one(ask: Asking) -> None:
    client = ask.house.client
    body = {"model": "scripted/play", "input": steps(["text", "a"], ["finish"])}
    body["tools"] = [FUNCTION]  # type: ignore[assignment]  # a body of mixed values
    whole = client.post("/v1/chat/completions", json=body).get_json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"] == "a"
    streamed = client.post("/v1/chat/completions", json={**body, "stream": True})
    assert streamed.data.endswith(b"data: [DONE]\n\n")
    assert b'"usage"' not in streamed.data
    asked = {**body, "stream": True, "stream_options": {"include_usage": True}}
    assert b'"usage"' in client.post("/v1/chat/completions", json=asked).data


def test_left_out_tools_and_parameters_are_named(ask: Asking) -> None:
    answer = ask.post(
        input=steps(["text", "a"], ["finish"]),
        tools=[{"type": "image_generation"}],
        truncation="auto",
    )
    assert answer.status_code == 200
    ignored = answer.headers["x-kimi-proxy-ignored"].split(", ")
    assert ignored == ["tools.image_generation", "truncation"]
