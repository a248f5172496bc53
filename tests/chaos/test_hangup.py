"""A client that leaves is noticed at once, at every stage, on every wire and worker."""

from __future__ import annotations

import http.client
import json
import struct
import time
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.audit import Entry
from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_connect.answer import quote
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import OpenHouse
from tests.chaos.gateway import Gateway
from tests.chaos.house import House, Plan, Room
from tests.chaos.waiting import eventually

# The promise is 250 ms; the rest is for a machine that is busy with other tests.
PROMISED = 0.25
MARGIN = 0.35
SLOW = Answer("one two three four", pieces=("one ", "two ", "three ", "four"))


def aborted(entry: Entry) -> bool:
    return entry.aborted_at is not None


def seen_leaving(
    emulator: KimiConnectEmulator | KimiLegacyEmulator, name: str, left: float
) -> None:
    """The upstream's connection was closed within the promise."""
    log = emulator.log.wait_for(
        lambda log: any(e.name == name and aborted(e) for e in log)
    )
    closed = next(e.aborted_at for e in log if e.name == name and aborted(e))
    assert closed is not None
    assert closed - left < PROMISED + MARGIN


def is_tidy(gateway: Gateway) -> bool:
    """No lease, nobody in the queue, no chat waiting for its deletion."""
    pool = gateway.pool()
    return not (pool["leases"] or pool["waiters"] or gateway.journal())


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def house(request: pytest.FixtureRequest, open_house: OpenHouse) -> House:
    """A gateway of one worker, in which each test has an account of its own."""
    plans = {"connect": Plan(rooms=5), "legacy": Plan("legacy", rooms=5)}
    return open_house(plans, worker_class=request.param)


class Guest:
    """The only account of a provider, and the emulator it is at."""

    def __init__(self, gateway: Gateway, room: Room) -> None:
        self.gateway, self.emulator = gateway, room.emulator
        assert gateway.ask("warm up").status == 200
        eventually(lambda: is_tidy(gateway))
        self.emulator.log.clear()

    def is_clean(self) -> None:
        eventually(lambda: not self.emulator.chats())
        eventually(lambda: is_tidy(self.gateway))


class Connect(Guest):
    """At the Connect emulator."""

    def fault(self, name: str, **params: Any) -> None:
        self.emulator.faults.add(name, **params)

    def serves_at_once(self) -> None:
        """The only account's slot is free: the very next request goes through."""
        reply = self.gateway.ask("next")
        assert reply.text == "You said: next"
        chats = self.emulator.log.of("Chat")
        assert not [e for e in chats if "refused" in e.facts]
        # The other one is the scrape.
        eventually(lambda: self.gateway.metric("kimi_proxy_open_requests") <= 1)


@pytest.fixture
def alice(house: House) -> Connect:
    return Connect(house.gateway, house.take("connect"))


def test_leaving_the_queue_costs_nobody_his_place(alice: Connect) -> None:
    emulator, gateway = alice.emulator, alice.gateway
    for stream in (True, False):
        emulator.log.clear()
        alice.fault("silence", seconds=60, heartbeats=False)
        with gateway.open("holds the account", stream=True) as holder:
            # The chat's id is written down: from here on it can be cancelled.
            eventually(lambda: any(doc["chat"] for _, doc in gateway.journal()))
            queued = gateway.open("queued", stream=stream)
            eventually(lambda: gateway.pool()["waiters"])
            left = queued.leave()
            eventually(lambda: not gateway.pool()["waiters"])
            assert time.monotonic() - left < PROMISED + MARGIN
            assert len(emulator.log.of("Chat")) == 1
            holder.leave()
        alice.serves_at_once()
        alice.is_clean()


def test_leaving_before_the_headers_closes_the_upstream(alice: Connect) -> None:
    for stream in (True, False):
        alice.emulator.log.clear()
        alice.fault("hang", on="Chat")
        with alice.gateway.open("hello", stream=stream) as caller:
            alice.emulator.log.wait_for(lambda log: any(e.opened_at for e in log))
            left = caller.leave()
        seen_leaving(alice.emulator, "Chat", left)
        alice.serves_at_once()
    eventually(lambda: not alice.emulator.chats())


def test_leaving_before_the_first_token_cancels_the_generation(alice: Connect) -> None:
    emulator, gateway = alice.emulator, alice.gateway
    for stream in (True, False):
        emulator.log.clear()
        alice.fault("silence", seconds=60, heartbeats=False)
        with gateway.open("hello", stream=stream) as caller:
            # The chat's id is written down: from here on it can be cancelled.
            eventually(lambda: any(doc["chat"] for _, doc in gateway.journal()))
            left = caller.leave()
        seen_leaving(emulator, "Chat", left)
        emulator.log.wait_for(lambda log: any(e.name == "CancelChat" for e in log))
        eventually(lambda: not emulator.running(), timeout=2)
        alice.serves_at_once()
        alice.is_clean()


def test_leaving_in_the_middle_cancels_the_generation(alice: Connect) -> None:
    emulator, gateway = alice.emulator, alice.gateway
    for stream in (True, False):
        emulator.log.clear()
        alice.fault("silence", seconds=60, after_content=2, heartbeats=False)
        emulator.answer = SLOW
        with gateway.open("hello", stream=stream) as caller:
            if stream:
                caller.read_until(b"two ")
            else:
                eventually(lambda: any(doc["chat"] for _, doc in gateway.journal()))
            left = caller.leave()
        seen_leaving(emulator, "Chat", left)
        emulator.log.wait_for(lambda log: any(e.name == "CancelChat" for e in log))
        eventually(lambda: not emulator.running(), timeout=2)
        emulator.answer = quote
        alice.serves_at_once()
        alice.is_clean()


def test_leaving_before_the_chat_has_a_name_deletes_that_chat_and_no_other(
    alice: Connect,
) -> None:
    emulator = alice.emulator
    emulator.knobs.generates_after_disconnect = 0
    theirs = set()
    for stream in (True, False):
        emulator.log.clear()
        alice.fault("silence", seconds=60, before_chat=True)
        with alice.gateway.open("find me by my words", stream=stream) as caller:
            emulator.log.wait_for(lambda log: any(e.opened_at for e in log))
            theirs.add(someone_chats(emulator, "a question of the user's own"))
            left = caller.leave()
        seen_leaving(emulator, "Chat", left)
        alice.serves_at_once()
    eventually(lambda: {chat.id for chat in emulator.chats()} == theirs, timeout=20)
    eventually(lambda: is_tidy(alice.gateway))


def someone_chats(emulator: KimiConnectEmulator, question: str) -> str:
    """The same user asks something in the browser; the chat's id."""
    before = {chat.id for chat in emulator.chats()}
    block = {"message_id": "", "text": {"content": question}}
    message = {"role": "user", "blocks": [block], "scenario": "SCENARIO_CHAT"}
    body = {
        "scenario": "SCENARIO_CHAT",
        "message": message,
        "options": {"model": "k2d6-chat"},
    }
    emulator.knobs.turns_per_account += 1
    browse(emulator, json.dumps(body).encode())
    emulator.knobs.turns_per_account -= 1
    (made,) = {chat.id for chat in emulator.chats()} - before
    return made


def browse(emulator: KimiConnectEmulator, payload: bytes) -> None:
    """Ask the emulator directly, with a login of the browser's own."""
    connection = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=10)
    headers = {
        "Authorization": f"Bearer {emulator.login('alice').access}",
        "Content-Type": "application/connect+json",
        "Connect-Protocol-Version": "1",
        "x-msh-version": "2.2.0",
    }
    path = "/apiv2/kimi.gateway.chat.v1.ChatService/Chat"
    envelope = struct.pack(">BI", 0, len(payload)) + payload
    try:
        connection.request("POST", path, envelope, headers)
        connection.getresponse().read()
    finally:
        connection.close()


class Legacy(Guest):
    """At the legacy emulator."""

    def serves_at_once(self) -> None:
        reply = self.gateway.ask("next")
        assert reply.status == 200, reply.body
        assert "next" in reply.text
        assert len(reply.text) < 40


@pytest.fixture
def bob(house: House) -> Legacy:
    return Legacy(house.gateway, house.take("legacy"))


def test_legacy_leaving_before_the_headers_closes_the_upstream(bob: Legacy) -> None:
    for stream in (True, False):
        bob.emulator.log.clear()
        bob.emulator.faults.add("hang", on="completion")
        with bob.gateway.open("hello", stream=stream) as caller:
            bob.emulator.log.wait_for(lambda log: any(e.opened_at for e in log))
            left = caller.leave()
        seen_leaving(bob.emulator, "completion", left)
        bob.serves_at_once()
        bob.is_clean()


def test_legacy_leaving_while_the_chat_is_made_deletes_it_by_its_name(
    bob: Legacy,
) -> None:
    emulator = bob.emulator
    emulator.faults.add("lost_answer", times=2, on="create")
    theirs = emulator.world.chats.create("alice", "the user's own", "kimi")
    for stream in (True, False):
        assert bob.gateway.ask("hello", stream=stream).status == 503
    assert len(emulator.log.of("create")) == 2
    eventually(lambda: emulator.chats() == (theirs,), timeout=20)
    bob.serves_at_once()


@pytest.mark.parametrize("at", [-1, 0, 2])
def test_legacy_leaving_a_stream_ends_the_generation(bob: Legacy, at: int) -> None:
    emulator = bob.emulator
    emulator.answer = lambda prompt, _: LegacyAnswer(f"You said: {prompt}", pieces=4)
    for stream in (True, False):
        emulator.log.clear()
        emulator.faults.add("stall", at=at)
        with bob.gateway.open("hello", stream=stream) as caller:
            emulator.log.wait_for(lambda log: any(e.facts.get("prompt") for e in log))
            if stream and at == 2:
                caller.read_until(b"said")
            left = caller.leave()
        seen_leaving(emulator, "completion", left)
        bob.serves_at_once()
        # None of them was refused because the generation still ran.
        assert all(e.opened_at for e in emulator.log.of("completion"))
        bob.is_clean()
