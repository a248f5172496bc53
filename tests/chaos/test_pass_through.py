"""Clients that bring their own Kimi tokens as their bearer."""

from __future__ import annotations

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from tests.chaos.caller import Caller
from tests.chaos.conftest import StartGateway
from tests.chaos.gateway import KEY, Gateway
from tests.chaos.reply import Reply
from tests.chaos.waiting import eventually

BODY = {"model": "kimi", "messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def open_to_guests(
    shared_connect: KimiConnectEmulator, start_shared: StartGateway
) -> Gateway:
    tokens = {"own": shared_connect.add_account("own").refresh}
    more = {"pass_through": {"provider": "kimi"}}
    return start_shared(shared_connect, tokens, more=more, workers=1)


# Each test has guests of its own.
@pytest.fixture
def connect(shared_connect: KimiConnectEmulator) -> KimiConnectEmulator:
    shared_connect.reset()
    return shared_connect


@pytest.fixture
def gateway(connect: KimiConnectEmulator, open_to_guests: Gateway) -> Gateway:
    return open_to_guests


def ask(gateway: Gateway, bearer: str, model: str = "kimi") -> Reply:
    with Caller(gateway.port) as caller:
        body = {**BODY, "model": model}
        caller.send("POST", "/v1/chat/completions", key=bearer, body=body)
        return caller.reply()


def served(connect: KimiConnectEmulator) -> list[str | None]:
    return [entry.account for entry in connect.log.of("Chat")]


def test_a_guest_is_served_by_its_own_account_only_and_nothing_is_left_of_it(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    guest = connect.add_account("guest").refresh
    for _ in range(3):
        assert ask(gateway, guest).status == 200
    assert served(connect) == ["guest"] * 3
    assert len(connect.log.of("RefreshToken", "guest")) == 1
    eventually(lambda: not connect.chats("guest"))


def test_a_guest_s_rotated_token_outlives_the_gateway(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    connect.knobs.strict_rotation = True
    guest = connect.add_account("traveller").refresh
    assert ask(gateway, guest).status == 200
    gateway.kill()
    gateway.start()
    assert ask(gateway, guest).status == 200
    assert len(connect.log.of("RefreshToken", "traveller")) == 1


def test_strangers_beyond_the_limit_leave_nothing_in_the_state(
    connect: KimiConnectEmulator, start_gateway: StartGateway
) -> None:
    tokens = {"own": connect.add_account("strict").refresh}
    more = {"pass_through": {"provider": "kimi"}, "limits": {"per_ip": "3/minute"}}
    gateway = start_gateway(connect, tokens, more=more, workers=1)
    for name in (f"stranger-{n}" for n in range(12)):
        token = connect.add_account(name).refresh
        connect.revoke(name)
        assert ask(gateway, token).status in {401, 429}
    assert len(gateway.pool()["accounts"].keys() - {"own"}) == 3


def test_several_tokens_of_a_guest_are_a_pool_that_fails_over(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    dead, live = (connect.add_account(name).refresh for name in ("fallen", "here"))
    connect.revoke("fallen")
    for _ in range(3):
        assert ask(gateway, f"{dead}, {live}").status == 200
    assert set(served(connect)) == {"here"}


def test_a_guests_dead_token_is_its_own_401(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    token = connect.add_account("gone").refresh
    connect.revoke("gone")
    for _ in range(2):
        reply = ask(gateway, token)
        assert reply.error is not None
        assert (reply.status, reply.error["code"]) == (401, "invalid_api_key")
        assert token.encode() not in reply.body
    assert served(connect) == []


@pytest.mark.parametrize("bearer", ["nonsense", "sk-made-up-0123456789", ","])
def test_what_is_neither_key_nor_token_is_refused(
    connect: KimiConnectEmulator, gateway: Gateway, bearer: str
) -> None:
    assert ask(gateway, bearer).status == 401
    assert served(connect) == []


def test_a_key_of_the_gateways_own_still_opens_its_own_accounts(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    assert ask(gateway, KEY).status == 200
    assert served(connect) == ["own"]


def test_a_guest_may_use_only_what_its_tokens_are_for(
    connect: KimiConnectEmulator, gateway: Gateway
) -> None:
    guest = connect.add_account("visitor").refresh
    assert ask(gateway, guest, "kimi/k2d6-chat").status == 200
    assert ask(gateway, guest, "other/model").status in {403, 404}
