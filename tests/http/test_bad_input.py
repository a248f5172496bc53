"""What is wrong with a request is said exactly, and never reaches a provider."""

import json
from typing import Any

import pytest
from pydantic import ValidationError

from kimi_proxy.dialects import openai_request
from kimi_proxy.errors import InvalidRequest
from tests.http import expect
from tests.http.conftest import Build, House

PATH = "/v1/chat/completions"
GOOD: dict[str, Any] = {
    "model": "scripted",
    "messages": [{"role": "user", "content": '[["finish"]]'}],
}


@pytest.fixture
def house(build: Build) -> House:
    return build()


def refuse(
    house: House,
    body: bytes,
    status: int,
    code: str | None = None,
    param: str | None = None,
) -> dict[str, Any]:
    """Post it, expect this refusal, and that no provider heard of it."""
    answer = house.client.post(PATH, data=body, content_type="application/json")
    found = expect.error(answer, status, code, param)
    assert house.diary.words() == []
    return found


def said(**fields: Any) -> dict[str, Any]:
    return {**GOOD, "messages": [{"role": "user", "content": "hi", **fields}]}


def test_the_good_request_of_these_tests_is_good(house: House) -> None:
    assert house.client.post(PATH, json=GOOD).status_code == 200
    assert house.diary.words() == ["opened", "closed"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"model": NaN}',
        b'{"model": 1e400}',
        b'{"model": "\xff\xfe"}',
        b'{"model": "\\ud800"}',
        b'{"model": "\xed\xa0\x80"}',
        b'{"a": 1} {"b": 2}',
        b"[" * 100_000,
        b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b"\x00",
        b"[]",
        b"null",
        b'"text"',
        b"7",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_a_body_that_is_no_json_object(house: House, body: bytes) -> None:
    refuse(house, body, 400)


@pytest.mark.parametrize("depth", [120, 300, 1000])
def test_json_nested_too_deep_to_be_passed_on(house: House, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    body = json.dumps(GOOD)[:-1] + f', "metadata": {nested}}}'
    assert "nested" in refuse(house, body.encode(), 400)["message"]


@pytest.mark.parametrize(
    ("filler", "words"),
    [
        (b"[" + b"[]," * 100_000 + b"[]]", "arrays and fields"),
        (b"[" + b'{"a":1},' * 100_000 + b"{}]", "arrays and fields"),
        (json.dumps(dict.fromkeys(map(str, range(100_000)))).encode(), "fields"),
        (b"[" + b"[]," * 1_000_000 + b"[]]", "brackets"),
    ],
    ids=["arrays", "objects", "fields", "too many to read at all"],
)
def test_json_in_too_many_pieces_to_be_checked(
    house: House, filler: bytes, words: str
) -> None:
    body = json.dumps(GOOD).encode()[:-1] + b', "metadata": ' + filler + b"}"
    assert words in refuse(house, body, 400)["message"]


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [7] * 1000},
        {"messages": [{}] * 1000},
        {"messages": [{"role": "user", "content": [7] * 1000}]},
        {"messages": [{"role": "assistant", "tool_calls": [7] * 1000}]},
        {"stop": [7] * 1000},
        {"tools": [7] * 1000},
        {"functions": [7] * 1000},
        {"modalities": [7] * 1000},
    ],
    ids=["messages", "fields", "content", "calls", "stop", "tools", "functions", "mod"],
)
def test_mistakes_are_not_looked_for_after_the_first(fields: dict[str, Any]) -> None:
    """Half a million of them once took twenty seconds."""
    with pytest.raises(InvalidRequest) as caught:
        openai_request.parse({**GOOD, **fields})
    found = caught.value.__context__
    assert isinstance(found, ValidationError)
    assert found.error_count() <= 3


def test_a_text_may_hold_any_number_of_pieces(house: House) -> None:
    body = {**GOOD, "metadata": '[{"a":' * 200_000}
    assert house.client.post(PATH, json=body).status_code == 200


def test_a_byte_order_mark_is_passed_over(house: House) -> None:
    answer = house.client.post(
        PATH,
        data=b"\xef\xbb\xbf" + json.dumps(GOOD).encode(),
        content_type="application/json",
    )
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "model"),
        ({"messages": GOOD["messages"]}, "model"),
        ({**GOOD, "model": 5}, "model"),
        ({**GOOD, "model": None}, "model"),
        ({**GOOD, "model": ""}, "model"),
        ({**GOOD, "model": ["scripted"]}, "model"),
        ({**GOOD, "model": "x" * 300}, "model"),
        ({"model": "scripted"}, "messages"),
        ({**GOOD, "messages": []}, "messages"),
        ({**GOOD, "messages": None}, "messages"),
        ({**GOOD, "messages": "hi"}, "messages"),
        ({**GOOD, "messages": {"role": "user"}}, "messages"),
        ({**GOOD, "messages": [7]}, "messages[0]"),
        ({**GOOD, "messages": [None]}, "messages[0]"),
        ({**GOOD, "messages": [{"content": "hi"}]}, "messages[0].role"),
        ({**GOOD, "messages": [{"role": "user"}]}, "messages[0].content"),
        (said(role="wizard"), "messages[0].role"),
        (said(role=5), "messages[0].role"),
        (said(content=5), "messages[0].content"),
        (said(content=None), "messages[0].content"),
        (said(content={"text": "hi"}), "messages[0].content"),
        (said(content=["hi"]), "messages[0].content[0]"),
        (said(content=[{"text": "hi"}]), "messages[0].content[0].type"),
        (said(content=[{"type": "text"}]), "messages[0].content[0]"),
        (said(content=[{"type": "text", "text": 5}]), "messages[0].content[0].text"),
        (said(content=""), "messages"),
        (said(content="  \n"), "messages"),
        (said(content=[]), "messages"),
        (said(name=5), "messages[0].name"),
        (said(tool_calls={}), "messages[0].tool_calls"),
        (said(tool_calls=[{}]), "messages[0].tool_calls[0].function"),
        (said(tool_call_id=5), "messages[0].tool_call_id"),
        ({**GOOD, "stream": "true"}, "stream"),
        ({**GOOD, "stream": 1}, "stream"),
        ({**GOOD, "stream_options": []}, "stream_options"),
        (
            {**GOOD, "stream_options": {"include_usage": "yes"}},
            "stream_options.include_usage",
        ),
        ({**GOOD, "temperature": "warm"}, "temperature"),
        ({**GOOD, "temperature": 2.1}, "temperature"),
        ({**GOOD, "temperature": True}, "temperature"),
        ({**GOOD, "top_p": -0.1}, "top_p"),
        ({**GOOD, "max_tokens": 0}, "max_tokens"),
        ({**GOOD, "max_tokens": 1.5}, "max_tokens"),
        ({**GOOD, "max_tokens": 2**70}, "max_tokens"),
        ({**GOOD, "max_completion_tokens": "9"}, "max_completion_tokens"),
        ({**GOOD, "stop": 5}, "stop"),
        ({**GOOD, "stop": [5]}, "stop[0]"),
        ({**GOOD, "presence_penalty": 3}, "presence_penalty"),
        ({**GOOD, "frequency_penalty": -3}, "frequency_penalty"),
        ({**GOOD, "seed": "x"}, "seed"),
        ({**GOOD, "logit_bias": []}, "logit_bias"),
        ({**GOOD, "logprobs": "no"}, "logprobs"),
        ({**GOOD, "top_logprobs": 21}, "top_logprobs"),
        ({**GOOD, "verbosity": 5}, "verbosity"),
        ({**GOOD, "n": 0}, "n"),
        ({**GOOD, "n": "one"}, "n"),
        ({**GOOD, "user": 5}, "user"),
        ({**GOOD, "tools": {}}, "tools"),
        ({**GOOD, "tools": ["hammer"]}, "tools[0]"),
        ({**GOOD, "functions": "f"}, "functions"),
        ({**GOOD, "tool_choice": 5}, "tool_choice"),
        ({**GOOD, "response_format": "json"}, "response_format"),
        ({**GOOD, "response_format": {}}, "response_format.type"),
        ({**GOOD, "modalities": "text"}, "modalities"),
        ({**GOOD, "reasoning_effort": 5}, "reasoning_effort"),
        ({**GOOD, "use_search": "yes"}, "use_search"),
        ({**GOOD, "web_search_options": True}, "web_search_options"),
        ({**GOOD, "conversation_id": 5}, "conversation_id"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_wrong_field_is_named(house: House, body: dict[str, Any], param: str) -> None:
    found = refuse(house, json.dumps(body).encode(), 400, param=param)
    assert found["type"] == "invalid_request_error"
    assert "pydantic" not in found["message"]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({**GOOD, "n": 9}, "n"),
        ({**GOOD, "tools": [{"type": "custom"}]}, "tools[0].type"),
        ({**GOOD, "functions": [{"name": "f"}]}, "functions"),
        ({**GOOD, "response_format": {"type": "grammar"}}, "response_format.type"),
        ({**GOOD, "modalities": ["text", "audio"]}, "modalities"),
        ({**GOOD, "conversation_id": "c1"}, "conversation_id"),
        ({**GOOD, "reasoning_effort": "huge"}, "reasoning_effort"),
        ({**GOOD, "thinking": {"type": "vast"}}, "thinking.type"),
        (said(tool_calls=[{"type": "custom"}]), "messages[0].tool_calls[0]"),
        (said(content=[{"type": "input_audio"}]), "messages[0].content[0]"),
        (said(content=[{"type": "x" * 9000}]), "messages[0].content[0]"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_cannot_be_done_is_refused_not_passed_over(
    house: House, body: dict[str, Any], param: str
) -> None:
    raw = json.dumps(body).encode()
    found = refuse(house, raw, 400, code="unsupported_parameter", param=param)
    assert len(found["message"]) < 500


@pytest.mark.parametrize(
    "field",
    [
        "stream",
        "stream_options",
        "temperature",
        "top_p",
        "max_tokens",
        "stop",
        "n",
        "user",
        "tools",
        "tool_choice",
        "response_format",
        "reasoning_effort",
        "conversation_id",
    ],
)
def test_null_means_not_given(house: House, field: str) -> None:
    assert house.client.post(PATH, json={**GOOD, field: None}).status_code == 200


def test_unknown_fields_are_passed_over(house: House) -> None:
    body = {**GOOD, "store": True, "metadata": {"a": ["b"]}, "safety_identifier": "x"}
    assert house.client.post(PATH, json=body).status_code == 200


def test_a_message_never_quotes_a_whole_body(house: House) -> None:
    long = "w" * 100_000
    for body in (
        {**GOOD, "logit_bias": {long: "x"}},
        {**GOOD, "reasoning_effort": long},
        said(content=[{"type": long}]),
    ):
        answer = house.client.post(PATH, json=body)
        assert answer.status_code == 400
        assert len(answer.data) < 2000


@pytest.mark.parametrize(
    "name", ["nobody", "scripted/nobody", "nobody/play", "/", "scripted/", "双\n\x00"]
)
def test_an_unknown_model(house: House, name: str) -> None:
    body = json.dumps({**GOOD, "model": name}).encode()
    refuse(house, body, 404, code="model_not_found", param="model")


@pytest.mark.parametrize(
    "kind",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "a/b;c"],
)
def test_a_wrong_content_type(house: House, kind: str) -> None:
    answer = house.client.post(PATH, data=json.dumps(GOOD), content_type=kind)
    found = expect.error(answer, 415, "unsupported_media_type")
    assert "application/json" in found["message"]
    assert house.diary.words() == []


def test_a_compressed_body(house: House) -> None:
    answer = house.client.post(
        PATH,
        data=b"\x1f\x8b",
        content_type="application/json",
        headers={"Content-Encoding": "gzip"},
    )
    expect.error(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "kind", ["application/json; charset=utf-8", "application/vnd.x+json", None]
)
def test_json_by_any_name(house: House, kind: str | None) -> None:
    answer = house.client.post(PATH, data=json.dumps(GOOD), content_type=kind)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", PATH, {"GET", "HEAD", "OPTIONS", "POST"}),
        ("PATCH", "/v1/files", {"GET", "HEAD", "OPTIONS", "POST"}),
        ("DELETE", "/v1/models", {"GET", "HEAD", "OPTIONS"}),
        ("POST", "/v1/models/echo", {"GET", "HEAD", "OPTIONS"}),
        ("GET", "/token/check", {"OPTIONS", "POST"}),
        ("POST", "/healthz", {"GET", "HEAD", "OPTIONS"}),
        ("PROPFIND", "/readyz", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_a_wrong_method(
    house: House, method: str, path: str, allowed: set[str]
) -> None:
    answer = house.client.open(path, method=method)
    found = expect.error(answer, 405, "method_not_allowed")
    assert set(answer.headers["allow"].split(", ")) == allowed
    assert all(name in found["message"] for name in allowed - {"HEAD", "OPTIONS"})


@pytest.mark.parametrize(
    "path", ["/nowhere", "/v1", "/v1/", "/v1/chat", "/v1//models", "/%ff%00", "/é"]
)
def test_an_unknown_path(house: House, path: str) -> None:
    for method in ("GET", "POST", "BREW"):
        answer = house.client.open(path, method=method)
        expect.error(answer, 404, "not_found")
