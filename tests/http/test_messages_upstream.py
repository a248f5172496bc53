"""Messages before OpenAI-compatible upstreams: what goes up, and what comes of it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.moonshot import MoonshotEmulator
from emulators.openai import Answer, Choice, OpenAIEmulator, ToolCall, in_turn
from tests.http import messages_grammar as grammar
from tests.http.moonshot_house import before, sent
from tests.http.openai_house import House, house, upstream

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
).decode()
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [
    {"name": "weather", "description": "Now.", "input_schema": SCHEMA},
    {"name": "clock", "input_schema": {"type": "object", "properties": {}}},
]
BOTH = (ToolCall("weather", '{"city": "Oslo"}'), ToolCall("clock", "{}"))


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: OpenAIEmulator, tmp_path: Path) -> Iterator[House]:
    section = upstream(emulator.base_url, {"k": emulator.add_key("k")})
    models = {"claude-*": {"route": ["up/gpt-4o"]}}
    with house(tmp_path, {"up": section}, models=models) as gateway:
        yield gateway


def ask(gateway: House, *turns: Any, model: str = "claude-x", **fields: Any) -> Any:
    """The whole answer, or the stream that obeyed the grammar."""
    messages = list(turns) or [{"role": "user", "content": "hello"}]
    body = {"model": model, "max_tokens": 999, "messages": messages, **fields}
    answer = gateway.app.test_client().post("/v1/messages", json=body)
    assert answer.status_code == 200, answer.data
    if fields.get("stream"):
        return grammar.read(answer.data)
    message = answer.get_json()
    grammar.check_message(message)
    return message


def bodies(emulator: Any) -> list[Any]:
    return [e.body for e in emulator.log.all() if e.path.endswith("/chat/completions")]


def test_everything_goes_up_in_openais_words(
    gateway: House, emulator: OpenAIEmulator
) -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    turn = [{"type": "image", "source": source}, {"type": "text", "text": "hello"}]
    message = ask(
        gateway,
        {"role": "user", "content": turn},
        system=[{"type": "text", "text": "Be brief."}],
        tools=TOOLS,
        tool_choice={"type": "auto", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        temperature=0.5,
        metadata={"user_id": "u-1"},
        output_config={"format": {"type": "json_schema", "schema": SCHEMA}},
    )
    assert message["stop_reason"] == "end_turn"
    assert message["usage"]["input_tokens"] > 0
    assert "estimated" not in message["usage"]
    (body,) = bodies(emulator)
    directions, asked = body["messages"]
    assert directions == {"role": "system", "content": "Be brief."}
    text, image = asked["content"]
    assert text == {"type": "text", "text": "hello"}
    assert image["image_url"]["url"] == f"data:image/png;base64,{PNG}"
    assert [t["function"]["name"] for t in body["tools"]] == ["weather", "clock"]
    assert body["tools"][0]["function"]["parameters"] == SCHEMA
    assert body["parallel_tool_calls"] is False
    assert (body["stop"], body["temperature"], body["user"]) == (["END"], 0.5, "u-1")
    assert body["max_tokens"] == 999
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert emulator.violations() == []


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("mixed", [False, True])
def test_calls_made_side_by_side_come_one_after_the_other(
    gateway: House, emulator: OpenAIEmulator, stream: bool, mixed: bool
) -> None:
    emulator.answer = Answer(Choice("I look.", tools=BOTH, parallel=mixed))
    found = ask(gateway, tools=TOOLS, stream=stream)
    if stream:
        assert found.text == "I look."
        assert [(n, json.loads(i)) for n, i in found.calls] == [
            ("weather", {"city": "Oslo"}),
            ("clock", {}),
        ]
        assert found.reason == "tool_use"
        assert "estimated" not in found.usage
        return
    said, *calls = found["content"]
    assert said["text"] == "I look."
    assert [c["input"] for c in calls] == [{"city": "Oslo"}, {}]


def test_results_go_back_to_their_calls(
    gateway: House, emulator: OpenAIEmulator
) -> None:
    emulator.answer = in_turn(
        Answer(Choice(tools=BOTH)), Answer(Choice("It is sunny."))
    )
    question = {"role": "user", "content": "weather?"}
    first = ask(gateway, question, tools=TOOLS)
    results: list[Any] = [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}
        for call in first["content"]
    ]
    results[1]["is_error"] = True
    last = ask(
        gateway,
        question,
        {"role": "assistant", "content": first["content"]},
        {"role": "user", "content": [*results, {"type": "text", "text": "So?"}]},
        tools=TOOLS,
    )
    assert last["content"][0]["text"] == "It is sunny."
    _, body = bodies(emulator)
    _, said, sunny, failed, asked = body["messages"]
    ids = [call["id"] for call in said["tool_calls"]]
    assert [sunny["tool_call_id"], failed["tool_call_id"]] == ids
    assert sunny["content"] == "sunny" and "error" in failed["content"]
    assert asked == {"role": "user", "content": "So?"}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("stop", "end_turn"),
        ("length", "max_tokens"),
        ("content_filter", "refusal"),
    ],
)
def test_why_it_ended(
    gateway: House, emulator: OpenAIEmulator, told: str, meant: str
) -> None:
    emulator.answer = Answer(Choice("a", finish_reason=told))
    assert ask(gateway)["stop_reason"] == meant
    assert ask(gateway, stream=True).reason == meant


@pytest.mark.parametrize("model", ["kimi-k3", "kimi-k2.6"])
@pytest.mark.parametrize("stream", [False, True])
def test_thinking_goes_round_with_moonshot(
    tmp_path: Path, model: str, stream: bool
) -> None:
    """A model that thinks wants the thinking back that led to its calls."""
    with MoonshotEmulator() as emulator, before(emulator, tmp_path) as gateway:
        calling = Choice(reasoning="It asks.", tools=BOTH)
        emulator.answer = in_turn(Answer(calling), Answer(Choice("It is sunny.")))
        fields: dict[str, Any] = {"model": f"m/{model}", "tools": TOOLS}
        fields |= {"thinking": {"type": "enabled", "budget_tokens": 4000}}
        fields |= {"temperature": 1, "stream": stream}
        question = {"role": "user", "content": "weather?"}
        first = ask(gateway, question, **fields)
        content = first.blocks if stream else first["content"]
        thought, *calls = content
        assert (thought["type"], thought["thinking"]) == ("thinking", "It asks.")
        if stream:
            calls = [{**call, "input": json.loads(call["input"])} for call in calls]
        results = [
            {"type": "tool_result", "tool_use_id": call["id"], "content": "sunny"}
            for call in calls
        ]
        answer = {"role": "assistant", "content": [thought, *calls]}
        back = {"role": "user", "content": results}
        last = ask(gateway, question, answer, back, **fields)
        text = last.text if stream else last["content"][-1]["text"]
        assert text == "It is sunny."
        *_, body = sent(emulator)
        assert body["messages"][1]["reasoning_content"] == "It asks."
