"""Access tokens are renewed exactly once, ahead of time, and safely on disk."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections import Counter
from functools import partial

import pytest

from emulators.audit import fingerprint
from emulators.kimi_connect import KimiConnectEmulator, TokenPair
from tests.chaos.conftest import OpenHouse, Skew, StartGateway
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan
from tests.chaos.waiting import eventually, together

CROWD = 200
NAMES = ("alice", "bob", "carol")


def both(pair: TokenPair) -> str:
    """An access and a refresh token, as a dump of the browser's storage."""
    return json.dumps({"access_token": pair.access, "refresh_token": pair.refresh})


def with_both(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    """A new account's tokens, fresh."""
    return both(connect.add_account(name))


def expired(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    """A new account's tokens, the access one run out a while ago."""
    return _made_earlier(connect, skew, name, 1000)


def almost_expired(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    """A new account's tokens; the access one is good for another 50 s."""
    return _made_earlier(connect, skew, name, 850)


def _made_earlier(
    connect: KimiConnectEmulator, skew: Skew, name: str, seconds: float
) -> str:
    skew.seconds = -seconds
    pair = connect.add_account(name)
    skew.seconds = 0
    return both(pair)


def without_the_newer_route(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    connect.faults.add("status", times=-1, status=503, on="RefreshToken")
    return almost_expired(connect, skew, name)


def of_short_life(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    return both(connect.add_account(name, access_life=50))


def an_hour_behind(connect: KimiConnectEmulator, skew: Skew, name: str) -> str:
    """What the service makes now has run out long ago by our clock."""
    skew.seconds = -3600
    return both(connect.add_account(name))


@pytest.fixture(scope="module")
def house(open_house: OpenHouse) -> House:
    """One worker, and a provider for every test but the crowds'."""
    plans = {
        "rotated": Plan(),
        "fresh": Plan(rooms=3, token=with_both),
        "soon": Plan(token=almost_expired),
        "older": Plan(token=without_the_newer_route),
        "short": Plan(token=of_short_life),
        "behind": Plan(token=an_hour_behind),
        "pair": Plan(names=NAMES[:2], token=with_both),
    }
    return open_house(plans)


def renewals_with(connect: KimiConnectEmulator, refresh: str) -> int:
    """How often this refresh token was shown to the emulator, on either route."""
    mark = fingerprint(refresh)
    new = [e.body["refresh_token"] for e in connect.log.of("RefreshToken")]
    old = [f"token:{e.token_hash}" for e in connect.log.of("RefreshOld")]
    return (new + old).count(f"token:{mark}")


def crowd(gateway: Gateway, number: int) -> None:
    """So many clients at once, all served."""
    replies = together(lambda n: gateway.ask(f"number {n}"), range(number))
    assert Counter(r.status for r in replies) == {200: number}
    assert [r.text for r in replies] == [f"You said: number {n}" for n in range(number)]


@pytest.mark.parametrize(
    ("worker_class", "seed"), [("gevent", "expired"), ("gthread", "missing")]
)
def test_a_crowd_over_two_workers_makes_one_renewal(
    connect: KimiConnectEmulator,
    skew: Skew,
    start_gateway: StartGateway,
    worker_class: str,
    seed: str,
) -> None:
    connect.knobs.turns_per_account = CROWD
    connect.knobs.strict_rotation = True
    # Long enough for the whole crowd to arrive meanwhile.
    slow = partial(connect.faults.add, "slow", on="RefreshToken")
    slow(delay=1.5)
    if seed == "expired":
        token = expired(connect, skew, "alice")
    else:
        token = connect.add_account("alice").refresh
    gateway = start_gateway(
        connect,
        {"alice": token},
        worker_class=worker_class,
        pool={"concurrency": CROWD},
    )
    crowd(gateway, CROWD)
    assert len(connect.log.of("RefreshToken")) == 1
    # So does one that is refused in the middle of its life.
    slow(delay=0.5)
    connect.revoke("alice", "access")
    crowd(gateway, 50)
    assert len(connect.log.of("RefreshToken")) == 2
    assert not connect.log.of("RefreshOld")


def test_a_crowd_over_three_accounts_makes_at_most_one_renewal_each(
    connect: KimiConnectEmulator, skew: Skew, start_gateway: StartGateway
) -> None:
    connect.knobs.turns_per_account = CROWD
    connect.knobs.strict_rotation = True
    connect.faults.add("slow", times=3, delay=1.0, on="RefreshToken")
    tokens = {name: expired(connect, skew, name) for name in NAMES}
    gateway = start_gateway(connect, tokens, pool={"concurrency": CROWD})
    crowd(gateway, 100)
    renewals = Counter(e.account for e in connect.log.of("RefreshToken"))
    assert renewals == dict.fromkeys(NAMES, 1)
    assert {e.account for e in connect.log.of("Chat")} == set(NAMES)


def test_a_renewal_whose_answer_is_lost_is_repeated_with_the_old_token(
    house: House,
) -> None:
    room, gateway = house.take("fresh"), house.gateway
    connect = room.emulator
    refresh = json.loads(room.tokens["alice"])["refresh_token"]
    connect.faults.add("refresh_lost")
    connect.revoke("alice", "access")
    gateway.ask("this one may fail")
    assert eventually(lambda: gateway.ask("hello").status == 200)
    assert renewals_with(connect, refresh) == 2
    assert gateway.check(refresh)["live"] is True


def test_a_token_that_runs_out_soon_is_renewed_without_any_request(
    house: House,
) -> None:
    connect = house.take("soon").emulator
    connect.log.wait_for(lambda log: any(e.name == "RefreshToken" for e in log))
    assert not connect.log.of("Chat")


def test_a_token_of_short_life_is_not_renewed_every_second(house: House) -> None:
    connect = house.take("short").emulator
    before = len(connect.log.of("RefreshToken"))
    seen_until = time.monotonic() + 3
    eventually(lambda: time.monotonic() > seen_until)
    assert len(connect.log.of("RefreshToken")) <= before + 1


def test_a_clock_that_is_wrong_by_an_hour_does_not_make_a_storm_of_renewals(
    house: House,
) -> None:
    connect, gateway = house.take("behind").emulator, house.gateway
    replies = [gateway.ask(f"number {n}") for n in range(10)]
    assert {r.status for r in replies} == {200}
    assert len(connect.log.of("RefreshToken")) <= 2


def test_a_failing_token_service_is_replaced_by_the_older_route(house: House) -> None:
    connect, gateway = house.take("older").emulator, house.gateway
    answered = connect.log.wait_for(
        lambda log: any(e.name == "RefreshOld" and e.status == 200 for e in log)
    )
    assert sum(e.name == "RefreshOld" for e in answered) == 1
    assert gateway.ask("hello").text == "You said: hello"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def test_with_the_token_service_down_a_valid_token_serves_and_is_renewed_later(
    connect: KimiConnectEmulator, skew: Skew, start_gateway: StartGateway
) -> None:
    service = KimiConnectEmulator(skew.now)
    service.world = connect.world
    port = free_port()
    token = almost_expired(connect, skew, "alice")
    hosts = {"api": connect.url, "auth": f"http://127.0.0.1:{port}"}
    gateway = start_gateway(connect, {"alice": token}, hosts=hosts, workers=1)
    assert eventually(lambda: gateway.log_says("renewing the token of kimi/alice fail"))
    assert gateway.ask("hello").text == "You said: hello"
    with service.start(port):
        service.log.wait_for(
            lambda log: any(e.name == "RefreshToken" for e in log), timeout=25
        )
        assert gateway.ask("again").text == "You said: again"


def test_a_token_revoked_before_its_time_is_renewed_unseen(house: House) -> None:
    connect, gateway = house.take("fresh").emulator, house.gateway
    for route in ("http", "trailer"):
        connect.knobs.expired_in_trailer = route == "trailer"
        connect.revoke("alice", "access")
        assert gateway.ask(f"by {route}", stream=True).text == f"You said: by {route}"
    assert len(connect.log.of("RefreshToken")) == 2


def test_a_token_refused_twice_moves_the_request_to_another_account(
    house: House,
) -> None:
    connect, gateway = house.take("pair").emulator, house.gateway
    refuse = partial(
        connect.faults.add, "error", times=-1, where="http", error="unauthenticated"
    )
    refuse(account="alice")
    replies = [gateway.ask(f"number {n}") for n in range(4)]
    assert {r.status for r in replies} == {200}
    assert 1 <= len(connect.log.of("Chat", "alice")) <= 2
    refuse(account="bob")
    last = gateway.ask("nobody is left")
    assert last.status in {429, 503}


# These kill what the tests above share: whatever was under way begins again.
def test_a_rotated_token_is_on_disk_before_it_is_used_so_kill_9_loses_nothing(
    house: House,
) -> None:
    room, gateway = house.take("rotated"), house.gateway
    connect, token = room.emulator, room.tokens["alice"]
    connect.knobs.strict_rotation = True
    connect.faults.add("hang", on="Chat")
    with gateway.open("never answered"):
        connect.log.wait_for(lambda log: any(e.name == "Chat" for e in log))
        gateway.kill()
    gateway.start()
    assert gateway.ask("hello").text == "You said: hello"
    assert renewals_with(connect, token) == 1
    assert len(connect.log.of("RefreshToken")) == 1
    # The rotated refresh token is there, too, and it works.
    connect.revoke("alice", "access")
    assert gateway.ask("again").text == "You said: again"
    assert renewals_with(connect, token) == 1
    assert len(connect.log.of("RefreshToken")) == 2
    assert gateway.check(token)["live"] is True


def test_a_worker_killed_in_a_renewal_does_not_block_the_next_one(
    house: House,
) -> None:
    connect, gateway = house.take("fresh").emulator, house.gateway
    connect.faults.add("hang", on="RefreshToken")
    connect.revoke("alice", "access")
    (before,) = gateway.workers()
    with gateway.open("never answered"):
        connect.log.wait_for(lambda log: any(e.name == "RefreshToken" for e in log))
        os.kill(before, signal.SIGKILL)
    assert eventually(lambda: gateway.beating() - {before})
    assert gateway.ask("hello").text == "You said: hello"
