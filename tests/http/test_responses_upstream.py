"""Responses over upstreams: what goes up, what only goes to OpenAI's own service."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from emulators.openai import Answer, Choice
from tests.http import expect, responses_grammar
from tests.http.conftest import Build
from tests.http.relay_house import NARROW, Relayed, refresh, relaying
from tests.http.responses_house import Asking

Factory = pytest.TempPathFactory
MODEL = "up/gpt-4o"
PNG = "data:image/png;base64,iVBORw0KGgo="
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
HOSTED: list[dict[str, Any]] = [
    {"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
    {"background": True},
    {"include": ["message.output_text.logprobs"]},
    {"input": [{"type": "mcp_list_tools", "id": "m", "tools": []}]},
    {"prompt": {"id": "pmpt_1"}},
]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: Factory) -> Iterator[Relayed]:
    with relaying(tmp_path_factory.mktemp("responses")) as relayed:
        yield relayed


@pytest.fixture
def up(shared: Relayed) -> Relayed:
    refresh(shared)
    return shared


def ask(up: Relayed, **body: Any) -> Any:
    return up.call("POST", "/responses", {"model": MODEL, "input": "hi", **body})


def test_an_upstream_of_chats_is_asked_for_a_chat(up: Relayed) -> None:
    call = {"call_id": "c1", "name": "f", "arguments": "{}"}
    image = {"type": "input_image", "image_url": PNG}
    answer = ask(
        up,
        instructions="Be kind.",
        input=[
            {"role": "user", "content": [{"type": "input_text", "text": "see"}, image]},
            {"role": "assistant", "content": "Sure."},
            {"type": "function_call", **call},
            {"type": "function_call_output", "call_id": "c1", "output": "7"},
        ],
        tools=[FUNCTION],
        tool_choice="required",
        max_output_tokens=50,
        temperature=0.5,
        text={"format": {"type": "json_object"}},
    )
    assert answer.status_code == 200, answer.data
    responses_grammar.check_response(answer.json(), "completed", "incomplete")
    assert up.last.path == "/v1/chat/completions"
    sent = up.last.body
    assert isinstance(sent, dict)
    assert [m["role"] for m in sent["messages"]] == [
        *("system", "user", "assistant", "tool")
    ]
    assert sent["messages"][1]["content"][1]["image_url"] == {"url": PNG}
    assert sent["messages"][2]["tool_calls"][0]["id"] == "c1"
    assert sent["messages"][3]["tool_call_id"] == "c1"
    assert sent["tools"][0]["function"]["name"] == "f"
    assert sent["tool_choice"] == "required"
    assert sent["response_format"] == {"type": "json_object"}
    assert (sent["max_completion_tokens"], sent["temperature"]) == (50, 0.5)
    assert not {"input", "instructions", "store", "text"} & set(sent)


def test_a_stream_of_an_upstream_of_chats(up: Relayed) -> None:
    stream = responses_grammar.read(ask(up, stream=True).data)
    assert stream.kinds[-1] == "completed" and stream.text
    assert "estimated" not in stream.response["usage"], "the upstream counts itself"


def test_a_refusal_of_an_upstream_is_told_as_one(up: Relayed) -> None:
    up.emulator.answer = Answer(Choice(refusal="I will not."))
    stream = responses_grammar.read(ask(up, stream=True).data)
    whole = ask(up).json()
    for response in (stream.response, whole):
        assert responses_grammar.refusal_of(response) == "I will not."


@pytest.mark.parametrize("fields", HOSTED)
def test_what_only_the_service_has_goes_there_as_it_was_sent(
    up: Relayed, fields: dict[str, Any]
) -> None:
    answer = ask(up, **fields)
    assert up.last.path == "/v1/responses"
    sent = up.last.body
    assert isinstance(sent, dict)
    assert {name: sent[name] for name in fields} == fields
    assert answer.status_code == 200, answer.data


def test_what_goes_on_with_a_response_of_ours_goes_nowhere_else(up: Relayed) -> None:
    first = ask(up).json()["id"]
    named = {"previous_response_id": ask(up, previous_response_id=first).json()["id"]}
    hosted = ask(up, **named, background=True)
    expect.error(hosted, 400, "unsupported_parameter", "background")
    assert up.call("DELETE", f"/responses/{first}").status_code == 200
    torn = ask(up, **named)
    expect.error(torn, 404, "previous_response_not_found", "previous_response_id")
    assert up.last.path == "/v1/chat/completions", "without what was said before"


def test_and_nowhere_else(up: Relayed) -> None:
    answer = ask(up, model="talk", background=True)
    expect.error(answer, 400, "unsupported_parameter", "background")
    assert up.seen == []


def test_a_chat_is_never_sent_there(up: Relayed) -> None:
    chat = {"model": MODEL, "messages": [{"role": "user", "content": "x"}], "n": 2}
    answer = up.call("POST", "/responses", chat)
    expect.error(answer, 400, "unsupported_parameter", "n")
    assert up.seen == []


def test_what_was_made_here_is_read_here(up: Relayed) -> None:
    made = ask(up).json()["id"]
    seen = len(up.seen)
    assert up.call("GET", f"/responses/{made}").json()["id"] == made
    assert up.call("GET", f"/responses/{made}/input_items").json()["data"]
    assert up.call("DELETE", f"/responses/{made}").status_code == 200
    assert len(up.seen) == seen


def test_what_was_made_there_is_read_and_gone_on_with_there(up: Relayed) -> None:
    made = ask(up, **HOSTED[0]).json()["id"]
    assert up.call("GET", f"/responses/{made}").json()["id"] == made
    assert up.last.path == f"/v1/responses/{made}"
    answer = ask(up, previous_response_id=made)
    assert answer.status_code == 200, answer.data
    assert up.last.path == "/v1/responses"
    assert up.call("DELETE", f"/responses/{made}").status_code == 200
    assert up.call("GET", f"/responses/{made}").status_code == 404


def test_a_key_that_may_not_have_all_of_a_provider_asks_nobody(up: Relayed) -> None:
    made = ask(up).json()["id"]
    seen = len(up.seen)
    for path in ("resp_unknown_1", made, f"{made}/input_items"):
        answer = up.call("GET", f"/responses/{path}", key=NARROW)
        expect.error(answer, 404, "not_found", "response_id")
    assert len(up.seen) == seen


@pytest.fixture(params=["connect", "legacy"])
def kimi(request: pytest.FixtureRequest, build: Build) -> Iterator[tuple[Asking, Any]]:
    kinds: dict[str, Any] = {
        "connect": KimiConnectEmulator,
        "legacy": KimiLegacyEmulator,
    }
    with ExitStack() as stack:
        emulator = stack.enter_context(kinds[request.param]())
        settings = {
            "type": "kimi",
            "wire": request.param,
            "tokens": [{"name": "a", "token": emulator.add_account("a").refresh}],
            "hosts": dict.fromkeys(("api", "auth", "legacy"), emulator.url),
            "conversations": {"mode": "auto"},
        }
        model = {"connect": "k2d6-chat", "legacy": "kimi"}[request.param]
        models = {"m": f"kimi/{model}"}
        yield Asking(build(providers={"kimi": settings}, models=models)), emulator


def test_a_stored_history_finds_its_chat(kimi: tuple[Asking, Any]) -> None:
    """The emulators say the prompt again."""
    ask, _ = kimi
    first = ask.whole(model="m", input="The first question.")
    assert "The first question." in responses_grammar.text_of(first)
    second = ask.stream(
        model="m", input="The second.", previous_response_id=first["id"]
    )
    assert "The second." in second.text
    assert "The first question." not in second.text, "only the new turn goes up"
    assert second.response["conversation_id"] == first["conversation_id"]


def test_a_history_without_its_chat_goes_up_whole(kimi: tuple[Asking, Any]) -> None:
    ask, _ = kimi
    first = ask.whole(model="m", input="The first question.")
    branch = {"previous_response_id": first["id"]}
    ask.whole(model="m", input="One way.", **branch)
    other = ask.whole(model="m", input="Another way.", **branch)
    said = responses_grammar.text_of(other)
    assert "The first question." in said and "One way." not in said
