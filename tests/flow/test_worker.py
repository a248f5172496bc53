"""Which workers live: the kernel knows its own, signs of life tell of the others."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kimi_proxy.storage import Store
from kimi_proxy.worker import Presence, Worker
from tests.fakes import HandClock
from tests.flow.waiting import until


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that lives until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.communicate()


def id_of(pid: int, like: Worker) -> str:
    """The id that a process would have that began with this one's host."""
    host = like.id.rsplit(":", 2)[0]
    with open(f"/proc/{pid}/stat", "rb") as file:
        birth = file.read().rpartition(b")")[2].split()[19].decode()
    return f"{host}:{pid}:{birth}.0123abcd"


def test_threads_that_ask_at_once_get_one_id() -> None:
    for _ in range(50):
        worker, gate = Worker(), threading.Barrier(8)

        def ask(worker: Worker = worker, gate: threading.Barrier = gate) -> str:
            gate.wait()
            return worker.id

        with ThreadPoolExecutor(8) as threads:
            ids = {f.result() for f in [threads.submit(ask) for _ in range(8)]}
        assert len(ids) == 1


def test_two_workers_in_one_process_are_two_and_both_alive() -> None:
    first, second = Worker(), Worker()
    assert first.id != second.id
    assert first.alive(second.id, 1e9)


def test_a_fork_is_another_worker() -> None:
    worker = Worker()
    ours = worker.id
    receiving, sending = os.pipe()
    if (child := os.fork()) == 0:
        os.write(sending, worker.id.encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(receiving, 1000).decode()
    os.close(receiving)
    os.close(sending)
    assert theirs != ours
    assert not worker.alive(theirs, 0), "and it is dead by now"
    assert worker.id == ours


def test_a_silent_process_is_alive_as_long_as_it_runs(
    sleeper: subprocess.Popen[bytes],
) -> None:
    worker = Worker()
    assert worker.alive(id_of(sleeper.pid, worker), 1e9)


def test_a_killed_process_is_dead_before_anybody_waited_for_it(
    sleeper: subprocess.Popen[bytes],
) -> None:
    worker = Worker()
    theirs = id_of(sleeper.pid, worker)
    sleeper.kill()
    until(lambda: not worker.alive(theirs, 0))


def test_a_process_number_given_anew_is_another_worker(
    sleeper: subprocess.Popen[bytes],
) -> None:
    """As after the restart of a container, where numbers begin again."""
    worker = Worker()
    host, pid, _ = id_of(sleeper.pid, worker).rsplit(":", 2)
    assert not worker.alive(f"{host}:{pid}:12345.0123abcd", 0)
    assert not worker.alive(f"{host}:{os.getpid()}:12345.0123abcd", 0)


def test_of_a_worker_elsewhere_only_its_silence_tells() -> None:
    worker = Worker()
    assert worker.alive("elsewhere/1:7:99.0123abcd", 14.9)
    assert not worker.alive("elsewhere/1:7:99.0123abcd", 15.1)


def test_a_sign_of_life_keeps_a_worker_elsewhere_alive(
    hand: HandClock, hand_store: Store
) -> None:
    here, there = Worker(), Worker()
    there._host = "elsewhere/1"
    ours = Presence(hand_store.live, here, hand.clock)
    theirs = Presence(hand_store.live, there, hand.clock)
    last = hand.now()
    hand.advance(60)
    theirs.beat()
    hand.advance(10)
    assert not ours.is_gone(there.id, last)
    hand.advance(10)
    assert ours.is_gone(there.id, last)
    assert not ours.is_gone(there.id, hand.now() - 5), "it was heard of since"


def test_a_neighbour_needs_no_sign_of_life(hand: HandClock, hand_store: Store) -> None:
    here, neighbour = Worker(), Worker()
    presence = Presence(hand_store.live, here, hand.clock)
    assert not presence.is_gone(neighbour.id, 0)
    host = here.id.rsplit(":", 2)[0]
    assert presence.is_gone(f"{host}:{2**22 + 1}:5.0123abcd", hand.now())
