"""The state outlives restarts, serves two gateways as one, and may run out of disk."""

from __future__ import annotations

import resource
import sqlite3
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.chaos.conftest import OpenHouse, StartGateway
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan
from tests.chaos.waiting import eventually, together

NAMES = ("alice", "bob", "carol")


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def house(request: pytest.FixtureRequest, open_house: OpenHouse) -> House:
    """One worker, and a provider for every test."""
    plans = {
        "one": Plan(),
        "two": Plan(names=NAMES[:2]),
        "three": Plan(rooms=2, names=NAMES),
    }
    return open_house(plans, worker_class=request.param)


def test_a_restart_between_requests_keeps_tokens_and_cool_downs(house: House) -> None:
    room, gateway = house.take("two"), house.gateway
    connect, tokens = room.emulator, room.tokens
    connect.knobs.strict_rotation = True
    eventually(lambda: len(connect.log.of("RefreshToken")) == 2)
    connect.faults.add("error", error="concurrency", where="http", retry_after=300)
    assert gateway.ask("one account is cooled").status == 200
    (cooled,) = (e.account for e in connect.log.of("Chat") if e.status == 429)
    before = len(connect.log.all())
    for graceful in (True, False):
        if graceful:
            gateway.stop()
        gateway.kill()
        gateway.start()
        assert gateway.ask("after the restart").status == 200
    assert len(connect.log.of("RefreshToken")) == 2
    assert all(e.account != cooled for e in connect.log.all()[before:])
    assert gateway.check(tokens[str(cooled)])["state"] == "cooling"


def test_two_gateways_on_one_state_behave_as_one(
    connect: KimiConnectEmulator, start_gateway: StartGateway, tmp_path: Path
) -> None:
    connect.knobs.strict_rotation = True
    connect.answer = lambda prompt, _: Answer(f"You said: {prompt}", delay=0.01)
    tokens = {name: connect.add_account(name).refresh for name in NAMES}
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o700)
    gateways = [
        start_gateway(connect, tokens, worker_class=kind, workers=1, state=shared)
        for kind in ("gevent", "gthread")
    ]
    replies = together(lambda n: gateways[n % 2].ask(f"number {n}"), range(40))
    assert [r.text for r in replies] == [f"You said: number {n}" for n in range(40)]
    renewals = Counter(e.account for e in connect.log.of("RefreshToken"))
    assert renewals == dict.fromkeys(NAMES, 1)
    assert not [e for e in connect.log.of("Chat") if "refused" in e.facts]
    eventually(lambda: not connect.chats())
    # What one has learnt the other knows.
    connect.faults.add("error", times=3, error="concurrency", where="http")
    assert gateways[0].ask("all refuse").status == 429
    assert gateways[1].metric("kimi_proxy_accounts", state="cooling") == 3


def set_largest_file(gateway: Gateway, size: int) -> None:
    """As a full disk does: no process of the gateway can write behind this byte."""
    for pid in gateway.workers():
        _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))


def test_a_full_disk_is_said_and_survived(house: House) -> None:
    connect, gateway = house.take("three").emulator, house.gateway
    assert gateway.ask("before").status == 200
    eventually(lambda: not connect.chats())

    set_largest_file(gateway, 1)
    before = len(connect.log.of("Chat"))
    for stream in (True, False):
        reply = gateway.ask("no room", stream=stream)
        assert reply.status == 503
        assert reply.error is not None
        assert reply.error["code"] == "state_unavailable"
    ready = gateway.get("/readyz")
    assert ready.status == 503
    assert ready.document["ready"] is False
    assert gateway.get("/healthz").status == 200
    assert len(connect.log.of("Chat")) == before

    set_largest_file(gateway, resource.RLIM_INFINITY)
    assert gateway.ask("after").text == "You said: after"
    assert gateway.get("/readyz").status == 200
    eventually(lambda: not connect.chats())


def test_a_disk_that_fills_up_in_the_middle_of_an_answer_lets_it_end(
    house: House,
) -> None:
    connect, gateway = house.take("one").emulator, house.gateway
    before = len(gateway.log)
    connect.answer = Answer("one two three", pieces=4)
    connect.faults.add("silence", seconds=1, after_content=2)
    with gateway.open("hello", stream=True) as caller:
        caller.read_until(b"one ")
        set_largest_file(gateway, 1)
        reply = caller.reply()
    assert reply.text == "one two three"
    assert reply.done
    set_largest_file(gateway, resource.RLIM_INFINITY)
    # The slot could not be given back on the disk; it must not be lost for that.
    assert eventually(lambda: gateway.ask("after").status == 200)
    eventually(lambda: not connect.chats())
    assert gateway.pool()["leases"] == {}
    assert b"Traceback" not in gateway.log[before:]
    assert gateway.get("/metrics").status == 200


def test_a_state_that_is_locked_for_a_moment_costs_time_and_no_request(
    house: House,
) -> None:
    house.take("three")
    gateway = house.gateway
    path = str(gateway.config["state"]).removeprefix("sqlite:///")
    live = path.removesuffix(".db") + ".live.db"
    with (
        closing(sqlite3.connect(live, isolation_level=None)) as other,
        ThreadPoolExecutor(12) as clients,
    ):
        other.execute("BEGIN IMMEDIATE")
        asking = [clients.submit(gateway.ask, f"number {n}") for n in range(12)]
        # What needs no state is answered meanwhile.
        assert gateway.get("/healthz").status == 200
        assert not any(each.done() for each in asking)
        other.execute("COMMIT")
        assert {each.result(timeout=30).status for each in asking} == {200}


def test_a_state_that_is_removed_costs_no_account_its_log_in(
    connect: KimiConnectEmulator, start_gateway: StartGateway, tmp_path: Path
) -> None:
    """The refresh tokens of the configuration were rotated away long ago."""
    connect.knobs.strict_rotation = True
    tokens = {name: connect.add_account(name).refresh for name in NAMES[:2]}
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    gateway = start_gateway(connect, tokens, state=state)
    eventually(lambda: len(connect.log.of("RefreshToken")) == 2)
    assert gateway.ask("before").status == 200
    for path in state.iterdir():
        path.unlink()
    # Each worker looks every few seconds.
    eventually(lambda: gateway.log.count(b"state.db was replaced") == 2)
    eventually(lambda: len(gateway.beating()) == 2)
    replies = together(lambda n: gateway.ask(f"number {n}"), range(20))
    assert {r.status for r in replies} == {200}
    gateway.kill()
    gateway.start()
    assert gateway.ask("after the restart").status == 200
    assert len(connect.log.of("RefreshToken")) == 2
