"""The pool over real processes on one SQLite store."""

from __future__ import annotations

from contextlib import ExitStack, closing
from multiprocessing.connection import wait
from pathlib import Path

from tests.flow import process
from tests.flow.pools import make_pool, new_scope
from tests.flow.process import hear
from tests.processes import started


def test_two_processes_never_hold_one_account_at_a_time(tmp_path: Path) -> None:
    path, marks = tmp_path / "state.db", tmp_path / "marks"
    marks.mkdir()
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(started(process.crowd, path, marks, 30))[1]
            for _ in range(2)
        ]
        for pipe in pipes:
            assert hear(pipe) == "ready"
        for pipe in pipes:
            pipe.send("go")
        assert [hear(pipe, 90) for pipe in pipes] == ["done", "done"]
    assert list(marks.iterdir()) == []


def test_kill_9_frees_what_the_process_held_and_where_it_stood(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with (
        closing(process.open_at(path)) as store,
        started(process.hold_a_lease, path) as (victim, pipe),
    ):
        hear(pipe)
        pool = make_pool(store, names=("a",), wait=60)
        assert pool.state("a").in_flight == 1
        victim.kill()
        assert pool.lease("m", new_scope()).account == "a"
        (only,) = (store.live.get("pool/fake") or {})["leases"].values()
        assert str(victim.pid) not in only["worker"]


def test_a_place_that_comes_free_in_another_process_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with (
        started(process.lease_when_free, path) as (_, first),
        started(process.lease_when_free, path) as (_, second),
    ):
        assert hear(first) == "ready"
        assert hear(second) == "ready"
        holder = wait([first, second], 30)[0]
        waiter = second if holder is first else first
        assert hear(holder) == "leased"
        assert not waiter.poll(0)
        holder.send("give back")
        assert hear(waiter) == "leased"
        waiter.send("give back")


def test_greenlets_share_accounts_and_renewals_as_threads_do(tmp_path: Path) -> None:
    with started(process.work_in_greenlets, tmp_path / "state.db") as (_, pipe):
        told, renewals, document = hear(pipe, 60)
    assert told == ("ClientGone", 1, ["fake-access-1"])
    assert renewals == 1
    assert document["leases"] == {}
    assert document["waiters"] == []
