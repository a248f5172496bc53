"""A gateway before an upstream of every kind; their models say what they are told to.

What stands behind "Say: " they say, in each upstream's own way; a call of a tool that
stands there as a web account's model writes it is made where tools are known.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from emulators.kilo import KiloEmulator
from emulators.kilo.knob import Answer as KiloAnswer
from emulators.kilo.knob import Call as KiloCall
from emulators.kimi_ai_chat import KimiAiChatEmulator
from emulators.kimi_connect import Answer as ConnectAnswer
from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from emulators.moonshot import KimiCodeEmulator, MoonshotEmulator
from emulators.openai import Answer, Choice, OpenAIEmulator, ToolCall
from emulators.openai.answer import text_of
from emulators.qodo import QodoEmulator
from tests.gateway_process import GatewayProcess, running
from tests.http.kind_checks import KEY, KINDS

_CALL = re.compile(r"<tool_call>\n(.*)\n</tool_call>")


@contextmanager
def every_kind(directory: Path) -> Iterator[GatewayProcess]:
    """The gateway; `claude-KIND-…` leads to the model of each kind as well."""
    with ExitStack() as stack:
        settings = {
            "keys": [{"name": "every-kind", "key": KEY}],
            "providers": _providers(stack),
            "models": {f"claude-{kind.name}-*": kind.path for kind in KINDS},
        }
        yield stack.enter_context(running(directory, settings))


def told(prompt: str) -> str:
    """What a model says to a prompt."""
    return prompt.rpartition("Say: ")[2]


def _providers(stack: ExitStack) -> dict[str, Any]:
    """One of each kind, each before an emulator of its own."""
    kilo = stack.enter_context(KiloEmulator())
    kilo.answer = _kilo_answer
    site = stack.enter_context(KimiAiChatEmulator())
    site.answer = told
    return {
        **_kimi(stack),
        **_apis(stack),
        **_qodo(stack),
        "kilo": {
            "type": "kilo",
            "hosts": {"api": kilo.url},
            "tokens": [kilo.add_account("a")],
        },
        "site": {"type": "kimi-ai-chat", "hosts": {"site": site.url}},
        "echo": {"type": "echo"},
    }


def _kimi(stack: ExitStack) -> dict[str, Any]:
    connect = stack.enter_context(KimiConnectEmulator())
    connect.answer = lambda prompt, _: ConnectAnswer(told(prompt))
    legacy = stack.enter_context(KimiLegacyEmulator())
    legacy.answer = lambda prompt, _: LegacyAnswer(told(prompt))
    emulators: dict[str, Any] = {"connect": connect, "legacy": legacy}
    return {
        wire: {
            "type": "kimi",
            "wire": wire,
            "hosts": dict.fromkeys(("api", "auth", "legacy"), emulator.url),
            "tokens": [emulator.add_account("alice").refresh],
        }
        for wire, emulator in emulators.items()
    }


def _apis(stack: ExitStack) -> dict[str, Any]:
    emulators = {
        "openai": OpenAIEmulator(),
        "moonshot": MoonshotEmulator(),
        "kimi-code": KimiCodeEmulator(),
    }
    presets = {
        "moonshot": {"preset": "moonshot-cn"},
        "kimi-code": {"preset": "kimi-code"},
    }
    made: dict[str, Any] = {}
    for name, emulator in emulators.items():
        stack.enter_context(emulator)
        emulator.answer = _api_answer
        made[name] = {
            "type": "openai",
            "base_url": emulator.base_url,
            "tokens": [emulator.add_key("k")],
            **presets.get(name, {}),
        }
    return made


def _qodo(stack: ExitStack) -> dict[str, Any]:
    emulator = stack.enter_context(QodoEmulator())
    emulator.answer = lambda prompt: (told(prompt),)
    hosts = dict.fromkeys(("cli", "ide", "firebase"), emulator.url)
    tokens = {"qodo": emulator.add_key("c"), "qodo-ide": emulator.add_pair("d")}
    return {
        name: {"type": "qodo", "hosts": hosts, "tokens": [token]}
        for name, token in tokens.items()
    }


def _call(text: str) -> tuple[str, str] | None:
    """The tool and the arguments of a call."""
    found = _CALL.search(text)
    if found is None:
        return None
    call = json.loads(found[1])
    return call["name"], json.dumps(call["arguments"])


def _api_answer(body: Mapping[str, Any]) -> Answer:
    text = told(text_of(body["messages"][-1]))
    call = _call(text)
    return Answer(text if call is None else Choice(tools=(ToolCall(*call),)))


def _kilo_answer(prompt: str) -> KiloAnswer:
    if prompt.startswith("["):  # content parts, as JSON
        prompt = text_of({"content": json.loads(prompt)})
    call = _call(told(prompt))
    if call is None:
        return KiloAnswer((told(prompt),))
    return KiloAnswer(calls=(KiloCall("call_1", *call),))
