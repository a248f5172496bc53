"""Parameters for an OpenAI-compatible upstream: it gets them all, as they were sent."""

import json
from typing import Any

import pytest
from flask import Flask, request

from tests.http import grammar
from tests.http.conftest import Build, House, Serve
from tests.http.test_parameters import NEUTRAL, SAMPLING, STOOD_IN, ask_plainly


class Upstream:
    """An OpenAI-compatible upstream that keeps what it was asked."""

    def __init__(self) -> None:
        self.bodies: list[Any] = []
        self.app = Flask("upstream")
        self.app.add_url_rule(
            "/v1/chat/completions", view_func=self._answer, methods=["POST"]
        )

    def _answer(self) -> Any:
        self.bodies.append(request.get_json())
        usage = {
            "prompt_tokens": 5,
            "completion_tokens": 6,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        }
        said = {"role": "assistant", "content": "END, not JSON, and longer than that"}
        head = {"id": "c1", "created": 1, "model": "m"}
        if not self.bodies[-1]["stream"]:
            numbers = range(self.bodies[-1].get("n", 1))
            choices = [
                {"index": n, "message": said, "finish_reason": "stop"} for n in numbers
            ]
            return {**head, "choices": choices, "usage": usage}
        head["object"] = "chat.completion.chunk"
        opening, content = {**said, "content": ""}, {"content": said["content"]}
        chunks: tuple[Any, ...] = (
            {"choices": [{"index": 0, "delta": opening, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": content, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": usage},
        )
        chunks = tuple({**head, **chunk} for chunk in chunks)
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        body = "".join([*lines, "data: [DONE]\n\n"])
        return self.app.response_class(body, mimetype="text/event-stream")


def compatible(build: Build, serve: Serve, strict: bool) -> tuple[House, Upstream]:
    upstream = Upstream()
    provider = {
        "type": "openai",
        "base_url": f"http://127.0.0.1:{serve(upstream.app)}/v1",
        "tokens": [{"name": "a", "token": "sk-made-up-key"}],
        "strict_params": strict,
    }
    return build(providers={"other": provider}), upstream


@pytest.mark.parametrize("stream", [True, False])
def test_a_compatible_upstream_gets_every_field_and_nothing_is_emulated(
    build: Build, serve: Serve, stream: bool
) -> None:
    house, upstream = compatible(build, serve, strict=False)
    fields = {**SAMPLING, **STOOD_IN, "parallel_tool_calls": False, "own": {"x": 1}}
    answer = ask_plainly(house, "other/m", stream=stream, **fields)
    assert answer.status_code == 200
    assert "x-kimi-proxy-emulated" not in answer.headers
    assert "x-kimi-proxy-ignored" not in answer.headers
    (body,) = upstream.bodies
    for name, value in fields.items():
        assert body[name] == value, name
    if stream:
        text = grammar.read(answer.data).text
    else:
        document = answer.get_json()
        text = document["choices"][0]["message"]["content"]
        assert document["usage"] == {
            "prompt_tokens": 5,
            "completion_tokens": 6,
            "total_tokens": 11,
            "prompt_tokens_details": {"cached_tokens": 4},
            "completion_tokens_details": {"reasoning_tokens": 3},
        }
    assert text == "END, not JSON, and longer than that"


def test_a_compatible_upstreams_own_counts_end_the_stream(
    build: Build, serve: Serve
) -> None:
    house, _ = compatible(build, serve, strict=True)
    options = {"include_usage": True}
    answer = ask_plainly(house, "other/m", stream=True, stream_options=options)
    *_, last, done, _ = answer.data.split(b"\n\n")
    assert done == b"data: [DONE]"
    usage = json.loads(last.removeprefix(b"data: "))["usage"]
    assert (usage["total_tokens"], usage.get("estimated")) == (11, None)


def test_a_schema_is_the_compatible_upstreams_to_judge(
    build: Build, serve: Serve
) -> None:
    house, upstream = compatible(build, serve, strict=False)
    odd = {"type": "json_schema", "json_schema": {"schema": {"type": "nothing"}}}
    answer = ask_plainly(house, "other/m", response_format=odd)
    assert answer.status_code == 200
    assert upstream.bodies[0]["response_format"] == odd


def test_choices_of_a_compatible_upstream_are_asked_for_at_once_if_they_can_be(
    build: Build, serve: Serve
) -> None:
    house, upstream = compatible(build, serve, strict=False)
    document = ask_plainly(house, "other/m", n=3).get_json()
    assert len(document["choices"]) == upstream.bodies[0]["n"] == 3
    assert len(upstream.bodies) == 1
    answer = ask_plainly(house, "other/m", n=3, include_reasoning=False)
    assert len(answer.get_json()["choices"]) == len(upstream.bodies[1:]) == 3
    assert answer.get_json()["usage"]["total_tokens"] == 33
    assert all("n" not in body for body in upstream.bodies[1:])


def test_values_that_ask_for_nothing_go_up_as_well(build: Build, serve: Serve) -> None:
    house, upstream = compatible(build, serve, strict=True)
    assert ask_plainly(house, "other/m", **NEUTRAL).status_code == 200
    assert {name: upstream.bodies[0][name] for name in NEUTRAL} == NEUTRAL


def test_a_strict_compatible_upstream_takes_them_all(
    build: Build, serve: Serve
) -> None:
    house, upstream = compatible(build, serve, strict=True)
    assert ask_plainly(house, "other/m", **SAMPLING, **STOOD_IN).status_code == 200
    assert len(upstream.bodies) == 1
