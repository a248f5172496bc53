"""Signals: what runs may end, what is new goes elsewhere, nothing stays behind."""

from __future__ import annotations

import os
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.chaos.conftest import StartGateway
from tests.chaos.gateway import Gateway
from tests.chaos.reply import Reply
from tests.chaos.waiting import eventually, together

CROWD = 20
TEXT = "word " * 20


def is_turned_away(gateway: Gateway) -> bool:
    """Whether a new client gets no answer: refused, or reset when all is over."""
    try:
        gateway.ask("too late")
    except ConnectionError:
        return True
    return False


def test_a_drain_under_load_lets_streams_finish_and_leaves_nothing_behind(
    connect: KimiConnectEmulator, start_gateway: StartGateway, worker_class: str
) -> None:
    connect.knobs.turns_per_account = CROWD
    connect.answer = Answer(TEXT, pieces=5, delay=0.15)
    # Deleting all the chats takes longer than the workers have any streams to end.
    connect.faults.add("slow", times=-1, delay=0.1, on="DeleteChat")
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(
        connect, tokens, worker_class=worker_class, pool={"concurrency": CROWD}
    )
    begun = threading.Barrier(CROWD + 1)

    def read(number: int) -> Reply:
        with gateway.open(f"number {number}", stream=number % 2 == 0) as caller:
            if number % 2 == 0:
                caller.read_until(b"word ")
            begun.wait(30)
            return caller.reply()

    replies: list[Reply] = []
    crowd = threading.Thread(
        target=lambda: replies.extend(together(read, range(CROWD)))
    )
    crowd.start()
    eventually(lambda: len(connect.running()) == CROWD)
    begun.wait(30)
    ended: list[int] = []
    stopping = threading.Thread(
        target=lambda: ended.append(gateway.stop(signal.SIGTERM))
    )
    stopping.start()
    eventually(lambda: is_turned_away(gateway), timeout=30)
    crowd.join(30)
    stopping.join(30)
    assert [r.text for r in replies] == [TEXT] * CROWD
    assert {r.finish_reason for r in replies} == {"stop"}
    assert ended == [0]
    assert connect.chats() == ()
    assert gateway.journal() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGQUIT])
def test_to_quit_ends_what_runs_at_once_and_leaves_nothing_behind(
    connect: KimiConnectEmulator,
    start_gateway: StartGateway,
    worker_class: str,
    number: int,
) -> None:
    connect.knobs.generates_after_disconnect = 0
    connect.answer = Answer("one two three", pieces=4)
    connect.faults.add("silence", seconds=60, after_content=1, heartbeats=False)
    # gunicorn itself lets a worker wind up for a tenth of a second.
    connect.faults.add("slow", delay=0.5, on="CancelChat")
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(connect, tokens, worker_class=worker_class, workers=1)
    with gateway.open("hello", stream=True) as caller:
        caller.read_until(b"one ")
        # Far from the 30 s after which gunicorn would kill.
        assert gateway.stop(number, timeout=15) == 0
        reply = caller.reply()
    assert not reply.claims_success
    assert connect.chats() == ()
    assert gateway.journal() == []


def test_a_reload_under_load_fails_no_request(
    connect: KimiConnectEmulator, start_gateway: StartGateway, worker_class: str
) -> None:
    connect.knobs.turns_per_account = CROWD
    connect.answer = Answer(TEXT, pieces=5, delay=0.03)
    tokens = {"alice": connect.add_account("alice").refresh}
    gateway = start_gateway(
        connect, tokens, worker_class=worker_class, pool={"concurrency": CROWD}
    )
    old = gateway.workers()

    def client(number: int) -> None:
        while old & gateway.workers():
            reply = gateway.ask(f"number {number}", stream=True)
            assert (reply.text, reply.finish_reason) == (TEXT, "stop")

    with ThreadPoolExecutor(CROWD // 2) as clients:
        asking = [clients.submit(client, number) for number in range(CROWD // 2)]
        eventually(lambda: len(connect.running()) > 2)
        os.kill(gateway.pid, signal.SIGHUP)
        for each in asking:
            each.result(timeout=45)
    eventually(lambda: len(gateway.beating()) == 2)
    eventually(lambda: not connect.chats())
    # An entry goes after its chat has gone.
    eventually(lambda: gateway.journal() == [])
