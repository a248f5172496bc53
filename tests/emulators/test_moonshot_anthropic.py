"""Moonshot's models in Anthropic's dialect, as its own sheet has it (§1, §4)."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.moonshot import MoonshotEmulator
from emulators.openai import Answer, Choice, Recording, Refusal, ToolCall
from tests.emulators.openai_client import Api, Reply

HI = {
    "model": "kimi-k2.6",
    "max_tokens": 1000,
    "messages": [{"role": "user", "content": "x"}],
}


@pytest.fixture
def emulator() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator(prefix="") as running:
        running.add_key("alice")
        tools = (ToolCall("fun", '{"a": 1}', id="t1"),)
        running.answer = Answer(
            Choice("Hello there", reasoning="hm hm hm", tools=tools)
        )
        yield running


@pytest.fixture
def api(emulator: MoonshotEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def post(api: Api, **fields: Any) -> Reply:
    return api.call("POST", "/anthropic/v1/messages", {**HI, **fields})


def test_an_answer_has_its_blocks_in_order(api: Api) -> None:
    message = post(api).json()
    assert message["type"] == "message" and message["stop_reason"] == "tool_use"
    thought, text, call = message["content"]
    assert thought["thinking"] == "hm hm hm" and text["text"] == "Hello there"
    assert call == {"type": "tool_use", "id": "t1", "name": "fun", "input": {"a": 1}}
    assert message["usage"]["output_tokens"] > 0


def test_a_stream_names_its_events_and_joins_to_the_answer(api: Api) -> None:
    reply = post(api, stream=True)
    kinds = [event["type"] for event in reply.events]
    assert kinds[0] == "message_start" and kinds[-1] == "message_stop"
    assert kinds[-2] == "message_delta" and b"[DONE]" not in reply.body
    for event in reply.events:
        assert f"event: {event['type']}\n".encode() in reply.body
    deltas = [e["delta"] for e in reply.events if e["type"] == "content_block_delta"]
    assert "".join(d.get("thinking", "") for d in deltas) == "hm hm hm"
    assert "".join(d.get("text", "") for d in deltas) == "Hello there"
    arguments = "".join(d.get("partial_json", "") for d in deltas)
    assert json.loads(arguments) == {"a": 1}
    assert reply.events[-2]["delta"]["stop_reason"] == "tool_use"
    starts = [e["index"] for e in reply.events if e["type"] == "content_block_start"]
    assert starts == [0, 1, 2]


def test_limits_end_an_answer(emulator: MoonshotEmulator, api: Api) -> None:
    emulator.answer = Answer("abcdefgh")
    assert post(api, max_tokens=1).json()["stop_reason"] == "max_tokens"
    message = post(api, stop_sequences=["ef"]).json()
    assert message["content"][0]["text"] == "abcd"


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"max_tokens": None}, 400),
        ({"messages": []}, 400),
        ({"messages": [{"role": "system", "content": "x"}]}, 400),
        ({"stop_sequences": list("abcdef")}, 400),
        ({"tool_choice": {"type": "tool", "name": "f"}}, 400),
        ({"model": "claude-x"}, 404),
    ],
)
def test_wrong_requests_are_refused_in_the_dialect(
    api: Api, fields: dict[str, Any], status: int
) -> None:
    reply = post(api, **fields)
    assert reply.status == status and reply.json()["type"] == "error"
    assert reply.error["type"] and reply.error["message"]


def test_refusals_of_the_door_and_the_script_are_in_the_dialect(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.set_key("alice", state="no_balance")
    reply = post(api)
    assert reply.status == 429 and reply.json()["type"] == "error"
    assert reply.error["type"] == "exceeded_current_quota_error"
    emulator.set_key("alice", state="ok")
    emulator.set_key("alice", max_parallel=0)
    assert "max concurrency" in post(api).error["message"]
    emulator.set_key("alice", max_parallel=None)
    emulator.answer = Refusal(502, text="<html>", content_type="text/html")
    assert post(api).body == b"<html>"
    emulator.answer = Recording(b"event: odd\n\n")
    assert post(api).body == b"event: odd\n\n"


def test_a_stream_may_be_broken_here_too(emulator: MoonshotEmulator, api: Api) -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "x"}}
    emulator.faults.add("error_chunk", at=1, body=error, event="error")
    reply = post(api, stream=True)
    assert reply.events[-1] == error and b"message_stop" not in reply.body
