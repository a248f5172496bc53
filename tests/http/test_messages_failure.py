"""Every error of the tree in the Messages dialect, before the first byte and after."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kimi_proxy import errors
from kimi_proxy.dialects.anthropic_errors import error_body, type_of
from kimi_proxy.errors import GatewayError
from tests.http import messages_grammar as grammar
from tests.http.conftest import Build, House
from tests.http.scripted import Step
from tests.http.test_failure import AT_ONCE, TREE

# Of a client that has left nobody is told, once its answer has begun.
TOLD = [error for error in AT_ONCE if error is not errors.ClientGone]
# What each status means to Anthropic's own client (facts §3.6).
STATUSES = {
    "invalid_request_error": {400, 405, 415, 499},
    "authentication_error": {401},
    "permission_error": {403},
    "not_found_error": {404},
    "conflict_error": {409},
    "request_too_large": {413},
    "rate_limit_error": {429},
    "timeout_error": {408, 504},
    "api_error": {500, 501, 503},
    "overloaded_error": {503},
}


@pytest.fixture
def made(build: Build) -> House:
    return build()


def post(made: House, *steps: Step, stream: bool) -> Any:
    body = {
        "model": "scripted/play",
        "max_tokens": 1000,
        "stream": stream,
        "messages": [{"role": "user", "content": json.dumps(steps)}],
    }
    return made.client.post("/v1/messages", json=body)


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_type_and_status_agree(error: type[GatewayError]) -> None:
    kind = type_of(error("a"))
    assert error.status in STATUSES[kind]
    assert (kind == "overloaded_error") == (error.type == "overloaded_error")
    body = error_body(error("what happened", param="a.b"), "req_1")
    grammar.check_error(body)
    assert body["error"]["message"].endswith("a.b: what happened")
    assert body["error"].get("details", {}).get("error_code") == error.code


@pytest.mark.parametrize("error", AT_ONCE, ids=lambda error: error.__name__)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_failure_before_the_answer_has_its_status(
    made: House, error: type[GatewayError], stream: bool
) -> None:
    facts = {"retry_after": 7.5}
    answer = post(made, ["raise", error.__name__, facts], stream=stream)
    assert answer.headers["retry-after"] == "8"
    value = answer.get_json()
    grammar.check_error(value)
    assert answer.status_code == error.status
    assert value["error"]["type"] == type_of(error("a"))
    assert value["request_id"] == answer.headers["request-id"]


@pytest.mark.parametrize("error", TOLD, ids=lambda error: error.__name__)
def test_a_failure_within_the_answer_is_an_event(
    made: House, error: type[GatewayError]
) -> None:
    answer = post(made, ["text", "a"], ["raise", error.__name__], stream=True)
    stream = grammar.read(answer.data)
    assert stream.text == "a" and not stream.done
    assert stream.error is not None
    assert stream.error["type"] == type_of(error("a"))
    frame = answer.data.decode().split("\n\n")[-2]
    assert answer.headers["request-id"] in frame


def test_a_prompt_that_is_too_long_is_known_by_its_words() -> None:
    told = error_body(errors.ContextTooLong("9 of 8 tokens"), "r")["error"]
    assert told["message"] == "prompt is too long: 9 of 8 tokens"
