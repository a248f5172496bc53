"""Every field of a Responses request, and what it comes to."""

import base64
import json
from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.dialects import openai_request, responses_request
from kimi_proxy.dialects.responses_thought import seal
from kimi_proxy.errors import InvalidRequest, NotFound, Unsupported

PNG = "data:image/png;base64," + base64.b64encode(b"\x89PNG made up").decode()
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}


class Nothing:
    """A store without anything in it."""

    def history(self, response_id: str) -> Any:
        raise NotFound(response_id)

    def item(self, item_id: str) -> Any:
        raise NotFound(item_id)


def parsed(**body: Any) -> ChatRequest:
    """The request that a body means."""
    asked = {"model": "m", "input": "x", **body}
    return responses_request.parse(asked, Nothing()).chat


def messages(*items: Any, **body: Any) -> tuple[Message, ...]:
    return parsed(input=list(items), **body).messages


def said(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": text}


def call(name: str = "f", arguments: str = "{}", call_id: str = "c") -> dict[str, Any]:
    return {
        "type": "function_call",
        "call_id": call_id,
        "name": name,
        "arguments": arguments,
    }


def result(output: Any, call_id: str = "c") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": output}


def test_text_is_a_message_and_instructions_come_first() -> None:
    assert parsed(instructions="Be kind.").messages == (
        Message("system", "Be kind."),
        Message("user", "x"),
    )


def test_messages_have_parts_of_every_kind() -> None:
    text = {"type": "input_text", "text": "see"}
    image = {"type": "input_image", "image_url": PNG, "detail": "auto"}
    file = {"type": "input_file", "file_id": "file-1"}
    (message,) = messages({"role": "user", "content": [text, image, file]})
    assert message.text == "see"
    first, second = message.attachments
    assert (first.kind, first.data) == ("image", b"\x89PNG made up")
    assert (second.kind, second.file_id) == ("file", "file-1")
    assert second.param == "input[0].content[2].file_id"


def test_an_assistants_turn_is_one_message() -> None:
    told = [{"type": "output_text", "text": "Sure.", "annotations": []}]
    refused = [{"type": "refusal", "refusal": "No."}]
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    found = messages(
        said("user", "go"),
        {**thought, "content": [{"type": "reasoning_text", "text": "hm"}]},
        {"type": "message", "role": "assistant", "content": told, "id": "msg_1"},
        call("f", '{"a":1}', "c1"),
        call("g", "{}", "c2"),
        result("one", "c1"),
        result([{"type": "input_text", "text": "two"}], "c2"),
        {"role": "assistant", "content": refused},
        said("developer", "more"),
    )
    assert [m.role for m in found] == [
        *("user", "assistant", "tool", "tool", "assistant", "system")
    ]
    turn = found[1]
    assert (turn.text, turn.reasoning) == ("Sure.", "hm")
    assert [(c.id, c.name) for c in turn.tool_calls] == [("c1", "f"), ("c2", "g")]
    assert [(m.tool_call_id, m.text) for m in found[2:4]] == [
        ("c1", "one"),
        ("c2", "two"),
    ]
    assert found[4].text == "No."


@pytest.mark.parametrize(
    "thought",
    [
        {"summary": [{"type": "summary_text", "text": "hm 界"}]},
        {"content": [{"type": "reasoning_text", "text": "hm 界"}], "summary": []},
        {"encrypted_content": seal("hm 界"), "summary": []},
        {"encrypted_content": seal("hm 界"), "summary": [], "content": None},
    ],
)
def test_thinking_comes_back_in_every_form(thought: dict[str, Any]) -> None:
    item = {"type": "reasoning", **thought}
    assert messages(item, call())[-1].reasoning == "hm 界"


@pytest.mark.parametrize("foreign", ["gAAAAAB", "kp1.", "kp1.!!!", "kp1.AAAA", ""])
def test_thinking_that_another_service_sealed_says_nothing(foreign: str) -> None:
    item = {"type": "reasoning", "summary": [], "encrypted_content": foreign}
    assert messages(item, call())[-1].reasoning == ""


def test_calls_of_other_tools_become_calls_of_functions() -> None:
    custom = {"type": "custom_tool_call", "call_id": "a", "name": "p", "input": "x\ny"}
    action = {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 5}
    shell = {"type": "local_shell_call", "id": "l", "call_id": "b", "action": action}
    spaced = {**call(call_id="d"), "namespace": "crm"}
    found = messages(
        custom,
        shell,
        spaced,
        {"type": "custom_tool_call_output", "call_id": "a", "output": "done"},
        {"type": "local_shell_call_output", "id": "b", "output": "file"},
    )
    told = [(c.id, c.name, json.loads(c.arguments)) for c in found[0].tool_calls]
    assert told == [
        ("a", "p", {"input": "x\ny"}),
        ("b", "local_shell", {"command": ["ls"], "timeout_ms": 5}),
        ("d", "crm__f", {}),
    ]
    assert [m.tool_call_id for m in found[1:]] == ["a", "b"]


def test_searches_of_earlier_turns_are_passed_over() -> None:
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed"}
    assert messages(searched, said("user", "x")) == (Message("user", "x"),)


def test_a_history_is_the_same_as_in_chat_completions() -> None:
    items = [said("user", "go"), said("assistant", "Sure."), call(), result("1")]
    wire = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    chat = [
        said("user", "go"),
        {"role": "assistant", "content": "Sure.", "tool_calls": [wire]},
        {"role": "tool", "tool_call_id": "c", "content": "1"},
    ]
    body = {"model": "m", "messages": chat}
    assert messages(*items) == openai_request.parse(body).messages


def test_parameters_get_their_names() -> None:
    asked = parsed(
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=7,
        text={"verbosity": "low"},
        truncation="auto",
        max_tool_calls=3,
        service_tier="flex",
        safety_identifier="s",
        parallel_tool_calls=False,
    )
    assert asked.sampling == {
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 7,
        "verbosity": "low",
        "truncation": "auto",
        "max_tool_calls": 3,
        "service_tier": "flex",
    }
    assert (asked.max_tokens, asked.user) == (7, "s")
    assert not asked.parallel_tool_calls and asked.include_usage and not asked.relays


def test_what_asks_for_nothing_is_no_parameter() -> None:
    neutral = {"top_p": 1, "truncation": "disabled", "service_tier": "auto"}
    neutral |= {"context_management": [], "moderation": None}
    more: dict[str, Any] = {
        "temperature": None,
        "metadata": {},
        "background": False,
        "store": True,
    }
    assert parsed(**neutral, **more, unknown={"x": 1}).sampling == {}


def test_what_nobody_here_does_is_named() -> None:
    search = {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}}
    asked = parsed(
        context_management=[{"type": "compaction"}],
        moderation={"model": "omni-moderation-latest"},
        tools=[search, {"type": "web_search", "filters": None}],
    )
    named = {"context_management", "moderation", "tools.web_search.filters"}
    assert asked.search and asked.sampling.keys() == named


@pytest.mark.parametrize(
    ("effort", "meant"), [("minimal", "low"), ("xhigh", "max"), (None, None)]
)
def test_effort(effort: str | None, meant: str | None) -> None:
    assert parsed(reasoning={"effort": effort}).effort == meant


def test_formats() -> None:
    schema = {"type": "object"}
    form = {"type": "json_schema", "name": "n", "schema": schema, "strict": True}
    found = parsed(text={"format": form}).json_format
    assert found is not None and (found.name, found.schema) == ("n", schema)
    object_only = parsed(text={"format": {"type": "json_object"}}).json_format
    assert object_only is not None and object_only.schema is None
    assert parsed(text={"format": {"type": "text"}}).json_format is None


def test_tools() -> None:
    grammar = {"type": "grammar", "syntax": "lark", "definition": "start: X"}
    custom = {"type": "custom", "name": "p", "description": "Does.", "format": grammar}
    nested = {"type": "function", "function": {"name": "nested"}}
    space = {"type": "namespace", "name": "crm", "tools": [FUNCTION]}
    listed = [
        {**FUNCTION, "description": "d", "strict": True},
        custom,
        nested,
        space,
        {"type": "local_shell"},
        {"type": "web_search_preview_2025_03_11"},
        {"type": "image_generation"},
    ]
    asked = parsed(tools=listed)
    names = [tool.name for tool in asked.tools]
    assert names == ["f", "p", "nested", "crm__f", "local_shell"]
    assert asked.tools[0].strict and asked.tools[0].description == "d"
    assert asked.tools[1].description.endswith("start: X")
    assert asked.tools[1].parameters["required"] == ["input"]
    assert asked.search is True
    assert asked.sampling == {"tools.image_generation": True}


CHOICES: list[tuple[Any, tuple[str, str | None]]] = [
    ("auto", ("auto", None)),
    ("none", ("none", None)),
    ("required", ("required", None)),
    ({"type": "function", "name": "f"}, ("required", "f")),
    ({"type": "custom", "name": "p"}, ("required", "p")),
    ({"type": "local_shell"}, ("required", "local_shell")),
    ({"type": "web_search"}, ("auto", None)),
    (
        {"type": "allowed_tools", "mode": "required", "tools": [FUNCTION]},
        ("required", None),
    ),
]


@pytest.mark.parametrize(("choice", "meant"), CHOICES)
def test_tool_choice(choice: Any, meant: tuple[str, str | None]) -> None:
    custom = {"type": "custom", "name": "p"}
    tools = [FUNCTION, custom, {"type": "local_shell"}, {"type": "web_search"}]
    found = parsed(tools=tools, tool_choice=choice).tool_choice
    assert (found.mode, found.name) == meant


def test_the_words_of_refusals_are_ours() -> None:
    with pytest.raises(Unsupported, match="previous_response_id"):
        parsed(conversation="conv_1")
    with pytest.raises(InvalidRequest, match="two tools"):
        parsed(tools=[FUNCTION, FUNCTION])
