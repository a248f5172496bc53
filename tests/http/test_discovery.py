"""The list of models: the same on all workers, and asked for no more than needed."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from emulators.kilo import KiloEmulator
from emulators.openai import Model, OpenAIEmulator
from kimi_proxy.discovery import INTERVAL
from tests.http.openai_house import House, house, upstream

FACTS = {
    "context_length": 200_000,
    "max_completion_tokens": 64_000,
    "architecture": {"input_modalities": ["text", "image"]},
    "supports_thinking_type": "both",
    "think_efforts": {"support": True, "valid_efforts": ["low", "high"]},
}


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        emulator.add_key("k")
        emulator.models["big"] = Model("big", fields=FACTS)
        yield emulator


class Workers:
    """Gateways of one state, each with a memory of its own."""

    def __init__(self, directory: Path, base_url: str, key: str) -> None:
        self._directory, self._base_url, self._key = directory, base_url, key
        self._stack = ExitStack()
        self.all: list[House] = []

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *exc: Any) -> None:
        self._stack.close()

    def one_more(self, base_url: str | None = None, **more: Any) -> House:
        directory = self._directory / str(len(self.all))
        directory.mkdir()
        section = upstream(base_url or self._base_url, {"k": self._key}, **more)
        state = f"sqlite:///{self._directory}/state.db"
        made = self._stack.enter_context(house(directory, {"up": section}, state=state))
        made.late = self.all[0].late if self.all else 0.0
        self.all.append(made)
        return made

    def later(self, seconds: float) -> None:
        for one in self.all:
            one.late += seconds


@pytest.fixture
def workers(emulator: OpenAIEmulator, tmp_path: Path) -> Iterator[Workers]:
    key = emulator.world.keys.named("k").secret
    with Workers(tmp_path, emulator.base_url, key) as made:
        yield made


def look(worker: House) -> None:
    for name in worker.services.discovery.names:
        worker.services.discovery.look(name)


def listed(worker: House) -> bytes:
    answer: bytes = worker.app.test_client().get("/v1/models").data
    return answer


def asked(emulator: OpenAIEmulator) -> int:
    return sum(entry.name == "models" for entry in emulator.log.all())


def test_who_cannot_ask_knows_what_another_was_told(
    emulator: OpenAIEmulator, workers: Workers
) -> None:
    told = workers.one_more()
    look(told)
    emulator.faults.add("refuse", on="models", status=503, times=9)
    deaf = workers.one_more()
    look(deaf)
    known: Any = [one.services.backends["up"].provider for one in workers.all]
    assert known[0].known_models() == known[1].known_models() != []
    assert known[0].known("big") == known[1].known("big")
    assert b'"up/big"' in listed(told)
    assert deaf.ask("up/none-such").status_code == 404


def test_a_new_model_is_known_to_all_workers_within_moments(
    emulator: OpenAIEmulator, workers: Workers
) -> None:
    first, second = workers.one_more(), workers.one_more()
    look(first)
    look(second)
    assert asked(emulator) == 2, "who begins asks for itself"
    emulator.models["new"] = Model("new")
    workers.later(301)
    for _ in range(4):  # who asked the last time asks first; the other hears of it
        look(first)
        look(second)
        workers.later(INTERVAL)
    assert b'"up/new"' in listed(first)
    assert b'"up/new"' in listed(second)
    assert second.ask("up/new").status_code == 200
    assert asked(emulator) == 3, "one asks for all"


def test_while_lists_are_new_nobody_asks(
    emulator: OpenAIEmulator, workers: Workers
) -> None:
    workers.one_more()
    workers.one_more()
    for _ in range(50):
        for one in workers.all:
            look(one)
        workers.later(INTERVAL)
    assert asked(emulator) == 2


def test_what_failed_is_asked_for_again_soon_and_told_once(
    emulator: OpenAIEmulator, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    worker = workers.one_more()
    emulator.faults.add("refuse", on="models", status=503, times=3)
    tries = []
    for _ in range(45):
        look(worker)
        tries.append(asked(emulator))
        workers.later(INTERVAL)
    assert b'"up/big"' in listed(worker)
    seconds = [INTERVAL * tries.index(number) for number in (1, 2, 3, 4)]
    assert seconds == pytest.approx([0, 30, 90, 210], abs=20)  # on a busy machine
    said = [r for r in caplog.records if "listing the models of up" in r.message]
    assert len(said) == 1


def test_another_upstream_of_the_same_name_has_models_of_its_own(
    emulator: OpenAIEmulator, workers: Workers
) -> None:
    look(workers.one_more())
    with OpenAIEmulator() as other:
        other.knobs.open_door = True
        other.faults.add("refuse", on="models", status=503, times=9)
        moved = workers.one_more(other.base_url)
        look(moved)
        assert b'"up/big"' not in listed(moved)


def test_a_configured_list_is_nobody_elses(workers: Workers) -> None:
    asks = workers.one_more()
    own = workers.one_more(models=["mine"])
    for _ in range(2):
        for one in (asks, own):
            look(one)
        workers.later(INTERVAL)
    assert b'"up/mine"' in listed(own) and b'"up/big"' not in listed(own)
    assert b'"up/big"' in listed(asks) and b'"up/mine"' not in listed(asks)


def test_with_no_account_to_ask_with_nothing_is_called_a_list(
    emulator: OpenAIEmulator, workers: Workers
) -> None:
    emulator.set_key("k", state="invalid")
    worker = workers.one_more()
    assert worker.ask("up/gpt-4o").status_code == 503
    look(worker)
    emulator.set_key("k", state="ok")
    worker.services.backends["up"].pool.revive("k")
    workers.later(31)
    look(worker)
    assert b'"up/big"' in listed(worker)


def test_kilos_workers_agree_too(tmp_path: Path) -> None:
    with KiloEmulator() as kilo, ExitStack() as stack:
        tokens = [{"name": "one", "token": kilo.add_account("alice")}]
        section = {"type": "kilo", "tokens": tokens, "hosts": {"api": kilo.url}}
        state, made = f"sqlite:///{tmp_path}/state.db", []
        for number in ("0", "1"):
            directory = tmp_path / number
            directory.mkdir()
            gateway = house(directory, {"kilo": section}, state=state)
            made.append(stack.enter_context(gateway))
            look(made[-1])
            kilo.faults.add("status", on="models", status=500, times=9)
        assert b"kilo-auto/free" in listed(made[0])
        assert b"kilo-auto/free" in listed(made[1])
