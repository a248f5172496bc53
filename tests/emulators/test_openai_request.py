"""What the OpenAI emulator refuses in a chat request, rule by rule."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.openai import OpenAIEmulator
from tests.emulators.openai_client import Api, question

USER = {"role": "user", "content": "x"}
CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLING = {"role": "assistant", "content": None, "tool_calls": [CALL]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "1"}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {}}}


@pytest.fixture(scope="module")
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Iterator[Api]:
    emulator.reset()
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def part(kind: str, value: Any) -> dict[str, Any]:
    return {"role": "user", "content": [{"type": kind, kind: value}]}


FIELDS: list[tuple[dict[str, Any], str | None, str | None]] = [
    ({"temperature": 2.1}, "temperature", "decimal_above_max_value"),
    ({"temperature": -1}, "temperature", "decimal_below_min_value"),
    ({"temperature": "1"}, "temperature", "invalid_type"),
    ({"top_p": 1.5}, "top_p", "decimal_above_max_value"),
    ({"presence_penalty": 3}, "presence_penalty", "decimal_above_max_value"),
    ({"frequency_penalty": -3}, "frequency_penalty", "decimal_below_min_value"),
    ({"n": 0}, "n", "integer_below_min_value"),
    ({"n": 129}, "n", "integer_above_max_value"),
    ({"n": 1.5}, "n", "invalid_type"),
    ({"max_tokens": 0}, "max_tokens", "integer_below_min_value"),
    ({"max_completion_tokens": True}, "max_completion_tokens", "invalid_type"),
    ({"seed": "x"}, "seed", "invalid_type"),
    ({"stream": 1}, "stream", "invalid_type"),
    ({"logprobs": 1}, "logprobs", "invalid_type"),
    ({"store": "yes"}, "store", "invalid_type"),
    ({"user": 7}, "user", "invalid_type"),
    ({"metadata": []}, "metadata", "invalid_type"),
    ({"top_logprobs": 3}, "top_logprobs", None),
    ({"top_logprobs": 21, "logprobs": True}, "top_logprobs", "integer_above_max_value"),
    ({"stream_options": {}}, "stream_options", None),
    ({"stream_options": {}, "stream": False}, "stream_options", None),
    ({"stop": list("abcde")}, "stop", "array_above_max_length"),
    ({"stop": 7}, "stop", "invalid_type"),
    ({"response_format": {"type": "xml"}}, "response_format.type", "invalid_value"),
    (
        {"response_format": {"type": "json_schema"}},
        "response_format.json_schema",
        "missing_required_parameter",
    ),
    ({"tools": []}, "tools", None),
    ({"tools": [TOOL] * 129}, "tools", None),
    ({"tools": [{}]}, "tools[0].type", "missing_required_parameter"),
    (
        {"tools": [{"type": "function"}]},
        "tools[0].function",
        "missing_required_parameter",
    ),
    ({"tool_choice": "auto"}, "tool_choice", None),
]
MESSAGES: list[tuple[Any, str, str | None]] = [
    ([], "messages", "empty_array"),
    ({}, "messages", "invalid_type"),
    (["x"], "messages[0]", "invalid_type"),
    ([{"role": "robot", "content": "x"}], "messages[0].role", "invalid_value"),
    ([{"role": "user"}], "messages[0].content", "invalid_type"),
    ([{"role": "user", "content": 7}], "messages[0].content", "invalid_type"),
    ([part("smell", "x")], "messages[0].content[0].type", "invalid_value"),
    ([part("text", 7)], "messages[0].content[0].text", "invalid_type"),
    (
        [part("image_url", {"url": "file:///etc/x"})],
        "messages[0].content[0].image_url.url",
        "invalid_value",
    ),
    ([RESULT], "messages[0].role", None),
    ([USER, CALLING], "messages[2].role", None),
    ([USER, CALLING, USER], "messages[2].role", None),
    ([USER, CALLING, {**RESULT, "tool_call_id": "c2"}], "messages[2].role", None),
    ([{**CALLING, "tool_calls": []}], "messages[0].content", "invalid_type"),
    (
        [{**CALLING, "tool_calls": [{"id": "c1"}]}],
        "messages[0].tool_calls[0]",
        "invalid_type",
    ),
    (
        [
            {
                **CALLING,
                "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}],
            }
        ],
        "messages[0].tool_calls[0].function.arguments",
        "invalid_type",
    ),
]


@pytest.mark.parametrize(("fields", "param", "code"), FIELDS)
def test_a_wrong_field_is_refused_by_its_name(
    api: Api, fields: dict[str, Any], param: str | None, code: str | None
) -> None:
    reply = api.ask(**fields)
    assert reply.status == 400, reply.body
    assert (reply.error["param"], reply.error["code"]) == (param, code)
    assert reply.error["type"] == "invalid_request_error"


@pytest.mark.parametrize(("messages", "param", "code"), MESSAGES)
def test_wrong_messages_are_refused_where_they_are_wrong(
    api: Api, messages: Any, param: str, code: str | None
) -> None:
    reply = api.ask(messages=messages)
    assert reply.status == 400, reply.body
    assert (reply.error["param"], reply.error["code"]) == (param, code)


def test_everything_openai_knows_is_accepted(api: Api) -> None:
    reply = api.ask(
        messages=[
            {"role": "developer", "content": "be brief"},
            part("text", "look"),
            part("image_url", {"url": "data:image/png;base64,AA=="}),
            CALLING,
            RESULT,
            {"role": "assistant", "content": None, "refusal": "no"},
            USER,
        ],
        temperature=0.5,
        top_p=1,
        n=1,
        stop="END",
        max_completion_tokens=100,
        logprobs=True,
        top_logprobs=2,
        tools=[TOOL],
        tool_choice="auto",
        parallel_tool_calls=False,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "x", "schema": {}},
        },
        service_tier="default",
        user="u",
    )
    assert reply.status == 200, reply.body


def test_the_model_must_be_there(emulator: OpenAIEmulator, api: Api) -> None:
    reply = api.ask(model="gpt-9")
    assert reply.status == 404 and reply.error["code"] == "model_not_found"
    for model in (None, 7, ""):
        assert api.ask(model=model).status == 400
    emulator.knobs.any_model = True
    assert api.ask(model="gpt-9").json()["model"] == "gpt-9"


def test_messages_must_be_there(api: Api) -> None:
    reply = api.call("POST", "/chat/completions", {"model": "gpt-4o"})
    assert reply.status == 400
    assert reply.error["code"] == "missing_required_parameter"


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"model":', "application/json"),
        (b"[]", "application/json"),
        (b"", "application/json"),
        (b"{}", "text/plain"),
        (b"\xff\xfe", "application/json"),
    ],
)
def test_a_body_that_is_no_json_object_is_refused(
    api: Api, body: bytes, kind: str
) -> None:
    headers = {"Content-Type": kind}
    reply = api.call("POST", "/chat/completions", body, headers=headers)
    assert reply.status == 400
    assert "could not parse the JSON body" in reply.error["message"]


def test_an_image_is_refused_by_a_model_that_sees_none(api: Api) -> None:
    image = part("image_url", {"url": "https://example.org/x.png"})
    assert api.ask(messages=[image]).status == 200
    reply = api.ask(model="gpt-3.5-turbo", messages=[image])
    assert reply.status == 400 and "image_url is only" in reply.error["message"]


def test_more_than_the_context_is_refused(api: Api) -> None:
    long = [{"role": "user", "content": "word" * 17_000}]
    reply = api.ask(model="gpt-3.5-turbo", messages=long)
    assert reply.status == 400
    assert reply.error["code"] == "context_length_exceeded"
    assert "16385 tokens" in reply.error["message"]
    assert api.ask(model="gpt-3.5-turbo", max_tokens=16_385).status == 400
    assert api.ask(messages=long).status == 200


def test_fields_a_vendor_does_not_know_are_refused_when_told_so(
    emulator: OpenAIEmulator, api: Api
) -> None:
    options = {"stream_options": {"include_usage": True}}
    assert api.stream(**options, seen="x").status == 200
    emulator.knobs.refused_fields = ("stream_options",)
    reply = api.stream(**options)
    assert reply.status == 400
    assert reply.error["message"].endswith("argument supplied: stream_options")
    assert api.stream(odd=1).status == 200
    emulator.knobs.strict_fields = True
    assert api.stream(odd=1).status == 400 and api.stream().status == 200


def test_a_body_above_the_limit_is_refused(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.knobs.body_limit = 200
    assert api.ask().status == 200
    reply = api.ask(user="u" * 200)
    assert reply.status == 413 and reply.error["code"] == "request_too_large"


def test_the_emulator_reads_chunked_requests_too(api: Api) -> None:
    body = json.dumps(question()).encode()
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    pieces = [body[:9], body[9:]]
    link = api.send("GET", "/models")
    link.getresponse().read()
    headers["Authorization"] = f"Bearer {api.secret}"
    path = "/v1/chat/completions"
    link.request("POST", path, iter(pieces), headers, encode_chunked=True)
    assert link.getresponse().status == 200
