"""Upstreams are reached over TLS: what holds without it holds with it."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.chaos.conftest import StartGateway
from tests.chaos.reply import Reply
from tests.chaos.test_hangup import MARGIN, PROMISED, is_tidy, seen_leaving
from tests.chaos.tls import TLSFront, certificate
from tests.chaos.waiting import eventually, together

TEXT = "one two three 四 five 😀 "
CROWD = 20


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def front(connect: KimiConnectEmulator, keys: tuple[Path, Path]) -> Iterator[TLSFront]:
    port = urlsplit(connect.url).port
    assert port is not None
    with TLSFront(port, *keys) as front:
        yield front


def secured(front: TLSFront, bundle: Path | None = None) -> dict[str, object]:
    hosts = dict.fromkeys(("api", "auth", "legacy"), front.url)
    return {"hosts": hosts, "ca_bundle": str(bundle) if bundle else None}


def test_a_crowd_is_served_and_one_who_leaves_is_noticed(
    connect: KimiConnectEmulator,
    front: TLSFront,
    keys: tuple[Path, Path],
    start_gateway: StartGateway,
    worker_class: str,
) -> None:
    connect.knobs.turns_per_account = CROWD
    connect.answer = Answer(TEXT, pieces=5, delay=0.05)
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(
        connect,
        tokens,
        worker_class=worker_class,
        workers=1,
        pool={"concurrency": CROWD},
        **secured(front, keys[1]),
    )

    def read(number: int) -> Reply:
        return gateway.ask(f"number {number}", stream=number % 2 == 0)

    replies = together(read, range(CROWD))
    assert [r.text for r in replies] == [TEXT] * CROWD
    eventually(lambda: is_tidy(gateway))
    connect.log.clear()
    connect.answer = Answer(TEXT, pieces=5, delay=5)
    with gateway.open("and then", stream=True) as caller:
        caller.read_until(b'"content":"')
        left = time.monotonic()
    seen_leaving(connect, "Chat", left)
    eventually(lambda: not connect.chats())


def test_who_leaves_in_the_handshake_takes_the_connection_along(
    connect: KimiConnectEmulator,
    front: TLSFront,
    keys: tuple[Path, Path],
    start_gateway: StartGateway,
    worker_class: str,
) -> None:
    front.mute = True
    tokens = {"alice": connect.add_account("alice").access}
    gateway = start_gateway(
        connect, tokens, worker_class=worker_class, workers=1, **secured(front, keys[1])
    )
    with gateway.open("hello", stream=True):
        # The other connection asks for the models, on nobody's behalf.
        eventually(lambda: len(front.waiting) == 2)
        for raw in front.waiting:
            raw.settimeout(10)
            assert raw.recv(1 << 16)
        left = time.monotonic()
    (ended, *_), _, _ = select.select(front.waiting, [], [], 10)
    assert ended.recv(1 << 16) == b""
    assert time.monotonic() - left < PROMISED + MARGIN
    eventually(lambda: not (gateway.document("pool/kimi") or {})["leases"])


def test_an_unknown_authority_is_refused_before_anything_is_sent(
    connect: KimiConnectEmulator, front: TLSFront, start_gateway: StartGateway
) -> None:
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(connect, tokens, workers=1, **secured(front))
    reply = gateway.ask("hello")
    error = reply.error or {}
    assert (reply.status, error["code"]) == (503, "upstream_unreachable")
    assert "TLS with the upstream failed" in error["message"]
    assert not connect.log.of("Chat")
