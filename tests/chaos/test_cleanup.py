"""No chat of ours is left in the user's account, whatever went wrong."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from contextlib import closing
from typing import Any

import pytest

from emulators.kimi_connect import Answer
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from kimi_proxy.storage import open_store
from tests.chaos.conftest import Emulator, OpenHouse
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan
from tests.chaos.waiting import eventually

MISHAPS: Mapping[str, Mapping[str, Any]] = {
    "error": {"error": "internal", "after_content": 1},
    "exception": {"severity": "SEVERITY_BLOCK_RETRACT", "after_content": 1},
    "cut": {"after_frames": 6},
    "garbage": {"after_content": 1},
    "no_end": {},
}


def is_clean(emulator: Emulator, gateway: Gateway) -> bool:
    return not emulator.chats() and not gateway.journal()


@pytest.fixture(scope="module")
def house(open_house: OpenHouse) -> House:
    """Two workers, and a provider for every test."""
    two = ("alice", "bob")
    plans = {
        "connect": Plan(rooms=3),
        "connect-of-two": Plan(rooms=2, names=two),
        "legacy": Plan("legacy"),
        "legacy-of-two": Plan("legacy", names=two),
    }
    return open_house(plans, workers=2)


def test_a_chat_is_deleted_after_success_and_after_every_mishap(house: House) -> None:
    connect, gateway = house.take("connect").emulator, house.gateway
    connect.answer = Answer("one two three", pieces=4)
    for stream in (True, False):
        assert gateway.ask("hello", stream=stream).status == 200
        for name, params in MISHAPS.items():
            connect.faults.add(name, **params)
            assert gateway.ask(f"to be hit by {name}", stream=stream).error
    assert len({e.facts["chat_id"] for e in connect.log.of("Chat")}) == 12
    eventually(lambda: is_clean(connect, gateway))


def test_legacy_a_chat_is_deleted_although_the_deletion_answers_an_error(
    house: House,
) -> None:
    legacy, gateway = house.take("legacy").emulator, house.gateway
    legacy.answer = LegacyAnswer("one two three", pieces=4)
    legacy.faults.add("delete_fails", times=2)
    assert gateway.ask("hello", stream=True).claims_success
    for fault in ("error_event", "garbled", "no_all_done", "cut"):
        if fault == "cut":
            legacy.faults.add(fault, at_byte=300)
        else:
            legacy.faults.add(fault)
        assert not gateway.ask("hello", stream=True).claims_success
    assert len(legacy.log.of("create")) == 5
    eventually(lambda: is_clean(legacy, gateway))


def test_a_deletion_that_fails_is_tried_again(house: House) -> None:
    connect, gateway = house.take("connect").emulator, house.gateway
    connect.faults.add("status", times=2, status=503, on="DeleteChat")
    assert gateway.ask("hello").status == 200
    eventually(lambda: is_clean(connect, gateway))
    assert len(connect.log.of("DeleteChat")) == 3


@pytest.mark.parametrize("wire", ["connect", "legacy"])
def test_the_chats_of_a_killed_worker_are_deleted_by_another(
    house: House, wire: str
) -> None:
    emulator, gateway = house.take(f"{wire}-of-two").emulator, house.gateway
    stall(emulator)
    with gateway.open("cut in the middle", stream=True) as caller:
        caller.read_until(b"one ")
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
    eventually(lambda: is_clean(emulator, gateway))
    # What the dead had open counts no longer; the one left is the scrape itself.
    eventually(lambda: gateway.metric("kimi_proxy_open_requests") == 1)
    # Both accounts serve again: the dead hold neither.
    assert gateway.ask("and on it goes").status == 200
    eventually(lambda: gateway.pool()["leases"] == {})


def test_the_chats_of_a_killed_gateway_are_deleted_after_its_restart(
    house: House,
) -> None:
    connect, gateway = house.take("connect-of-two").emulator, house.gateway
    stall(connect)
    # One with a name, one whose name was never heard.
    connect.faults.add("silence", after=1, seconds=60, before_chat=True)
    with gateway.open("named", stream=True) as named:
        named.read_until(b"one ")
        with gateway.open("unnamed", stream=True):
            connect.log.wait_for(lambda log: sum(e.name == "Chat" for e in log) == 2)
            gateway.kill()
    eventually(lambda: len(connect.chats()) == 2)
    gateway.start()
    eventually(lambda: is_clean(connect, gateway), timeout=20)


def stall(emulator: Emulator) -> None:
    """Let the next answer stop in its middle, and turns end with their clients."""
    emulator.knobs.generates_after_disconnect = 0
    if isinstance(emulator, KimiLegacyEmulator):
        emulator.answer = LegacyAnswer("one two three", pieces=4)
        emulator.faults.add("stall", at=2)
    else:
        emulator.answer = Answer("one two three", pieces=4)
        emulator.faults.add("silence", seconds=60, after_content=2, heartbeats=False)


def test_the_chat_of_a_long_answer_is_not_taken_for_one_of_a_dead_worker(
    house: House,
) -> None:
    connect, gateway = house.take("connect").emulator, house.gateway
    stall(connect)
    with gateway.open("a long one", stream=True) as caller:
        caller.read_until(b"one ")
        make_older(gateway, seconds=600)
        # Two passes of each worker's sweeper, which looks every second.
        for _ in range(4):
            caller.received = b""
            caller.read_until(b": keep-alive")
        assert len(connect.chats()) == 1
        caller.leave()
    eventually(lambda: is_clean(connect, gateway))


def make_older(gateway: Gateway, seconds: float) -> None:
    """Let the journal look as if its chats had been made long ago."""

    def change(found: dict[str, Any] | None) -> tuple[dict[str, Any] | None, None]:
        assert found is not None
        return {**found, "at": found["at"] - seconds}, None

    with closing(open_store(gateway.config["state"], _no_clock)) as store:
        for key, _ in store.live.scan(f"chat/{gateway.provider}/"):
            store.live.update(key, change)


def _no_clock() -> float:
    return 0.0
