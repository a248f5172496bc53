"""SQLite stays exact, and loses nothing it has acknowledged, across processes."""

from __future__ import annotations

import os
import threading
from contextlib import ExitStack
from multiprocessing.context import ForkContext
from pathlib import Path

import pytest

from kimi_proxy.storage import Store
from tests.processes import started
from tests.storage.process import (
    count_up,
    hold,
    increment,
    open_at,
    take_turns_in_greenlets,
    use_stores_in_greenlets,
    wait_in_greenlets,
    write_forever,
)


def test_update_is_exact_across_processes_that_also_tidy(
    sqlite_store: Store, database: Path
) -> None:
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(started(increment, database, 200))[1] for _ in range(4)
        ]
        assert [pipe.recv() for pipe in pipes] == ["ready"] * 4
        for pipe in pipes:
            pipe.send("go")
        assert [pipe.recv() for pipe in pipes] == ["done"] * 4
    assert sqlite_store.live.get("counter") == {"count": 800}
    assert sqlite_store.durable.get("counter") == {"count": 80}


def test_kill_9_loses_nothing_acknowledged(database: Path) -> None:
    acknowledged = []
    with started(write_forever, database) as (process, pipe):
        for _ in range(50):
            acknowledged.append(pipe.recv())
        process.kill()
        process.join()
        try:
            while True:
                acknowledged.append(pipe.recv())
        except EOFError:
            pass
    store = open_at(database)
    for number in acknowledged:
        document = store.durable.get(f"token/{number}")
        assert document is not None
        assert document["number"] == number
    last = store.live.get("last")
    assert last is not None
    assert last["number"] >= acknowledged[-1]
    assert store.live.update("counter", count_up) == 1
    store.check()
    store.close()


def test_kill_9_inside_a_transaction_writes_nothing_and_frees_the_lock(
    sqlite_store: Store, database: Path
) -> None:
    sqlite_store.durable.put("counter", {"count": 1})
    with started(hold, database) as (process, pipe):
        assert pipe.recv() == "holding"
        process.kill()
        process.join()
        assert sqlite_store.durable.update("counter", count_up) == 2


def test_an_update_waits_for_the_lock_of_another_process(
    sqlite_store: Store, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_store.durable.put("counter", {"count": 1})
    with started(hold, database) as (_, pipe):
        assert pipe.recv() == "holding"
        assert sqlite_store.durable.get("counter") == {"count": 1}
        pauses = []

        def release_when_waited_for(seconds: float) -> None:
            pauses.append(seconds)
            if len(pauses) == 3:
                pipe.send("commit")
            threading.Event().wait(seconds)

        monkeypatch.setattr("time.sleep", release_when_waited_for)
        assert sqlite_store.durable.update("counter", count_up) == 42
    assert len(pauses) >= 3
    assert max(pauses) <= 0.01


def test_greenlets_run_while_others_wait_for_the_lock(
    sqlite_store: Store, database: Path
) -> None:
    sqlite_store.durable.put("counter", {"count": 1})
    with started(hold, database) as (_, holder):
        assert holder.recv() == "holding"
        with started(wait_in_greenlets, database) as (_, pipe):
            assert pipe.recv() == [False] * 20
            holder.send("commit")
            assert pipe.recv() == {"count": 41 + 20 + 1}


def test_a_greenlet_that_waits_for_its_turn_lets_the_holder_give_it_back(
    tmp_path: Path,
) -> None:
    with started(take_turns_in_greenlets, tmp_path / "state") as (process, pipe):
        assert pipe.poll(20) or process.kill(), "the hub stood still"
        assert pipe.recv() == ["in", "out"] * 10


def test_greenlets_over_two_stores_count_exactly(database: Path) -> None:
    with started(use_stores_in_greenlets, database) as (process, pipe):
        assert pipe.poll(20) or process.kill(), "the hub stood still"
        assert pipe.recv() == [{"count": 40}] * 2


def test_a_forked_child_and_its_parent_both_go_on(
    sqlite_store: Store, database: Path
) -> None:
    def work() -> None:
        for _ in range(100):
            sqlite_store.live.update("counter", count_up)
            sqlite_store.durable.update("counter", count_up)

    work()
    # Threads of the parent are inside transactions while it forks.
    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    children = [ForkContext().Process(target=work) for _ in range(3)]
    for child in children:
        child.start()
    for thread in threads:
        thread.join()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert sqlite_store.live.get("counter") == {"count": 600}
    assert sqlite_store.durable.get("counter") == {"count": 600}


def test_a_fork_inherits_no_open_file(sqlite_store: Store, database: Path) -> None:
    sqlite_store.live.put("a", {})
    sqlite_store.durable.put("a", {})
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        inherited = [
            os.readlink(f"/proc/self/fd/{number}")
            for number in os.listdir("/proc/self/fd")
            if os.path.exists(f"/proc/self/fd/{number}")
        ]
        found = [name for name in inherited if name.startswith(str(database.parent))]
        os.write(writing, "\n".join(found or ["nothing"]).encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == b"nothing"
    os.waitpid(child, 0)
    assert sqlite_store.live.get("a") == {}
