"""The anthropic client before every kind of upstream, at one gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic, AsyncAnthropic

from emulators.kilo import KiloEmulator
from emulators.kimi_ai_chat import KimiAiChatEmulator
from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from emulators.moonshot import MoonshotEmulator
from emulators.openai import OpenAIEmulator
from emulators.qodo import QodoEmulator
from tests.gateway_process import GatewayProcess, running
from tests.http import messages_grammar as grammar
from tests.http import wire

MODELS = {
    "connect": "k2d6-chat",
    "legacy": "kimi",
    "openai": "gpt-4o",
    "moonshot": "kimi-k2.6",
    "kilo": "anthropic/claude-sonnet-4.5",
    "qodo": "gpt-5.1",
    "qodo-ide": "gpt-4o",
    "site": "kimi-k2-instruct",
    "echo": "echo",
}
COUNTS_ITSELF = {"openai", "moonshot", "kilo"}


def providers(stack: ExitStack) -> dict[str, Any]:
    """One of each kind, each before an emulator of its own."""
    connect = stack.enter_context(KimiConnectEmulator())
    legacy = stack.enter_context(KimiLegacyEmulator())
    open_ai = stack.enter_context(OpenAIEmulator())
    moonshot = stack.enter_context(MoonshotEmulator())
    kilo = stack.enter_context(KiloEmulator())
    qodo = stack.enter_context(QodoEmulator())
    site = stack.enter_context(KimiAiChatEmulator())
    qodo_hosts = {"cli": qodo.url, "ide": qodo.url, "firebase": qodo.url}

    def kimi(emulator: Any, wire: str) -> dict[str, Any]:
        hosts = dict.fromkeys(("api", "auth", "legacy"), emulator.url)
        tokens = [emulator.add_account("alice").refresh]
        return {"type": "kimi", "wire": wire, "hosts": hosts, "tokens": tokens}

    return {
        "connect": kimi(connect, "connect"),
        "legacy": kimi(legacy, "legacy"),
        "openai": {
            "type": "openai",
            "base_url": open_ai.base_url,
            "tokens": [open_ai.add_key("k")],
        },
        "moonshot": {
            "type": "openai",
            "preset": "moonshot-cn",
            "base_url": moonshot.base_url,
            "tokens": [moonshot.add_key("k")],
        },
        "kilo": {
            "type": "kilo",
            "hosts": {"api": kilo.url},
            "tokens": [kilo.add_account("a")],
        },
        "qodo": {"type": "qodo", "hosts": qodo_hosts, "tokens": [qodo.add_key("c")]},
        "qodo-ide": {
            "type": "qodo",
            "hosts": qodo_hosts,
            "tokens": [qodo.add_pair("d")],
        },
        "site": {"type": "kimi-ai-chat", "hosts": {"site": site.url}},
        "echo": {"type": "echo"},
    }


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    with ExitStack() as stack:
        names = {f"claude-{n}-*": f"{n}/{model}" for n, model in MODELS.items()}
        settings = {"providers": providers(stack), "models": names}
        directory = tmp_path_factory.mktemp("matrix")
        yield stack.enter_context(running(directory, settings))


def asked(name: str, **fields: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "hello there"}]
    return {
        "model": f"claude-{name}-9",
        "max_tokens": 999,
        "messages": messages,
        **fields,
    }


@pytest.mark.parametrize("name", MODELS)
def test_each_kind_answers_whole_streamed_and_asynchronously(
    gateway: GatewayProcess, name: str
) -> None:
    with Anthropic(base_url=gateway.base_url, api_key="none", max_retries=0) as client:
        whole: Any = client.messages.create(**asked(name))
        with client.messages.stream(**asked(name)) as stream:
            final = stream.get_final_message()
            said = stream.get_final_text()
        counted = client.messages.count_tokens(
            model=f"claude-{name}-9", messages=asked(name)["messages"]
        )
    assert "hello there" in said and whole.content[0].text == said
    assert (whole.stop_reason, final.stop_reason) == ("end_turn", "end_turn")
    for message in (whole, final):
        assert message.model == f"claude-{name}-9"
        assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    # The helper keeps the mark of the stream's beginning, which always is an estimate.
    estimated = whole.usage.to_dict().get("estimated", False)
    assert estimated is (name not in COUNTS_ITSELF)
    if not estimated:
        assert final.usage.input_tokens == whole.usage.input_tokens
    assert counted.input_tokens > 0
    assert asyncio.run(in_a_loop(gateway.base_url, name)) == said


async def in_a_loop(base_url: str, name: str) -> str:
    async with (
        AsyncAnthropic(base_url=base_url, api_key="none", max_retries=0) as client,
        client.messages.stream(**asked(name)) as stream,
    ):
        return await stream.get_final_text()


@pytest.mark.parametrize("name", MODELS)
def test_each_kinds_stream_is_grammatical_and_stops_where_it_is_told(
    gateway: GatewayProcess, name: str
) -> None:
    fields = {"stream": True, "stop_sequences": ["there"]}
    answer = wire.call(gateway.port, "POST", "/v1/messages", asked(name, **fields))
    assert answer.status_code == 200, answer.data
    stream = grammar.read(answer.data)
    assert stream.done and stream.message is not None
    if "stop" in answer.headers.get("x-kimi-proxy-emulated", ""):
        assert stream.reason == "stop_sequence"
        assert stream.text.endswith("hello ")


@pytest.mark.parametrize("name", MODELS)
def test_each_kind_refuses_a_model_it_does_not_have(
    gateway: GatewayProcess, name: str
) -> None:
    with Anthropic(base_url=gateway.base_url, api_key="none", max_retries=0) as client:
        for stream in (False, True):
            wrong: Any = {**asked(name), "model": f"{name}/nobody-has-it"}
            with pytest.raises((anthropic.NotFoundError, anthropic.BadRequestError)):
                client.messages.create(**wrong, stream=stream)
