"""A connection cut anywhere never looks like success."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import Emulator, OpenHouse
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan, Room
from tests.chaos.reply import Reply
from tests.chaos.waiting import eventually

TEXT = "The quick brown fox jumps over the lazy dog. 敏捷的棕狐 🦊"
POOL = {"cooldown": 0.01, "max_cooldown": 0.01, "wait": 2}
RANDOM_BYTES = 40


@pytest.fixture(scope="module")
def house(open_house: OpenHouse) -> House:
    """One worker for both wires; who asks next says which."""
    pool = {"pool": POOL}
    return open_house(
        {"connect": Plan(settings=pool), "legacy": Plan("legacy", settings=pool)}
    )


@pytest.fixture(scope="module")
def rooms(house: House) -> Mapping[str, Room]:
    return {wire: house.take(wire) for wire in ("connect", "legacy")}


@pytest.fixture
def connect_gateway(house: House, rooms: Mapping[str, Room]) -> Gateway:
    house.gateway.provider = rooms["connect"].provider
    return house.gateway


@pytest.fixture
def legacy_gateway(house: House, rooms: Mapping[str, Room]) -> Gateway:
    house.gateway.provider = rooms["legacy"].provider
    return house.gateway


@pytest.fixture
def connect(rooms: Mapping[str, Room]) -> KimiConnectEmulator:
    emulator: KimiConnectEmulator = rooms["connect"].emulator
    emulator.reset()
    emulator.knobs.generates_after_disconnect = 0
    emulator.answer = Answer(TEXT, pieces=6)
    return emulator


@pytest.fixture
def legacy(rooms: Mapping[str, Room]) -> KimiLegacyEmulator:
    emulator: KimiLegacyEmulator = rooms["legacy"].emulator
    emulator.reset()
    emulator.knobs.generates_after_disconnect = 0
    emulator.answer = LegacyAnswer(TEXT, pieces=6)
    return emulator


def measure(gateway: Gateway, emulator: Emulator, name: str) -> tuple[int, int]:
    """Frames and bytes of the whole answer, uncut."""
    emulator.log.clear()
    assert gateway.ask("uncut", stream=True).text == TEXT
    # How much it sent is written down after the last of it.
    eventually(lambda: emulator.log.of(name)[-1].closed_at)
    entry = emulator.log.of(name)[-1]
    return entry.frames, entry.sent


def assert_never_half_a_success(reply: Reply, cut: object) -> None:
    """A success has the whole text; anything less says that it failed."""
    assert not reply.broken
    if reply.claims_success:
        assert reply.text == TEXT, cut
        return
    assert reply.error is not None, cut
    assert reply.finish_reason is None
    assert not reply.done
    if reply.streamed:
        assert TEXT.startswith(reply.text)
    else:
        assert reply.status == 503
        assert b"quick" not in reply.body


def cuts(frames: int, size: int) -> list[dict[str, Any]]:
    """Before every frame, and inside frames at bytes of a fixed random choice."""
    chosen = random.Random(f"cut {size}").sample(range(1, size), RANDOM_BYTES)
    at_frames: list[dict[str, Any]] = [{"after_frames": n} for n in range(frames)]
    return at_frames + [{"at_byte": at} for at in sorted(chosen)]


@pytest.mark.parametrize("manner", ["fin", "rst", "close_delimited"])
def test_an_answer_cut_anywhere_never_looks_like_success(
    connect: KimiConnectEmulator, connect_gateway: Gateway, manner: str
) -> None:
    gateway = connect_gateway
    frames, size = measure(gateway, connect, "Chat")
    for cut in cuts(frames, size):
        for stream in (True, False):
            connect.faults.add("cut", times=-1, rst=manner == "rst", **cut)
            if manner == "close_delimited":
                connect.faults.add("close_delimited", times=-1)
            reply = gateway.ask(f"{cut}", stream=stream)
            connect.faults.clear()
            assert_never_half_a_success(reply, cut)
            if manner != "close_delimited":
                assert not reply.claims_success, cut
    eventually(lambda: not connect.running())


def test_an_answer_without_its_end_is_no_success(
    connect: KimiConnectEmulator, connect_gateway: Gateway
) -> None:
    gateway = connect_gateway
    for delimited in (True, False):
        for stream in (True, False):
            connect.faults.add("no_end", times=-1)
            if delimited:
                connect.faults.add("close_delimited", times=-1)
            reply = gateway.ask("no end", stream=stream)
            connect.faults.clear()
            assert not reply.claims_success
            assert (reply.error or {})["code"] == "upstream_cut"


@pytest.mark.parametrize("chunked", [True, False])
def test_legacy_an_answer_cut_anywhere_never_looks_like_success(
    legacy: KimiLegacyEmulator, legacy_gateway: Gateway, chunked: bool
) -> None:
    gateway = legacy_gateway
    legacy.knobs.chunked = chunked
    _, size = measure(gateway, legacy, "completion")
    for cut in cuts(0, size):
        for stream in (True, False):
            legacy.faults.add("cut", times=-1, rst=False, **cut)
            reply = gateway.ask(f"{cut}", stream=stream)
            legacy.faults.clear()
            assert_never_half_a_success(reply, cut)
            assert not reply.claims_success, cut


@pytest.mark.parametrize("clean", [True, False])
def test_legacy_an_answer_without_all_done_is_no_success(
    legacy: KimiLegacyEmulator, legacy_gateway: Gateway, clean: bool
) -> None:
    gateway = legacy_gateway
    for done in (True, False):
        for stream in (True, False):
            legacy.faults.add("no_all_done", times=-1, done=done, clean=clean)
            reply = gateway.ask("no end", stream=stream)
            legacy.faults.clear()
            assert not reply.claims_success
            assert (reply.error or {})["code"] == "upstream_cut"
