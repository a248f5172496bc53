"""POST /v1/messages and count_tokens, at a gateway within this process."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from kimi_proxy.shaping import tokens
from tests.http import messages_grammar as grammar
from tests.http.conftest import BEARER, KEY, PICKY, SHARED, House, house
from tests.http.scripted import Step

PATH = "/v1/messages"
CONFIG = {
    **SHARED,
    "server": {"max_body": "64KiB", "route_prefix": "/deep"},
    "models": {
        "claude-*": {"route": ["scripted/play"]},
        "fixed": {"route": ["scripted/play"]},
    },
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    directory: Path = tmp_path_factory.mktemp("messages")
    with house(directory, CONFIG) as built:
        yield built


def body(*steps: Step, **fields: Any) -> dict[str, Any]:
    said = json.dumps(list(steps)) if steps else "hello there"
    return {
        "model": "claude-sonnet-9",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": said}],
        **fields,
    }


def post(made: House, sent: Any, path: str = PATH, **headers: str) -> TestResponse:
    given = {"x-api-key": KEY, "anthropic-version": "2023-06-01", **headers}
    return made.client.post(f"/deep{path}", json=sent, headers=given)


def whole(made: House, *steps: Step, **fields: Any) -> dict[str, Any]:
    answer = post(made, body(*steps, **fields))
    assert answer.status_code == 200, answer.data
    message: dict[str, Any] = answer.get_json()
    grammar.check_message(message)
    return message


def streamed(made: House, *steps: Step, **fields: Any) -> grammar.Stream:
    answer = post(made, body(*steps, **fields, stream=True))
    assert answer.status_code == 200, answer.data
    assert answer.mimetype == "text/event-stream"
    return grammar.read(answer.data)


CALL: list[Step] = [
    ["call", 0, "call-1", "get_weather", ""],
    ["call", 0, None, None, '{"city": "Oslo"}'],
]
ALL: list[Step] = [
    ["think", "Hm."],
    ["text", "Look: "],
    ["cite", "https://a.example", "A"],
    *CALL,
    ["finish", "tool_calls"],
]


def test_an_answer_has_blocks(made: House) -> None:
    message = whole(made, *ALL, thinking={"type": "adaptive"})
    thought, said, called = message["content"]
    assert (thought["type"], thought["thinking"]) == ("thinking", "Hm.")
    assert thought["signature"]
    assert (said["text"], called["input"]) == ("Look: ", {"city": "Oslo"})
    assert [c["url"] for c in said["citations"]] == ["https://a.example"]
    assert (called["id"], called["name"]) == ("call-1", "get_weather")
    assert (message["model"], message["stop_reason"]) == ("claude-sonnet-9", "tool_use")
    assert message["usage"]["estimated"] is True


def test_a_stream_says_the_same(made: House) -> None:
    stream = streamed(made, *ALL, thinking={"type": "adaptive"})
    assert [b["type"] for b in stream.blocks] == ["thinking", "text", "tool_use"]
    assert (stream.thinking, stream.text) == ("Hm.", "Look: ")
    assert stream.calls == [("get_weather", '{"city": "Oslo"}')]
    assert (stream.citations, stream.reason) == (["https://a.example"], "tool_use")


def test_thinking_is_for_those_who_ask(made: House) -> None:
    steps: list[Step] = [["think", "Hm."], ["text", "a"], ["finish"]]
    assert streamed(made, *steps).thinking == ""
    assert [b["type"] for b in whole(made, *steps)["content"]] == ["text"]


def test_a_stream_begins_with_the_prompt_counted_and_ends_with_the_truth(
    made: House,
) -> None:
    prompt = json.dumps([["text", "a b"], ["finish"]])
    estimate = tokens.count(prompt) + 4
    stream = streamed(made, ["text", "a b"], ["finish"])
    assert stream.message is not None and stream.usage is not None
    first = stream.message["usage"]
    assert (first["input_tokens"], first["estimated"]) == (estimate, True)
    assert stream.usage["input_tokens"] == estimate
    assert stream.usage["output_tokens"] == tokens.count("a b")
    own = streamed(made, ["text", "a"], ["usage", 70, 5, 0, 60], ["finish"]).usage
    assert own is not None and "estimated" not in own
    assert (own["input_tokens"], own["cache_read_input_tokens"]) == (10, 60)


@pytest.mark.parametrize(
    ("steps", "fields", "reason", "matched"),
    [
        ([["text", "a END b"], ["finish"]], {}, "end_turn", None),
        (
            [["text", "a END b"], ["finish"]],
            {"stop_sequences": ["STOP", "END"]},
            "stop_sequence",
            "END",
        ),
        (
            [["text", "one two three four"], ["finish"]],
            {"max_tokens": 2},
            "max_tokens",
            None,
        ),
        ([["text", "a"], ["finish", "length"]], {}, "max_tokens", None),
        ([["text", "a"], ["finish", "content_filter"]], {}, "refusal", None),
    ],
)
def test_why_it_ended(
    made: House, steps: list[Step], fields: Any, reason: str, matched: str | None
) -> None:
    message, stream = whole(made, *steps, **fields), streamed(made, *steps, **fields)
    assert (message["stop_reason"], message["stop_sequence"]) == (reason, matched)
    assert stream.end is not None
    assert stream.end["delta"] == {"stop_reason": reason, "stop_sequence": matched}
    assert stream.text == message["content"][0]["text"]


def test_silence_is_filled_with_pings(made: House) -> None:
    late = streamed(made, ["wait", 0.8], ["text", "a"], ["wait", 0.5], ["finish"])
    assert late.pings >= 2 and late.text == "a"


def test_headers(made: House) -> None:
    answer = post(made, body(["text", "a"], ["finish"], stop_sequences=["x"], top_k=3))
    assert answer.headers["request-id"] == answer.headers["x-request-id"]
    assert answer.headers["x-kimi-proxy-route"] == "scripted/play"
    assert answer.headers["x-kimi-proxy-ignored"] == "top_k"
    assert answer.headers["x-kimi-proxy-emulated"] == "stop, max_tokens"


def test_either_header_has_the_key_and_others_are_passed_over(made: House) -> None:
    sent = body(["text", "a"], ["finish"])
    extra = {"anthropic-beta": "a-2025,b-2026", "x-stainless-helper": "x"}
    by_bearer = made.client.post(
        f"/deep{PATH}?beta=true", json=sent, headers={**BEARER, **extra}
    )
    assert by_bearer.status_code == 200
    assert post(made, sent, **extra).status_code == 200


def error(
    answer: TestResponse, status: int, kind: str, code: str | None = None
) -> dict[str, Any]:
    assert answer.status_code == status, answer.data
    assert answer.mimetype == "application/json"
    value = answer.get_json()
    grammar.check_error(value)
    assert value["request_id"] == answer.headers["request-id"]
    found: dict[str, Any] = value["error"]
    assert found["type"] == kind
    if code is not None:
        assert found["details"]["error_code"] == code
    return found


def test_whatever_is_refused_is_refused_in_this_dialect(made: House) -> None:
    good = body()
    invalid = "invalid_request_error"
    stranger = made.client.post(f"/deep{PATH}", json=good)
    error(stranger, 401, "authentication_error", "invalid_api_key")
    wrong = post(made, good, **{"x-api-key": "kp-wrong"})
    error(wrong, 401, "authentication_error")
    error(post(made, {**good, "model": "nobody"}), 404, "not_found_error")
    error(post(made, good, "/v1/messages/batches"), 404, "not_found_error")
    got = made.client.get(f"/deep{PATH}", headers=BEARER)
    error(got, 405, invalid, "method_not_allowed")
    assert got.headers["allow"]
    error(post(made, body(x="x" * 70_000)), 413, "request_too_large")
    broken = made.client.post(f"/deep{PATH}", data=b"{", headers=BEARER)
    error(broken, 400, invalid)
    told = error(post(made, {**good, "max_tokens": None}), 400, invalid)
    assert told["message"] == "max_tokens: Field required"
    typed = made.client.post(
        f"/deep{PATH}", data=b"<a/>", content_type="text/xml", headers=BEARER
    )
    error(typed, 415, invalid)
    picky = post(made, good, **{"x-api-key": PICKY})
    error(picky, 403, "permission_error", "forbidden")


def test_other_paths_speak_as_they_did(made: House) -> None:
    other = made.client.get("/deep/v1/messages-of-mine", headers=BEARER)
    assert "request_id" not in other.get_json()
    chat = made.client.post("/deep/v1/chat/completions", json={}, headers=BEARER)
    assert set(chat.get_json()["error"]) == {"message", "type", "param", "code"}


def test_a_conversation_that_nobody_keeps_is_refused(made: House) -> None:
    sent = body(conversation_id="none")
    error(post(made, sent), 400, "invalid_request_error")
    beside = post(made, body(), **{"x-conversation-id": "c-1"})
    assert "conversation" in error(beside, 400, "invalid_request_error")["message"]


def test_tokens_are_counted_by_estimate(made: House) -> None:
    counted = f"{PATH}/count_tokens"
    sent = {"model": "claude-haiku-9", "messages": body()["messages"]}
    answer = post(made, sent, counted)
    assert answer.get_json() == {"input_tokens": tokens.count("hello there") + 4}
    assert answer.headers["x-kimi-proxy-estimated"] == "input_tokens"
    schema = {"type": "object", "properties": {}}
    tools = [{"name": "look", "description": "Look.", "input_schema": schema}]
    more = post(made, {**sent, "system": "Be brief.", "tools": tools}, counted)
    assert more.get_json()["input_tokens"] > answer.get_json()["input_tokens"] + 4
    error(post(made, {**sent, "model": "nobody"}, counted), 404, "not_found_error")
    picky = post(made, sent, counted, **{"x-api-key": PICKY})
    error(picky, 403, "permission_error")
    error(made.client.post(f"/deep{counted}", json=sent), 401, "authentication_error")
    error(post(made, {"model": "fixed"}, counted), 400, "invalid_request_error")


def test_models_are_listed_in_both_dialects(made: House) -> None:
    versioned = {**BEARER, "anthropic-version": "2023-06-01"}
    page = made.client.get("/deep/v1/models?limit=2", headers=versioned).get_json()
    plain = made.client.get("/deep/v1/models", headers=BEARER).get_json()
    ids = [model["id"] for model in page["data"]]
    assert ids == [model["id"] for model in plain["data"]]
    assert (page["first_id"], page["last_id"]) == (ids[0], ids[-1])
    assert page["has_more"] is False
    one = made.client.get("/deep/v1/models/scripted/play", headers=versioned)
    (listed,) = [m for m in page["data"] if m["id"] == "scripted/play"]
    assert one.get_json() == listed
    assert listed["type"] == "model" and listed["display_name"] == "Play"
    assert listed["created_at"].endswith("Z")
    assert (listed["max_input_tokens"], listed["max_tokens"]) == (8192, None)
    none = made.client.get("/deep/v1/models/nobody", headers=versioned)
    error(none, 404, "not_found_error", "model_not_found")
    assert made.client.get("/deep/v1/models/nobody", headers=BEARER).get_json()[
        "error"
    ]["param"]
