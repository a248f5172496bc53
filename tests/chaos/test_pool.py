"""The pool under load: the dead, the cooled and the busy are left alone."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import pytest

from emulators.audit import Entry
from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_legacy import Answer as LegacyAnswer
from tests.chaos.conftest import OpenHouse, Skew
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan
from tests.chaos.waiting import eventually, together

NAMES = ("alice", "bob", "carol")
REST = 3.0
# What puts an account aside, by the account it happens to. The overload counts as a
# failure, so the threshold of these tests is one.
COOLING: Mapping[str, Mapping[str, Any]] = {
    "limited-by-status": {"error": "concurrency", "where": "http", "retry_after": 3},
    "limited-in-trailer": {"error": "concurrency", "retry_after": 3},
    "limited-in-frame": {"error": "concurrency", "where": "frame", "retry_after": 3},
    "in-progress": {"error": "session_in_progress"},
    "overloaded": {"error": "overloaded_free"},
}


def without_alice(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    """A new account's refresh token; alice's has been revoked."""
    connect.knobs.strict_rotation = True
    token = connect.add_account(name).refresh
    connect.revoke("alice")
    return token


def pool(**settings: Any) -> dict[str, Any]:
    return {"pool": settings}


BRISK = pool(cooldown=REST, max_cooldown=REST, failure_threshold=1)
EITHER = {"connect": Plan(rooms=2, names=NAMES), "legacy": Plan("legacy", names=NAMES)}
ONE = {
    "dead": Plan(names=NAMES, token=without_alice),
    "cooling": Plan(names=(*COOLING, "healthy"), settings=BRISK),
    "impatient": Plan(rooms=2, names=NAMES, settings=pool(wait=0.2)),
    "alone": Plan(),
    "short-queue": Plan(settings=pool(wait=0.5, queue=2)),
}


@pytest.fixture(scope="module")
def gevent(open_house: OpenHouse) -> House:
    """Two workers, and a provider for every test."""
    return open_house({**EITHER, **ONE}, workers=2)


@pytest.fixture(scope="module")
def gthread(open_house: OpenHouse) -> House:
    return open_house(EITHER, worker_class="gthread", workers=2)


@pytest.fixture(params=["gevent", "gthread"])
def house(request: pytest.FixtureRequest) -> House:
    found: House = request.getfixturevalue(request.param)
    return found


def count(gateway: Gateway, state: str) -> float:
    """How many accounts of the provider are in this state."""
    provider = gateway.provider
    return gateway.metric("kimi_proxy_accounts", provider=provider, state=state)


def test_a_dead_account_among_three_is_seen_by_no_client_and_said_by_token_check(
    gevent: House,
) -> None:
    room, gateway = gevent.take("dead"), gevent.gateway
    connect, tokens = room.emulator, room.tokens
    replies = together(lambda n: gateway.ask(f"number {n}"), range(40))
    assert Counter(r.status for r in replies) == {200: 40}
    report = gateway.check(tokens["alice"])
    assert (report["live"], report["state"]) == (False, "dead")
    assert report["account"] == "alice"
    assert "log in again" in report["reason"]
    assert count(gateway, "dead") == 1
    assert count(gateway, "ok") == 2

    before = len(connect.log.all())
    together(lambda n: gateway.ask(f"more {n}"), range(20))
    assert all(e.account != "alice" for e in connect.log.all()[before:])

    gateway.kill()
    provider = gateway.config["providers"][gateway.provider]
    provider["tokens"][0]["token"] = connect.login("alice").refresh
    gateway.start()
    together(lambda n: gateway.ask(f"after {n}"), range(20))
    assert count(gateway, "ok") == 3
    chats = connect.log.of("Chat", "alice")
    assert any(e.status == 200 for e in chats)


def test_an_account_that_dies_in_service_is_seen_by_no_client(house: House) -> None:
    room, gateway = house.take("connect"), house.gateway
    connect, tokens = room.emulator, room.tokens
    connect.knobs.strict_rotation = True
    assert gateway.ask("warm up").status == 200

    def ask(number: int) -> int:
        if number == 20:
            connect.revoke("bob")
        return gateway.ask(f"number {number}").status

    assert set(together(ask, range(60))) == {200}
    eventually(lambda: gateway.ask("on").status and _is_dead(gateway, tokens["bob"]))
    assert count(gateway, "dead") == 1


def _is_dead(gateway: Gateway, token: str) -> bool:
    return bool(gateway.check(token)["state"] == "dead")


def calls_after(entries: Iterable[Entry], moment: float, seconds: float) -> list[str]:
    return [e.name for e in entries if moment < e.at < moment + seconds]


def test_a_cooled_account_gets_no_request_of_any_kind_before_its_time(
    gevent: House,
) -> None:
    connect, gateway = gevent.take("cooling").emulator, gevent.gateway
    together(lambda n: gateway.ask(f"number {n}"), range(12))
    eventually(lambda: not gateway.journal())
    for name, params in COOLING.items():
        connect.faults.add("error", account=name, **params)

    began = time.monotonic()
    while time.monotonic() < began + REST + 1:
        assert gateway.ask("again").status == 200
    # One alone would go to the account without a blemish; a crowd needs them all.
    connect.answer = Answer("a slow answer", delay=0.3)
    replies = together(lambda n: gateway.ask(f"last {n}"), range(12))
    assert {r.status for r in replies} == {200}
    for name in COOLING:
        of_account = [e for e in connect.log.all() if e.account == name]
        failed = next(e for e in of_account if e.at > began and e.name == "Chat")
        answered = failed.closed_at or failed.at
        assert calls_after(of_account, answered, REST - 0.2) == [], name
        later = [e for e in of_account if e.at > answered + REST - 0.2]
        assert any(e.name == "Chat" and e.status == 200 for e in later), name


@pytest.mark.parametrize(("rest", "hopeless"), [(30, False), (90, True)])
def test_with_every_account_cooling_the_client_is_told_when_to_come_back(
    gevent: House, rest: int, hopeless: bool
) -> None:
    connect, gateway = gevent.take("impatient").emulator, gevent.gateway
    connect.faults.add(
        "error", times=3, error="concurrency", where="http", retry_after=rest
    )
    first = gateway.ask("all three refuse")
    assert first.status == 429
    assert first.error is not None
    assert first.error["code"] == "upstream_rate_limited"

    before = len(connect.log.all())
    for stream in (True, False):
        reply = gateway.ask("nobody left", stream=stream)
        assert reply.status == 429
        assert reply.error is not None
        assert reply.error["code"] == "accounts_cooling"
        assert reply.error["type"] == "rate_limit_error"
        assert rest - 10 < float(reply.headers["retry-after"]) <= rest
        assert float(reply.headers["retry-after-ms"]) <= rest * 1000
        assert reply.headers.get("x-should-retry") == ("false" if hopeless else None)
    assert count(gateway, "cooling") == 3

    gateway.kill()
    gateway.start()
    reply = gateway.ask("after the restart")
    assert reply.status == 429
    assert rest - 20 < float(reply.headers["retry-after"]) <= rest
    named = [e for e in connect.log.all()[before:] if e.account]
    assert named == []


def overlaps(entries: Iterable[Entry]) -> list[tuple[int, int]]:
    """Pairs of turns of one account that ran at the same time."""
    turns = sorted(
        (e.opened_at, e.facts["turn_ended_at"], e.id)
        for e in entries
        if e.opened_at is not None
    )
    return [(a[2], b[2]) for a, b in pairwise(turns) if b[0] < a[1]]


def test_never_two_streams_on_one_account_and_everybody_is_served(house: House) -> None:
    connect, gateway = house.take("connect").emulator, house.gateway
    connect.answer = lambda prompt, _: Answer(f"You said: {prompt}", delay=0.01)

    def client(number: int) -> list[str]:
        return [
            gateway.ask(f"{number}/{turn}", stream=turn % 2 == 0).text
            for turn in range(3)
        ]

    texts = together(client, range(20))
    assert texts == [[f"You said: {n}/{turn}" for turn in range(3)] for n in range(20)]
    # It is noted after the client has its answer.
    eventually(lambda: all("turn_ended_at" in e.facts for e in connect.log.of("Chat")))
    chats = connect.log.of("Chat")
    assert len(chats) == 60
    assert not [e for e in chats if "refused" in e.facts]
    for name in NAMES:
        mine = [e for e in chats if e.account == name]
        assert len(mine) > 10
        assert overlaps(mine) == []


def test_legacy_never_two_streams_on_one_account_and_everybody_is_served(
    house: House,
) -> None:
    legacy, gateway = house.take("legacy").emulator, house.gateway
    legacy.answer = lambda prompt, _: LegacyAnswer(f"You said: {prompt}", delay=0.01)
    replies = together(lambda n: gateway.ask(f"number {n}"), range(40))
    assert Counter(r.status for r in replies) == {200: 40}
    completions = legacy.log.of("completion")
    assert len(completions) == 40
    assert all(e.opened_at for e in completions)  # none was refused
    assert legacy.violations() == []


def waiting(gateway: Gateway) -> int:
    """How many requests wait for an account, over all workers."""
    return len(gateway.pool().get("waiters", ()))


def test_the_queue_is_served_in_the_order_of_arrival_over_both_workers(
    gevent: House,
) -> None:
    connect, gateway = gevent.take("alone").emulator, gevent.gateway
    connect.faults.add("silence", seconds=60, heartbeats=False)
    holder = gateway.open("holder", stream=True)
    connect.log.wait_for(lambda log: any(e.name == "Chat" for e in log))
    queue = []
    for number in range(8):
        queue.append(gateway.open(f"number {number}"))
        eventually(lambda: waiting(gateway) == len(queue))
    holder.leave()
    assert [caller.reply().status for caller in queue] == [200] * 8
    chats = connect.log.of("Chat")[1:]
    asked = [e.body["message"]["blocks"][0]["text"]["content"] for e in chats]
    assert asked == [f"number {n}" for n in range(8)]


def test_the_wait_for_an_account_is_bounded(gevent: House) -> None:
    connect, gateway = gevent.take("short-queue").emulator, gevent.gateway
    connect.faults.add("silence", seconds=60, heartbeats=False)
    with gateway.open("holder", stream=True) as holder:
        connect.log.wait_for(lambda log: any(e.name == "Chat" for e in log))
        replies = together(lambda n: gateway.ask(f"number {n}"), range(5))
        holder.leave()
    assert {r.status for r in replies} == {429}
    assert {(r.error or {})["code"] for r in replies} == {"accounts_busy"}
    assert all("retry-after" in r.headers for r in replies)
    assert len(connect.log.of("Chat")) == 1
    assert gateway.ask("afterwards").status == 200
