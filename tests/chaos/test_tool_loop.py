"""The unmodified openai client has tools on a Kimi web account, on both wires."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import Emulator, StartGateway
from tests.chaos.gateway import KEY
from tests.chaos.tool_model import DONE, OSLO, STEPS, SUM, WORDS, ToolModel, ours


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


@pytest.fixture(params=["connect", "legacy"], scope="module")
def emulator(request: pytest.FixtureRequest) -> Emulator:
    found: Emulator = request.getfixturevalue(f"shared_{request.param}")
    return found


def play(emulator: Emulator, model: ToolModel, pieces: int = 7) -> ToolModel:
    if isinstance(emulator, KimiLegacyEmulator):
        emulator.answer = lambda prompt, body: LegacyAnswer(
            model.answer(prompt, body), pieces=pieces
        )
    else:
        emulator.answer = lambda prompt, body: Answer(
            model.answer(prompt, body), pieces=pieces
        )
    return model


Client = openai.OpenAI
Start = Callable[[Emulator, str], Client]


@pytest.fixture(scope="module")
def start(
    start_shared: StartGateway, tmp_path_factory: pytest.TempPathFactory
) -> Start:
    """A client of the gateway over this emulator in this mode of conversations."""

    @cache
    def started(emulator: Emulator, mode: str) -> Client:
        gateway = start_shared(
            emulator,
            {"alice": emulator.add_account(mode).refresh},
            workers=1,
            state=tmp_path_factory.mktemp("state"),
            conversations={"mode": mode},
        )
        url = f"{gateway.url}/v1"
        return openai.OpenAI(base_url=url, api_key=KEY, max_retries=0)

    return started


@pytest.fixture
def client(emulator: Emulator, start: Start) -> Client:
    return start(emulator, "stateless")


def whole(client: Client, messages: list[Any], **options: Any) -> Any:
    return client.chat.completions.create(
        model="kimi", messages=messages, tools=TOOLS, **options
    ).choices[0]


def streamed(client: Client, messages: list[Any], **options: Any) -> Any:
    with client.chat.completions.stream(
        model="kimi", messages=messages, tools=TOOLS, **options
    ) as stream:
        return stream.get_final_completion().choices[0]


def loop(client: Client, ask: Any) -> list[list[tuple[str, str]]]:
    """Work with tools until the model is done: the calls of each step."""
    messages: list[Any] = [{"role": "user", "content": "Five steps, please."}]
    steps: list[list[tuple[str, str]]] = []
    ids: set[str] = set()
    while (choice := ask(client, messages)).finish_reason == "tool_calls":
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


@pytest.mark.parametrize("mode", ["stateless", "auto"])
def test_five_steps_with_tools(emulator: Emulator, start: Start, mode: str) -> None:
    client = start(emulator, mode)
    for ask in (whole, streamed):
        for pieces in (1, 7, 1000):
            model = play(emulator, ToolModel(), pieces)
            assert loop(client, ask) == list(STEPS)
            assert len(model.prompts) == 6
            told = ["## get_weather" in prompt for prompt in model.prompts]
            assert told == ([True] * 6 if mode == "stateless" else [True, *[False] * 5])


@pytest.mark.parametrize("mode", ["stateless", "auto"])
def test_five_steps_after_a_mistake(
    emulator: Emulator, start: Start, mode: str
) -> None:
    client = start(emulator, mode)
    for ask in (whole, streamed):
        model = play(emulator, ToolModel(f"{WORDS}\n{AGAINST}"))
        assert loop(client, ask) == list(STEPS)
        assert len(model.prompts) == 7


@pytest.mark.parametrize("mistake", [UNKNOWN, AGAINST], ids=["unknown", "against"])
def test_a_wrong_call_is_put_right_in_the_same_chat(
    emulator: Emulator, client: Client, mistake: str
) -> None:
    for ask in (whole, streamed):
        model = play(emulator, ToolModel(f"{WORDS}\n{mistake}", ours([SUM])))
        choice = ask(client, [{"role": "user", "content": "Add."}])
        (call,) = choice.message.tool_calls
        assert (call.function.name, call.function.arguments) == SUM
        assert choice.message.content == WORDS
        _, again = model.prompts
        assert again.startswith("system: The tool call in your last answer")
        assert "Add." not in again


def test_a_call_that_stays_wrong_is_an_error(
    emulator: Emulator, client: Client
) -> None:
    messages = [{"role": "user", "content": "Add."}]
    for ask in (whole, streamed):
        play(emulator, ToolModel(UNKNOWN, UNKNOWN))
        with pytest.raises(openai.InternalServerError, match="get_tide") as refused:
            ask(client, messages)
        assert refused.value.status_code == 503
        assert refused.value.code == "invalid_answer"
    play(emulator, ToolModel(f"{WORDS}\n{UNKNOWN}", UNKNOWN))
    with pytest.raises(openai.APIError, match="get_tide") as broken_off:
        streamed(client, messages)
    assert not isinstance(broken_off.value, openai.APIStatusError)


def test_the_choice_of_tools_is_obeyed_and_the_answer_says_it_is_emulated(
    emulator: Emulator, client: Client
) -> None:
    messages: list[Any] = [{"role": "user", "content": "Hello."}]
    play(emulator, ToolModel("Just words.", ours([OSLO, SUM])))
    assert whole(client, messages, tool_choice="none").message.tool_calls is None
    calls = whole(client, messages, tool_choice="required").message.tool_calls
    assert [c.function.name for c in calls] == ["get_weather", "add"]
    named: Any = {"type": "function", "function": {"name": "add"}}
    play(emulator, ToolModel(ours([SUM]), taught=True))
    (call,) = whole(client, messages, tool_choice=named).message.tool_calls
    assert call.function.name == "add"
    play(emulator, ToolModel(ours([OSLO, SUM])))
    raw = client.chat.completions.with_raw_response.create(
        model="kimi", messages=messages, tools=TOOLS, parallel_tool_calls=False
    )
    assert raw.headers["x-kimi-proxy-emulated"] == "tools"
    assert len(raw.parse().choices[0].message.tool_calls or ()) == 1


def test_the_clients_own_schemas_are_parsed(emulator: Emulator, client: Client) -> None:
    messages: list[Any] = [{"role": "user", "content": "Oslo?"}]
    right = Weather(city="Oslo", degrees=5)
    said = right.model_dump_json()
    answers = ("Five.", f"Sure:\n```json\n{said}\n```", said)
    model = play(emulator, ToolModel(*answers, taught=True))
    parsed = client.chat.completions.parse(
        model="kimi", messages=messages, response_format=Weather
    )
    assert parsed.choices[0].message.parsed == right
    assert '"degrees"' in model.prompts[0] and "not valid" in model.prompts[1]
    with client.chat.completions.stream(
        model="kimi", messages=messages, response_format=Weather
    ) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == right
    tool = openai.pydantic_function_tool(Weather)
    play(emulator, ToolModel(ours([("Weather", said)]), taught=True))
    called = client.chat.completions.parse(
        model="kimi", messages=messages, tools=[tool]
    )
    calls = called.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.parsed_arguments for call in calls] == [right]


def test_no_chat_is_left_behind_by_a_correction(
    connect: KimiConnectEmulator, start_gateway: StartGateway
) -> None:
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(connect, tokens, workers=1)
    play(connect, ToolModel(UNKNOWN, ours([SUM])))
    url = f"{gateway.url}/v1"
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as client:
        whole(client, [{"role": "user", "content": "Add."}])
    gateway.stop()
    assert connect.chats("alice") == ()
