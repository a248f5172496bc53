"""Ten steps of a coding agent in the manner of Claude Code, on a Kimi web account.

Messages, streamed, with `count_tokens` before each request, tools that are called in
parallel, errors and a picture in their results; by the unmodified anthropic client and,
every other step, byte by byte against the grammar.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anthropic
import pytest

from emulators.kimi_connect import Answer
from emulators.kimi_legacy import Answer as LegacyAnswer
from tests.chaos.agent_model import DONE, FAILING, STEPS, AgentModel
from tests.chaos.conftest import Emulator, OpenHouse
from tests.chaos.gateway import KEY
from tests.chaos.house import Plan
from tests.chaos.waiting import eventually
from tests.http import messages_grammar as grammar

PNG = base64.b64encode(
    b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\1\0\0\0\1\x08\6\0\0\0\x1f\x15\xc4\x89"
).decode()
FORMS: dict[str, Any] = {"connect": Answer, "legacy": LegacyAnswer}
MODELS = {"connect": "k2d6-chat", "legacy": "kimi"}
DESKS = ("connect-stateless", "connect-auto", "legacy-stateless")


def tool(name: str, *required: str) -> dict[str, Any]:
    schema = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {field: {"type": "string"} for field in required},
        "required": list(required),
        "additionalProperties": False,
    }
    return {"name": name, "description": f"{name}s.", "input_schema": schema}


TOOLS: Any = [
    tool("Read", "file_path"),
    tool("Edit", "file_path", "old_string", "new_string"),
    tool("Bash", "command"),
    tool("Glob", "pattern"),
    {**tool("Screenshot"), "cache_control": {"type": "ephemeral"}},
]
SYSTEM: Any = [
    {"type": "text", "text": "You are a coding agent."},
    {
        "type": "text",
        "text": "Working directory: /src",
        "cache_control": {"type": "ephemeral", "ttl": "1h"},
    },
]


@dataclass(frozen=True, slots=True)
class Desk:
    """Who asks, for which model, and what answers in the end."""

    client: anthropic.Anthropic
    model: str
    emulator: Emulator
    wire: str


@pytest.fixture(scope="module")
def desks(open_house: OpenHouse) -> Iterator[Mapping[str, Desk]]:
    """Both wires at a gateway of one worker, reached as Claude Code would."""
    plans, models = {}, {}
    for name in DESKS:
        wire, mode = name.split("-")
        plans[name] = Plan(wire, settings={"conversations": {"mode": mode}})
        models[f"claude-{name}-*"] = {"route": [f"{name}-0/{MODELS[wire]}"]}
    house = open_house(plans, more={"models": models})
    url = house.gateway.url
    with anthropic.Anthropic(
        base_url=url, auth_token=KEY, api_key=None, max_retries=0
    ) as client:
        rooms = {name: house.take(name) for name in DESKS}
        yield {
            name: Desk(client, f"claude-{name}-9", room.emulator, name.split("-")[0])
            for name, room in rooms.items()
        }


def asked(desk: Desk, messages: list[Any]) -> dict[str, Any]:
    return {
        "model": desk.model,
        "max_tokens": 32_000,
        "system": SYSTEM,
        "tools": TOOLS,
        "messages": messages,
        "metadata": {"user_id": "user_made-up_account__session_made-up"},
        "thinking": {"type": "adaptive"},
        "extra_headers": {"anthropic-beta": "interleaved-thinking-2025-05-14"},
        "extra_query": {"beta": "true"},
    }


def by_helper(desk: Desk, messages: list[Any]) -> tuple[list[Any], str | None]:
    with desk.client.messages.stream(**asked(desk, messages)) as stream:
        final = stream.get_final_message()
    return [block.to_dict() for block in final.content], final.stop_reason


def by_hand(desk: Desk, messages: list[Any]) -> tuple[list[Any], str | None]:
    """The raw stream, which has to obey the grammar; blocks as they are sent back."""
    with desk.client.messages.with_streaming_response.create(
        **asked(desk, messages), stream=True
    ) as response:
        assert response.headers["x-kimi-proxy-emulated"] == "tools, max_tokens"
        stream = grammar.read(b"".join(response.iter_bytes()))
    assert stream.done and stream.message is not None and stream.usage is not None
    first = stream.message["usage"]["input_tokens"]
    assert first > 0 and stream.usage["output_tokens"] > 0
    for block in stream.blocks:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["input"])
    return stream.blocks, stream.reason


def results(step: int, calls: list[Any]) -> list[Any]:
    """What the tools give back: text, blocks, a picture, an error."""
    made: list[Any] = []
    for number, call in enumerate(calls):
        told = f"step {step}: {call['name']} of {json.dumps(call['input'])}"
        blocks: list[Any] = [{"type": "text", "text": told}]
        if call["name"] == "Screenshot":
            source = {"type": "base64", "media_type": "image/png", "data": PNG}
            blocks.append({"type": "image", "source": source})
        result = {"type": "tool_result", "tool_use_id": call["id"]}
        result["content"] = told if number else blocks
        if (step, call["name"]) in FAILING:
            result["is_error"] = True
        made.append(result)
    return made


def play(desk: Desk) -> AgentModel:
    model = AgentModel()
    form = FORMS[desk.wire]
    desk.emulator.answer = lambda prompt, body: form(
        model.answer(prompt, body), pieces=9
    )
    return model


def count(desk: Desk, messages: list[Any]) -> int:
    return desk.client.messages.count_tokens(
        model=desk.model, system=SYSTEM, tools=TOOLS, messages=messages
    ).input_tokens


@pytest.mark.parametrize("name", DESKS)
def test_ten_steps_of_an_agent(desks: Mapping[str, Desk], name: str) -> None:
    desk, model = desks[name], play(desks[name])
    messages: list[Any] = [{"role": "user", "content": "Mend it, in ten steps."}]
    counts, ids = [count(desk, messages)], set()
    for number, wanted in enumerate(STEPS, start=1):
        ask = by_helper if number % 2 else by_hand
        content, reason = ask(desk, messages)
        assert reason == "tool_use", content
        said, *calls = content
        assert said["text"].strip() == f"Step {number}."
        made = [(c["name"], c["input"]) for c in calls]
        assert made == [(called, json.loads(given)) for called, given in wanted]
        ids |= {call["id"] for call in calls}
        messages += [
            {"role": "assistant", "content": content},
            {"role": "user", "content": results(number, calls)},
        ]
        counts.append(count(desk, messages))
    content, reason = by_hand(desk, messages)
    assert ([block["text"] for block in content], reason) == ([DONE], "end_turn")
    assert len(ids) == sum(map(len, STEPS))
    assert counts == sorted(set(counts)), "the prompt grows with every step"
    assert len(model.prompts) == len(STEPS) + 1
    told = ["## Read" in prompt for prompt in model.prompts]
    merged = name.endswith("stateless")
    assert told == ([True] * 11 if merged else [True, *[False] * 10])
    assert len(desk.emulator.files()) >= 1, "the screenshot went up"
    if merged:
        eventually(lambda: not desk.emulator.chats())


def test_a_picture_and_a_paper_go_up(desks: Mapping[str, Desk]) -> None:
    desk = desks["connect-stateless"]
    seen: list[str] = []

    def look(prompt: str, body: Any) -> Answer:
        seen.append(prompt)
        return Answer("I see.")

    desk.emulator.answer = look
    before = len(desk.emulator.files())
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    paper = base64.b64encode(b"%PDF-1.4 made up").decode()
    pdf = {"type": "base64", "media_type": "application/pdf", "data": paper}
    plain = {"type": "text", "media_type": "text/plain", "data": "Words."}
    content: Any = [
        {"type": "image", "source": image},
        {"type": "document", "source": pdf, "title": "paper.pdf"},
        {"type": "document", "source": plain, "title": "words"},
        {"type": "text", "text": "What is it?"},
    ]
    answer = desk.client.messages.create(
        model=desk.model,
        max_tokens=99,
        messages=[{"role": "user", "content": content}],
    )
    assert answer.content[0].type == "text" and answer.content[0].text == "I see."
    assert "Words." in seen[0] and "What is it?" in seen[0]
    assert len(desk.emulator.files()) > before


def test_a_conversation_goes_on_by_the_header(desks: Mapping[str, Desk]) -> None:
    desk = desks["connect-stateless"]
    prompts: list[str] = []

    def answer(prompt: str, body: Any) -> Answer:
        prompts.append(prompt)
        return Answer(f"Answer {len(prompts)}.")

    desk.emulator.answer = answer
    create = desk.client.messages.with_raw_response.create
    question: Any = {"model": desk.model, "max_tokens": 99}
    first = create(
        **question,
        messages=[{"role": "user", "content": "One."}],
        extra_headers={"x-conversation-id": "none"},
    )
    name = first.headers["x-conversation-id"]
    assert first.parse().to_dict()["conversation_id"] == name
    second = create(
        **question,
        messages=[{"role": "user", "content": "Two."}],
        extra_headers={"x-conversation-id": name},
    )
    assert second.headers["x-conversation-id"] == name
    assert prompts == ["One.", "Two."]
