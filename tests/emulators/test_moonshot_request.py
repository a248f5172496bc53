"""What the Moonshot emulator refuses in a chat request, rule by rule (sheet §2, §3)."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.moonshot import MoonshotEmulator
from tests.emulators.openai_client import Api

USER = {"role": "user", "content": "x"}
CALL = {"id": "c1", "type": "function", "function": {"name": "fun", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "1"}
K3, CODE, K26 = "kimi-k3", "kimi-k2.7-code", "kimi-k2.6"
OFF = {"type": "disabled"}


@pytest.fixture(scope="module")
def emulator() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: MoonshotEmulator) -> Iterator[Api]:
    emulator.reset()
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def tool(name: str = "fun", parameters: Any = None) -> dict[str, Any]:
    schema = {"type": "object", "properties": {}} if parameters is None else parameters
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def schema(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, **more}


def image(url: str, kind: str = "image_url") -> dict[str, Any]:
    return {"role": "user", "content": [{"type": kind, kind: {"url": url}}]}


ACCEPTED: list[tuple[str, dict[str, Any]]] = [
    (K3, {"temperature": 1.0, "top_p": 0.95, "n": 1, "presence_penalty": 0}),
    (K3, {"reasoning_effort": "low"}),
    (K3, {"tools": [tool()], "tool_choice": "required"}),
    (CODE, {"thinking": {"type": "enabled", "keep": "all"}, "temperature": 1}),
    (K26, {"thinking": OFF, "temperature": 0.6}),
    (K26, {"thinking": {"type": "enabled", "keep": None}, "temperature": 1.0}),
    (K26, {"top_p": 0.5, "tools": [tool(f"tool_{n}") for n in range(128)]}),
    (K26, {"stop": ["a" * 32] * 5}),
    (K26, {"tools": [tool("_a-0" + "x" * 60)]}),
    (K26, {"tools": [{"type": "function", "function": {"name": "fun"}}]}),
    (K26, {"messages": [image("data:image/png;base64,AA==")]}),
    (
        K26,
        {"tools": [tool(parameters=schema({"a": {"anyOf": [{"type": "string"}]}}))]},
    ),
    (K3, {"messages": [{"role": "system", "tools": [tool()]}, USER]}),
    (
        K26,
        {
            "messages": [
                USER,
                {**CALLING, "reasoning_content": "hm"},
                RESULT,
            ]
        },
    ),
    (K26, {"messages": [USER, CALLING, RESULT, USER]}),
    (K26, {"messages": [USER, CALLING, RESULT], "thinking": OFF}),
    (
        K26,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema({})},
            }
        },
    ),
]
PARTIAL = {"role": "assistant", "content": "pre", "partial": True}
KEEP = {"thinking": {"type": "enabled", "keep": "all"}}
REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (K3, {"temperature": 0.7}, "invalid temperature: only 1 is allowed"),
    (K3, {"top_p": 1}, "invalid top_p: only 0.95"),
    (K3, {"n": 2}, "invalid n: only 1"),
    (K3, {"presence_penalty": 0.5}, "invalid presence_penalty: only 0"),
    (K3, {"frequency_penalty": 0.5}, "invalid frequency_penalty: only 0"),
    (K3, {"thinking": {"type": "enabled"}}, "thinking is not supported"),
    (K3, {"reasoning_effort": "medium"}, "invalid reasoning_effort"),
    (CODE, {"temperature": 0.6}, "invalid temperature: only 1"),
    (CODE, {"thinking": OFF}, "invalid thinking: only type enabled"),
    (CODE, {"tools": [tool()], "tool_choice": "required"}, "tool_choice 'required'"),
    (CODE, {"messages": [image("data:image/png;base64,AA==")]}, "image_url is not"),
    (CODE, {"messages": [image("data:a", "video_url")]}, "video_url is not"),
    (CODE, {"messages": [USER, CALLING, RESULT, USER]}, "reasoning_content is missing"),
    (K26, {"temperature": 0.6}, "invalid temperature: only 1"),
    (K26, {"thinking": OFF, "temperature": 1.0}, "invalid temperature: only 0.6"),
    (K26, {"thinking": {"type": "on"}}, "invalid thinking"),
    (K26, {"thinking": "on"}, "invalid thinking"),
    (K26, {"thinking": {"type": "enabled", "keep": "some"}}, "keep must be all"),
    (K26, {"tools": [tool()], "tool_choice": "required"}, "tool_choice 'required'"),
    (K26, {"messages": [USER, CALLING, RESULT]}, "reasoning_content is missing"),
    (
        K26,
        {"messages": [USER, CALLING, RESULT, USER], **KEEP},
        "reasoning_content is missing in assistant tool call message",
    ),
    (K26, {"messages": []}, "messages is empty"),
    (K26, {"messages": [{"role": "developer", "content": "x"}]}, "invalid role"),
    (K26, {"messages": [{"role": "user", "content": ""}]}, "must not be empty"),
    (K26, {"messages": [{"role": "user", "content": []}]}, "must not be empty"),
    (K26, {"messages": [{"role": "user"}]}, "must not be empty"),
    (
        K26,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ""}]}]},
        "must not be empty",
    ),
    (K26, {"messages": [USER, {"role": "assistant", "content": None}]}, "not be empty"),
    (
        K26,
        {"messages": [USER, {**CALLING, "content": ""}, RESULT], "thinking": OFF},
        "message at position 1 with role 'assistant' must not be empty",
    ),
    (K26, {"messages": [{"role": "system", "tools": [tool()]}, USER]}, "tools in a"),
    (K26, {"messages": [{"role": "user", "content": 7}]}, "content must be text"),
    (K26, {"messages": [USER, RESULT]}, "role 'tool' must be a response"),
    (K26, {"messages": [USER, CALLING], "thinking": OFF}, "did not have response"),
    (
        K26,
        {
            "messages": [
                USER,
                {**CALLING, "tool_calls": [{**CALL, "id": "c" * 65}]},
                {**RESULT, "tool_call_id": "c" * 65},
            ],
            "thinking": OFF,
        },
        "tool call id is longer than 64",
    ),
    (K26, {"messages": [image("https://example.org/x.png")]}, "unsupported image url"),
    (K26, {"messages": [image("ms://file-nobodys")]}, "file not found"),
    (K26, {"messages": [image("x", "input_audio")]}, "unknown part type"),
    (K26, {"messages": [PARTIAL, USER]}, "partial is only for the last"),
    (K26, {"messages": [{**USER, "partial": True}]}, "partial is only for the last"),
    (
        K26,
        {"messages": [USER, PARTIAL], "response_format": {"type": "json_object"}},
        "partial does not go with json_object",
    ),
    (K26, {"stop": list("abcdef")}, "array too long"),
    (K26, {"stop": "a" * 33}, "at most 32 bytes"),
    (K26, {"stop": ["好" * 11]}, "at most 32 bytes"),
    (K26, {"tools": [tool(f"tool_{n}") for n in range(129)]}, "expected 1 to 128"),
    (K26, {"tools": [tool(), tool()]}, "function name fun is duplicated"),
    (K26, {"tools": [tool("ab")]}, "function name is invalid"),
    (K26, {"tools": [tool("a" * 65)]}, "function name is invalid"),
    (K26, {"tools": [tool("1abc")]}, "function name is invalid"),
    (K26, {"tools": [tool("get.it")]}, "function name is invalid"),
    (K26, {"tools": [{"type": "mcp", "function": {"name": "fun"}}]}, "unknown type"),
    (K26, {"tools": [{"type": "mcp"}]}, "a tool needs a function"),
    (
        K26,
        {"tools": [{"type": "builtin_function", "function": {"name": "$paint"}}]},
        "unknown builtin function",
    ),
    (
        K26,
        {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]},
        "not supported while thinking",
    ),
    (
        K26,
        {"tools": [tool(parameters=schema({"a": {"description": "?"}}))]},
        "At path 'properties.a': type is not defined",
    ),
    (
        K26,
        {"tools": [tool(parameters=schema({"a": {"$ref": "#/$defs/x"}}))]},
        "At path 'properties.a': $ref is not resolved",
    ),
    (
        K26,
        {"tools": [tool(parameters=schema({"a": {"type": "array", "items": {}}}))]},
        "At path 'properties.a.items': type is not defined",
    ),
    (
        K26,
        {"tools": [tool(parameters=schema({"a": {"anyOf": [{"$ref": "x"}]}}))]},
        "At path 'properties.a.anyOf[0]': $ref",
    ),
    (K26, {"tools": [tool(parameters=schema({"a": True}))]}, "must be an object"),
    (
        K26,
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "x", "schema": schema({"a": {}})},
            }
        },
        "response_format.json_schema.schema is not a valid moonshot flavored",
    ),
    (K26, {"max_tokens": 0}, "below minimum"),
    (K26, {"stream": "yes"}, "Invalid type for 'stream'"),
]


@pytest.mark.parametrize(("model", "fields"), ACCEPTED)
def test_what_the_sheet_allows_is_accepted(
    api: Api, model: str, fields: dict[str, Any]
) -> None:
    reply = api.ask(model=model, **fields)
    assert reply.status == 200, reply.body


@pytest.mark.parametrize(("model", "fields", "message"), REFUSED)
def test_what_the_sheet_forbids_is_refused(
    api: Api, model: str, fields: dict[str, Any], message: str
) -> None:
    reply = api.ask(model=model, **fields)
    assert reply.status == 400, reply.body
    assert reply.error.keys() == {"type", "message"}
    assert reply.error["type"] == "invalid_request_error"
    assert reply.error["message"].startswith("Invalid request: ")
    assert message in reply.error["message"]


def test_efforts_of_a_model_without_any_are_let_pass(api: Api) -> None:
    assert api.ask(model=K26, reasoning_effort="whatever").status == 200


@pytest.mark.parametrize("model", ["kimi-latest", "moonshot-v1-8k", "kimi-k2.5"])
def test_retired_models_are_not_found(api: Api, model: str) -> None:
    reply = api.ask(model=model)
    assert reply.status == 404 and reply.error["type"] == "resource_not_found_error"
    assert reply.error["message"] == f"Not found the model {model} or Permission denied"


def test_input_and_output_must_fit_the_context(api: Api) -> None:
    reply = api.ask(model=K26, max_completion_tokens=262_144)
    assert reply.status == 400
    assert reply.error["message"] == "Your request exceeded model token limit : 262144"
    assert api.ask(model=K3, max_completion_tokens=262_144).status == 200


def test_pictures_are_named_by_their_file_and_purpose(
    emulator: MoonshotEmulator, api: Api
) -> None:
    file = ("file", "a.png", b"x")
    made = api.post_form("/files", ("purpose", None, b"image"), file).json()
    picture, film = (
        image(f"ms://{made['id']}"),
        image(f"ms://{made['id']}", "video_url"),
    )
    assert api.ask(model=K26, messages=[picture]).status == 200
    assert api.ask(model=K26, messages=[film]).status == 400
    plain = {"type": "image_url", "image_url": f"ms://{made['id']}"}
    messages = [{"role": "user", "content": [plain]}]
    assert api.ask(model=K26, messages=messages).status == 200
    bob = Api(emulator, emulator.world.keys.add("bob").secret)
    assert bob.ask(model=K26, messages=[picture]).status == 400
