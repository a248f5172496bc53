"""A gateway before Kimi Code: an honest client, and every effort of every model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.moonshot import KimiCodeEmulator
from tests.http.openai_house import House, house, text_of, upstream

MODELS = ["kimi-for-coding", "kimi-for-coding-highspeed", "k3", "k3-256k"]


@pytest.fixture
def emulator() -> Iterator[KimiCodeEmulator]:
    with KimiCodeEmulator() as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: KimiCodeEmulator, tmp_path: Path) -> Iterator[House]:
    keys = {"k": emulator.add_key("k")}
    section = upstream(emulator.base_url, keys, preset="kimi-code")
    with house(tmp_path, {"code": section}) as gateway:
        gateway.discover()
        yield gateway


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("effort", [None, "none", "minimal", "low", "medium", "xhigh"])
def test_every_effort_is_taken_by_every_model(
    gateway: House, emulator: KimiCodeEmulator, model: str, effort: str | None
) -> None:
    asked = {} if effort is None else {"reasoning_effort": effort}
    answer = gateway.ask(f"code/{model}", stream=True, **asked)
    assert answer.status_code == 200, answer.data
    assert "hello" in text_of(answer)
    (body,) = [e.body for e in emulator.log.all() if e.name == "chat"]
    assert effort is not None or "reasoning_effort" not in body
    assert emulator.violations() == []


def test_it_says_who_it_is(gateway: House, emulator: KimiCodeEmulator) -> None:
    gateway.ask("code/k3", prompt_cache_key="task-1")
    for entry in emulator.log.all():
        assert entry.headers["user-agent"].startswith("kimi-proxy/")
    (body,) = [e.body for e in emulator.log.all() if e.name == "chat"]
    assert body["prompt_cache_key"] == "task-1"


def test_a_body_that_is_too_large_says_so(gateway: House) -> None:
    answer = gateway.ask("code/k3", "x" * 2_200_000)
    error = answer.get_json()["error"]
    assert (answer.status_code, error["code"]) == (400, "context_length_exceeded")
    assert gateway.states("code")["k"].state == "ok"
