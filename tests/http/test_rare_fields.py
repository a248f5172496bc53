"""What only upstreams of OpenAI's own dialect may know reaches them as it was sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.audit import Entry
from emulators.openai import OpenAIEmulator
from tests.http.openai_house import House, house, upstream

AUDIO = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}
VIDEO = {"type": "video_url", "video_url": {"url": "ms://made-up-file"}}
STORED = {"type": "image_url", "image_url": {"url": "ms://made-up-file"}}
CUSTOM = {"type": "custom", "custom": {"name": "shell", "description": "Runs."}}
CALL = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls"}}


def user(*parts: Any) -> list[Any]:
    text = {"type": "text", "text": "hello"}
    return [{"role": "user", "content": [text, *parts]}]


RARE: dict[str, dict[str, Any]] = {
    "audio in": {"messages": user(AUDIO)},
    "audio alone": {"messages": [{"role": "user", "content": [AUDIO]}]},
    "video": {"messages": user(VIDEO)},
    "a file of the upstream's": {"messages": user(STORED)},
    "audio out": {
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
    },
    "many choices": {"n": 20},
    "an effort of its own": {"reasoning_effort": "default"},
    "thinking of its own": {"thinking": {"type": "adaptive"}},
    "a format of its own": {"response_format": {"type": "grammar", "grammar": "x"}},
    "a tool of its own": {
        "tools": [CUSTOM],
        "tool_choice": {"type": "custom", "custom": {"name": "shell"}},
    },
    "a call of such a tool": {
        "messages": [
            *user(),
            {"role": "assistant", "content": None, "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c1", "content": "a b"},
        ],
        "tools": [CUSTOM],
    },
    "functions": {"functions": [{"name": "f"}], "function_call": "auto"},
}


@pytest.fixture(scope="module")
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture(scope="module")
def gateway(
    emulator: OpenAIEmulator, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    providers = {
        "up": upstream(emulator.base_url, {"k": emulator.add_key("k")}),
        "echo": {"type": "echo"},
    }
    chain = {"either": ["echo/echo", "up/gpt-4o"]}
    with house(tmp_path_factory.mktemp("rare"), providers, models=chain) as built:
        yield built


def posted(emulator: OpenAIEmulator) -> list[Entry]:
    return [entry for entry in emulator.log.all() if entry.method == "POST"]


@pytest.mark.parametrize("name", RARE)
@pytest.mark.parametrize("model", ["up/gpt-4o", "either"])
def test_it_is_relayed_untouched(
    emulator: OpenAIEmulator, gateway: House, name: str, model: str
) -> None:
    seen = len(posted(emulator))
    gateway.ask(model, **RARE[name])
    (entry,) = posted(emulator)[seen:]
    assert {key: entry.body[key] for key in RARE[name]} == RARE[name]


@pytest.mark.parametrize("name", RARE)
def test_others_refuse_it_by_its_field(gateway: House, name: str) -> None:
    answer = gateway.ask("echo", **RARE[name])
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (400, "unsupported_parameter")
    assert error["param"].split("[")[0].split(".")[0] in RARE[name]


def test_all_choices_come_at_once(emulator: OpenAIEmulator, gateway: House) -> None:
    answer = gateway.ask("either", n=20)
    assert len(answer.get_json()["choices"]) == 20
    assert answer.headers["x-kimi-proxy-route"] == "up/gpt-4o"
