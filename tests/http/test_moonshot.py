"""A gateway before Moonshot: its rules are kept for clients that know none of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.moonshot import MoonshotEmulator
from emulators.openai import Answer, Choice, ToolCall, in_turn
from tests.http.moonshot_house import before, sent
from tests.http.openai_house import House, chunks, text_of

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"$ref": "#/$defs/City"}, "day": {"enum": ["mon"]}},
            "$defs": {"City": {"type": "string"}},
        },
    },
}
CALLING = Answer(Choice(reasoning="It asks.", tools=(ToolCall("weather", '{"a": 1}'),)))


@pytest.fixture
def emulator() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator() as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: MoonshotEmulator, tmp_path: Path) -> Iterator[House]:
    with before(emulator, tmp_path) as gateway:
        yield gateway


MODELS = ["kimi-k3", "kimi-k2.7-code", "kimi-k2.6"]


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_a_plain_question_sends_nothing_that_was_not_asked(
    gateway: House, emulator: MoonshotEmulator, model: str, stream: bool
) -> None:
    answer = gateway.ask(f"m/{model}", stream=stream)
    assert answer.status_code == 200, answer.data
    assert "hello" in text_of(answer)
    (body,) = sent(emulator)
    assert body.keys() - {"stream_options"} == {"model", "messages", "stream"}


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("effort", ["none", "minimal", "low", "medium", "high", "max"])
def test_every_effort_is_taken_by_every_model(
    gateway: House, model: str, effort: str
) -> None:
    answer = gateway.ask(f"m/{model}", reasoning_effort=effort)
    assert answer.status_code == 200, answer.data
    message = answer.get_json()["choices"][0]["message"]
    thinks = bool(message.get("reasoning_content"))
    assert thinks == (effort != "none" or model != "kimi-k2.6")


@pytest.mark.parametrize("switch", [{"enable_thinking": False}, {"max_tokens": 50}])
@pytest.mark.parametrize("model", MODELS)
def test_words_of_other_vendors_are_understood(
    gateway: House, emulator: MoonshotEmulator, model: str, switch: dict[str, Any]
) -> None:
    answer = gateway.ask(f"m/{model}", **switch)
    assert answer.status_code == 200, answer.data
    (body,) = sent(emulator)
    assert "enable_thinking" not in body and "max_tokens" not in body


def test_a_sampling_parameter_that_is_fixed_is_the_users_to_leave_out(
    gateway: House,
) -> None:
    answer = gateway.ask("m/kimi-k2.6", temperature=0.2)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (400, "upstream_rejected")
    assert "temperature" in error["message"]


def test_tokens_are_counted_from_either_place(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    for place in ("both", "choice", "extra"):
        emulator.knobs.usage_place = place
        options = {"include_usage": True}
        told = chunks(gateway.ask("m/kimi-k2.6", stream=True, stream_options=options))
        assert told[-1]["usage"]["prompt_tokens"] > 0, place


def tool_loop(
    gateway: House, model: str, stream: bool, **changes: Any
) -> tuple[Any, Any]:
    """A question, the call it leads to, and the answer after the tool's result: as a
    client that knows nothing of thinking sends them."""
    asked = [{"role": "user", "content": "weather?"}]
    first = gateway.ask(f"m/{model}", messages=asked, tools=[TOOL], stream=stream)
    assert first.status_code == 200, first.data
    call = call_of(first)
    said = {"role": "assistant", "content": "", "tool_calls": [call], **changes}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    history = [*asked, said, result]
    second = gateway.ask(f"m/{model}", messages=history, tools=[TOOL], stream=stream)
    return first, second


def call_of(answer: Any) -> dict[str, Any]:
    if answer.mimetype == "application/json":
        message = answer.get_json()["choices"][0]["message"]
        call: dict[str, Any] = message["tool_calls"][0]
        return call
    parts = [
        part
        for chunk in chunks(answer)
        for choice in chunk["choices"]
        for part in choice["delta"].get("tool_calls") or ()
    ]
    name = parts[0]["function"]["name"]
    given = "".join(part["function"].get("arguments") or "" for part in parts)
    function = {"name": name, "arguments": given}
    return {"id": parts[0]["id"], "type": "function", "function": function}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("model", MODELS)
def test_thinking_is_put_back_for_clients_that_do_not_send_it(
    gateway: House, emulator: MoonshotEmulator, model: str, stream: bool
) -> None:
    emulator.answer = in_turn(CALLING, Answer(Choice("It is sunny.")))
    _, second = tool_loop(gateway, model, stream)
    assert second.status_code == 200, second.data
    assert text_of(second) == "It is sunny."
    message = sent(emulator)[-1]["messages"][1]
    assert message["reasoning_content"] == "It asks."
    assert message["content"] is None


def test_another_process_knows_what_was_thought(
    emulator: MoonshotEmulator, tmp_path: Path
) -> None:
    emulator.answer = in_turn(CALLING, Answer(Choice("It is sunny.")))
    shared = f"sqlite:///{tmp_path}/state.db"
    asked = [{"role": "user", "content": "weather?"}]
    with before(emulator, tmp_path, state=shared) as gateway:
        call = call_of(gateway.ask("m/kimi-k3", messages=asked, tools=[TOOL]))
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    history = [*asked, said, result]
    with before(emulator, tmp_path, state=shared) as gateway:
        answer = gateway.ask("m/kimi-k3", messages=history, tools=[TOOL])
        assert answer.status_code == 200, answer.data
    assert sent(emulator)[-1]["messages"][1]["reasoning_content"] == "It asks."


def test_arguments_that_were_written_anew_are_known_all_the_same(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    emulator.answer = in_turn(CALLING, Answer(Choice("It is sunny.")))
    asked = [{"role": "user", "content": "weather?"}]
    first = gateway.ask("m/kimi-k3", messages=asked, tools=[TOOL])
    call = call_of(first)
    call["function"]["arguments"] = '{"a":1}'
    said = {"role": "assistant", "content": None, "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": call["id"], "content": "sunny"}
    second = gateway.ask("m/kimi-k3", messages=[*asked, said, result], tools=[TOOL])
    assert second.status_code == 200, second.data
    assert sent(emulator)[-1]["messages"][1]["reasoning_content"] == "It asks."


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_thinking_that_the_client_sends_is_its_own(
    gateway: House, emulator: MoonshotEmulator, name: str
) -> None:
    emulator.answer = in_turn(CALLING, Answer(Choice("It is sunny.")))
    _, second = tool_loop(gateway, "kimi-k2.6", False, **{name: "mine"})
    assert second.status_code == 200, second.data
    assert sent(emulator)[-1]["messages"][1]["reasoning_content"] == "mine"


@pytest.mark.parametrize("model", MODELS)
def test_a_tool_loop_that_another_upstream_began_goes_on(
    gateway: House, emulator: MoonshotEmulator, model: str
) -> None:
    emulator.answer = Answer(Choice("It is sunny."))
    call = {
        "id": "call_" + "x" * 90,
        "type": "function",
        "function": {"name": "weather", "arguments": "{}"},
    }
    history = [
        {"role": "user", "content": "weather?"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": "sunny"},
    ]
    answer = gateway.ask(f"m/{model}", messages=history, tools=[TOOL])
    assert answer.status_code == 200, answer.data
    (body,) = sent(emulator)
    lost = body["messages"][1].get("reasoning_content")
    assert (body.get("thinking") == {"type": "disabled"}) == (model == "kimi-k2.6")
    assert (lost is None) == (model == "kimi-k2.6")


@pytest.mark.parametrize("rounds", [0, 1, 3, 9])
@pytest.mark.parametrize("stream", [True, False])
def test_a_search_is_made_and_its_tokens_counted(
    gateway: House, emulator: MoonshotEmulator, stream: bool, rounds: int
) -> None:
    emulator.knobs.search_rounds = rounds
    options = {"stream_options": {"include_usage": True}} if stream else {}
    answer = gateway.ask("m/kimi-k2.6", use_search=True, stream=stream, **options)
    assert answer.status_code == 200, answer.data
    assert "hello" in text_of(answer)
    asked = sent(emulator)
    assert len(asked) == min(rounds, 5) + 1
    assert all(body["thinking"] == {"type": "disabled"} for body in asked)
    told = chunks(answer)[-1] if stream else answer.get_json()
    assert told["usage"]["prompt_tokens"] > 8000 * min(rounds, 4)
    assert "x-kimi-proxy-ignored" not in answer.headers


def test_a_search_leaves_the_clients_own_calls_to_it(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    emulator.answer = Answer(Choice(tools=(ToolCall("weather", "{}"),)))
    answer = gateway.ask("m/kimi-k2.6", use_search=True, tools=[TOOL])
    choice = answer.get_json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [c["function"]["name"] for c in choice["message"]["tool_calls"]] == [
        "weather"
    ]


@pytest.mark.parametrize("model", ["kimi-k3", "kimi-k2.7-code"])
@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"use_search": True}, "use_search"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"tools": [{"type": "web_search_preview"}]}, "tools"),
    ],
)
def test_a_search_that_a_model_cannot_make_is_told(
    gateway: House, model: str, asked: dict[str, Any], field: str
) -> None:
    answer = gateway.ask(f"m/{model}", **asked)
    assert answer.status_code == 200, answer.data
    assert answer.headers["x-kimi-proxy-ignored"] == field


def test_an_answer_goes_on_where_the_client_left_it(gateway: House) -> None:
    asked = [
        {"role": "user", "content": "hello there"},
        {"role": "assistant", "content": "You said", "partial": True},
    ]
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 200, answer.data
    assert not text_of(answer).startswith("You said")


def test_a_last_word_of_the_assistants_is_no_prefix_unless_it_is_said_to_be(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    asked = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "Hi."},
    ]
    gateway.ask("m/kimi-k2.6", messages=asked)
    assert sent(emulator)[0]["messages"] == asked


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", ["ls", "files.list", "9lives"])
def test_a_tool_may_have_any_name(
    gateway: House, emulator: MoonshotEmulator, name: str, stream: bool
) -> None:
    def answering(body: Any) -> Answer:
        called = body["tools"][0]["function"]["name"]
        return Answer(Choice(reasoning="hm", tools=(ToolCall(called, "{}"),)))

    emulator.answer = answering
    tool = {"type": "function", "function": {"name": name}}
    asked: list[Any] = [{"role": "user", "content": "go"}]
    first = gateway.ask("m/kimi-k3", messages=asked, tools=[tool], stream=stream)
    assert first.status_code == 200, first.data
    call = call_of(first)
    assert call["function"]["name"] == name
    asked.append({"role": "assistant", "content": None, "tool_calls": [call]})
    asked.append({"role": "tool", "tool_call_id": call["id"], "content": "1"})
    second = gateway.ask("m/kimi-k3", messages=asked, tools=[tool], tool_choice="auto")
    assert second.status_code == 200, second.data
    assert sent(emulator)[-1]["messages"][1]["reasoning_content"] == "hm"


def test_several_choices_are_made_one_by_one(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    answer = gateway.ask("m/kimi-k3", n=2)
    assert answer.status_code == 200, answer.data
    assert len(answer.get_json()["choices"]) == 2
    assert len(sent(emulator)) == 2


def test_strictly_a_search_that_cannot_be_made_is_refused(
    emulator: MoonshotEmulator, tmp_path: Path
) -> None:
    with before(emulator, tmp_path, strict_params=True) as gateway:
        answer = gateway.ask("m/kimi-k3", use_search=True)
        assert answer.status_code == 400
        assert answer.get_json()["error"]["param"] == "use_search"
        assert gateway.ask("m/kimi-k2.6", use_search=True).status_code == 200
