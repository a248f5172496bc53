"""A chain over upstreams of four kinds, each of which dies under load."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from emulators.moonshot import MoonshotEmulator
from emulators.openai import OpenAIEmulator
from tests.chaos.evidence import Evidence
from tests.chaos.gateway import Gateway
from tests.chaos.reply import Reply
from tests.chaos.stage import kimi, settings
from tests.chaos.waiting import eventually

CROWD = 6
ROUTES = ("kimi/k2d6-chat", "legacy/kimi", "moonshot/kimi-k2.6", "local/gpt-4o")
CHATS = {"kimi": "Chat", "legacy": "completion", "moonshot": "chat", "local": "chat"}


class Load:
    """Callers that ask again and again, every other time streamed, until `end`."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._over = threading.Event()
        self.heard: list[list[Reply]] = [[] for _ in range(CROWD)]
        self._callers = [
            threading.Thread(target=self._call, args=(replies,), daemon=True)
            for replies in self.heard
        ]
        for caller in self._callers:
            caller.start()

    def _call(self, replies: list[Reply]) -> None:
        while not self._over.is_set():
            streamed = len(replies) % 2 == 0
            replies.append(self._gateway.ask("hello", model="chain", stream=streamed))

    def is_on(self, route: str) -> bool:
        """Whether the route has answered a good many times."""
        replies = [reply for one in self.heard for reply in one]
        return sum(who(reply) == route for reply in replies) >= 2 * CROWD

    def end(self) -> list[list[Reply]]:
        self._over.set()
        for caller in self._callers:
            caller.join(60)
            assert not caller.is_alive()
        return self.heard


def who(reply: Reply) -> str | None:
    return reply.headers.get("x-kimi-proxy-route")


def all_hang(upstream: Any, name: str) -> bool:
    entries = upstream.log.of(CHATS[name])
    return sum(e.status is None and e.aborted_at is None for e in entries) == CROWD


@pytest.fixture
def upstreams(
    connect: KimiConnectEmulator, legacy: KimiLegacyEmulator
) -> Iterator[dict[str, Any]]:
    with MoonshotEmulator() as moonshot, OpenAIEmulator() as local:
        yield {
            "kimi": connect,
            "legacy": legacy,
            "moonshot": moonshot,
            "local": local,
        }
        assert not moonshot.violations() and not local.violations()


@pytest.fixture
def gateway(
    upstreams: dict[str, Any], evidence: Evidence, tmp_path: Path
) -> Iterator[Gateway]:
    names = [f"account-{number}" for number in range(CROWD)]
    providers = {}
    for wire in ("kimi", "legacy"):
        emulator = upstreams[wire]
        tokens = {name: emulator.add_account(name).refresh for name in names}
        providers[wire] = kimi(emulator, tokens)
    for name, preset in (("moonshot", "moonshot-cn"), ("local", "openai")):
        key = upstreams[name].add_key("k")
        evidence.plant((key,))
        providers[name] = {
            "type": "openai",
            "preset": preset,
            "base_url": upstreams[name].base_url,
            "tokens": [key],
        }
    config = settings(tmp_path, providers)
    config["models"] = {"chain": list(ROUTES)}
    gateway = Gateway(tmp_path / "gateway", config, evidence)
    gateway.start()
    yield gateway
    gateway.kill()


def test_while_one_upstream_is_left_no_client_sees_the_others_die(
    upstreams: dict[str, Any], gateway: Gateway
) -> None:
    load = Load(gateway)
    for name, route in zip(upstreams, ROUTES, strict=True):
        eventually(partial(load.is_on, route), 60)
        if name == "local":
            break
        # Everybody is on the way, and nobody has a first word, when it dies.
        upstreams[name].faults.add("hang", times=-1, on=CHATS[name])
        eventually(partial(all_hang, upstreams[name], name), 60)
        upstreams[name].stop()
    heard = load.end()

    for replies in heard:
        assert {(reply.status, reply.error) for reply in replies} == {(200, None)}
        assert all(reply.claims_success and reply.text for reply in replies)
        # Each upstream in its turn, and none comes back; who is late may miss one.
        turns = [route for route, _ in groupby(map(who, replies))]
        assert turns == [route for route in ROUTES if route in turns]
    assert {who(reply) for replies in heard for reply in replies} == set(ROUTES)

    upstreams["local"].stop()
    last = gateway.ask("hello", model="chain")
    assert last.status == 503
    assert last.error is not None
    assert who(last) is None
