"""The unmodified openai client has tools on a Kimi web account, on both wires."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from emulators.kimi_connect import Answer
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import Emulator, OpenHouse
from tests.chaos.gateway import KEY
from tests.chaos.house import Plan
from tests.chaos.tool_model import DONE, OSLO, STEPS, SUM, WORDS, ToolModel, ours
from tests.chaos.waiting import eventually


class Weather(BaseModel):
    """The weather now."""

    city: str
    degrees: int


TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather now.",
            "parameters": {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": ["city"],
            },
        },
    },
    {
        "type": "function",
        "function": {
            "name": "add",
            "parameters": {
                "type": "object",
                "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
                "required": ["a", "b"],
            },
        },
    },
]
UNKNOWN = ours([("get_tide", "{}")])
AGAINST = ours([("add", '{"a": "two", "b": 3}')])


WIRES, MODES = ("connect", "legacy"), ("stateless", "auto")


@dataclass(frozen=True, slots=True)
class Desk:
    """Who asks, for which model, and what answers in the end."""

    client: openai.OpenAI
    model: str
    emulator: Emulator


DESKS = [f"{wire}-{mode}" for wire in WIRES for mode in MODES]


@pytest.fixture(scope="module")
def desks(open_house: OpenHouse) -> Iterator[Mapping[str, Desk]]:
    """Both wires, in both modes of conversations, at a gateway of one worker."""
    plans = {
        name: Plan(name.split("-")[0], settings=conversations(name.split("-")[1]))
        for name in DESKS
    }
    house = open_house(plans)
    url = f"{house.gateway.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        rooms = {name: house.take(name) for name in DESKS}
        yield {n: Desk(client, r.provider, r.emulator) for n, r in rooms.items()}


def conversations(mode: str) -> dict[str, Any]:
    return {"conversations": {"mode": mode}}


@pytest.fixture(params=WIRES)
def desk(request: pytest.FixtureRequest, desks: Mapping[str, Desk]) -> Desk:
    return desks[f"{request.param}-stateless"]


def play(desk: Desk, model: ToolModel, pieces: int = 7) -> ToolModel:
    legacy = isinstance(desk.emulator, KimiLegacyEmulator)
    form: Any = LegacyAnswer if legacy else Answer
    desk.emulator.answer = lambda prompt, body: form(
        model.answer(prompt, body), pieces=pieces
    )
    return model


def whole(desk: Desk, messages: list[Any], **options: Any) -> Any:
    return desk.client.chat.completions.create(
        model=desk.model, messages=messages, tools=TOOLS, **options
    ).choices[0]


def streamed(desk: Desk, messages: list[Any], **options: Any) -> Any:
    with desk.client.chat.completions.stream(
        model=desk.model, messages=messages, tools=TOOLS, **options
    ) as stream:
        return stream.get_final_completion().choices[0]


def loop(desk: Desk, ask: Any) -> list[list[tuple[str, str]]]:
    """Work with tools until the model is done: the calls of each step."""
    messages: list[Any] = [{"role": "user", "content": "Five steps, please."}]
    steps: list[list[tuple[str, str]]] = []
    ids: set[str] = set()
    while (choice := ask(desk, messages)).finish_reason == "tool_calls":
        assert choice.message.content == WORDS
        calls = choice.message.tool_calls
        steps.append([(c.function.name, c.function.arguments) for c in calls])
        messages.append(choice.message)
        for call in calls:
            assert call.type == "function" and call.id not in ids
            ids.add(call.id)
            told = f"step {len(steps)}: {json.loads(call.function.arguments)}"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": told})
    assert (choice.finish_reason, choice.message.content) == ("stop", DONE)
    return steps


@pytest.mark.parametrize("name", DESKS)
def test_five_steps_with_tools(desks: Mapping[str, Desk], name: str) -> None:
    desk = desks[name]
    for ask in (whole, streamed):
        for pieces in (1, 7, 1000):
            model = play(desk, ToolModel(), pieces)
            assert loop(desk, ask) == list(STEPS)
            assert len(model.prompts) == 6
            told = ["## get_weather" in prompt for prompt in model.prompts]
            merged = name.endswith("stateless")
            assert told == ([True] * 6 if merged else [True, *[False] * 5])


@pytest.mark.parametrize("name", DESKS)
def test_five_steps_after_a_mistake(desks: Mapping[str, Desk], name: str) -> None:
    desk = desks[name]
    for ask in (whole, streamed):
        model = play(desk, ToolModel(f"{WORDS}\n{AGAINST}"))
        assert loop(desk, ask) == list(STEPS)
        assert len(model.prompts) == 7


@pytest.mark.parametrize("mistake", [UNKNOWN, AGAINST], ids=["unknown", "against"])
def test_a_wrong_call_is_put_right_in_the_same_chat(desk: Desk, mistake: str) -> None:
    for ask in (whole, streamed):
        model = play(desk, ToolModel(f"{WORDS}\n{mistake}", ours([SUM])))
        choice = ask(desk, [{"role": "user", "content": "Add."}])
        (call,) = choice.message.tool_calls
        assert (call.function.name, call.function.arguments) == SUM
        assert choice.message.content == WORDS
        _, again = model.prompts
        assert again.startswith("system: The tool call in your last answer")
        assert "Add." not in again


def test_a_call_that_stays_wrong_is_an_error(desk: Desk) -> None:
    messages = [{"role": "user", "content": "Add."}]
    for ask in (whole, streamed):
        play(desk, ToolModel(UNKNOWN, UNKNOWN))
        with pytest.raises(openai.InternalServerError, match="get_tide") as refused:
            ask(desk, messages)
        assert refused.value.status_code == 503
        assert refused.value.code == "invalid_answer"
    play(desk, ToolModel(f"{WORDS}\n{UNKNOWN}", UNKNOWN))
    with pytest.raises(openai.APIError, match="get_tide") as broken_off:
        streamed(desk, messages)
    assert not isinstance(broken_off.value, openai.APIStatusError)


def test_the_choice_of_tools_is_obeyed_and_the_answer_says_it_is_emulated(
    desk: Desk,
) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hello."}]
    play(desk, ToolModel("Just words.", ours([OSLO, SUM])))
    assert whole(desk, messages, tool_choice="none").message.tool_calls is None
    calls = whole(desk, messages, tool_choice="required").message.tool_calls
    assert [c.function.name for c in calls] == ["get_weather", "add"]
    named: Any = {"type": "function", "function": {"name": "add"}}
    play(desk, ToolModel(ours([SUM]), taught=True))
    (call,) = whole(desk, messages, tool_choice=named).message.tool_calls
    assert call.function.name == "add"
    play(desk, ToolModel(ours([OSLO, SUM])))
    raw = desk.client.chat.completions.with_raw_response.create(
        model=desk.model, messages=messages, tools=TOOLS, parallel_tool_calls=False
    )
    assert raw.headers["x-kimi-proxy-emulated"] == "tools"
    assert len(raw.parse().choices[0].message.tool_calls or ()) == 1


def test_the_clients_own_schemas_are_parsed(desk: Desk) -> None:
    messages: list[Any] = [{"role": "user", "content": "Oslo?"}]
    right = Weather(city="Oslo", degrees=5)
    said = right.model_dump_json()
    answers = ("Five.", f"Sure:\n```json\n{said}\n```", said)
    model = play(desk, ToolModel(*answers, taught=True))
    parsed = desk.client.chat.completions.parse(
        model=desk.model, messages=messages, response_format=Weather
    )
    assert parsed.choices[0].message.parsed == right
    assert '"degrees"' in model.prompts[0] and "not valid" in model.prompts[1]
    with desk.client.chat.completions.stream(
        model=desk.model, messages=messages, response_format=Weather
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == right
    tool = openai.pydantic_function_tool(Weather)
    play(desk, ToolModel(ours([("Weather", said)]), taught=True))
    called = desk.client.chat.completions.parse(
        model=desk.model, messages=messages, tools=[tool]
    )
    calls = called.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.parsed_arguments for call in calls] == [right]


def test_no_chat_is_left_behind_by_a_correction(desk: Desk) -> None:
    play(desk, ToolModel(UNKNOWN, ours([SUM])))
    whole(desk, [{"role": "user", "content": "Add."}])
    eventually(lambda: not desk.emulator.chats())
