"""The pool over each store: waiting, order, refusals, waking, cancelling."""

from __future__ import annotations

import time
from typing import Any

import pytest

from kimi_proxy.errors import (
    ClientGone,
    PoolBusy,
    PoolCooling,
    PoolEmpty,
    TokenDead,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from kimi_proxy.pool import Pool, Slot
from kimi_proxy.storage import Store
from tests.fakes import HandClock, make_scope
from tests.flow.pools import Ledger, give_back, make_pool, new_scope
from tests.flow.waiting import Caller, until


def queued(store: Store) -> list[Any]:
    return (store.live.get("pool/fake") or {"waiters": []})["waiters"]


def held(store: Store) -> dict[str, Any]:
    return (store.live.get("pool/fake") or {"leases": {}})["leases"]


def cool(pool: Pool, account: str, seconds: float) -> None:
    slot = pool.lease("m", new_scope(), names=[account])
    error = UpstreamRateLimited("slow down", retry_after=seconds)
    pool.finish(slot, error, proven=False)


def test_sixty_threads_share_three_accounts_one_at_a_time(store: Store) -> None:
    pool, ledger = make_pool(store, wait=60), Ledger()

    def work() -> None:
        slot = pool.lease("m", new_scope())
        ledger.begin(slot.account)
        time.sleep(0)  # let another thread run, if it may
        ledger.end(slot.account)
        give_back(pool, slot)

    for caller in [Caller(work) for _ in range(60)]:
        caller.result()
    assert ledger.worst == 1
    assert len(ledger.order) == 60
    assert held(store) == {}
    assert queued(store) == []


def test_who_came_first_is_served_first(store: Store) -> None:
    pool, ledger = make_pool(store, names=("a",)), Ledger()
    first = pool.lease("m", new_scope())

    def work(number: int) -> None:
        slot = pool.lease("m", new_scope())
        ledger.begin("a", number)
        ledger.end("a")
        give_back(pool, slot)

    callers = []
    for number in range(12):
        callers.append(Caller(lambda number=number: work(number)))
        until(lambda number=number: len(queued(store)) == number + 1)
    give_back(pool, first)
    for caller in callers:
        caller.result()
    assert ledger.order == list(range(12))


def test_two_workers_over_one_store_keep_one_order(store: Store) -> None:
    pools = [make_pool(store, names=("a",)) for _ in range(2)]
    ledger = Ledger()
    first = pools[0].lease("m", new_scope())

    def work(number: int) -> None:
        pool = pools[number % 2]
        slot = pool.lease("m", new_scope())
        ledger.begin("a", number)
        ledger.end("a")
        give_back(pool, slot)

    callers = []
    for number in range(8):
        callers.append(Caller(lambda number=number: work(number)))
        until(lambda number=number: len(queued(store)) == number + 1)
    give_back(pools[0], first)
    for caller in callers:
        caller.result()
    assert ledger.order == list(range(8))
    assert ledger.worst == 1


def test_a_waiter_for_a_busy_account_blocks_nobody_behind(store: Store) -> None:
    pool = make_pool(store)
    slot = pool.lease("m", new_scope(), names=["a"])
    waiting = Caller(lambda: pool.lease("m", new_scope(), names=["a"]))
    until(lambda: queued(store))
    other = pool.lease("m", new_scope())
    assert other.account != "a"
    assert not waiting.over
    give_back(pool, slot)
    assert waiting.result().account == "a"


class CountedDocuments:
    """Documents that count how often they are looked at and changed."""

    def __init__(self, documents: Any) -> None:
        self._documents = documents
        self.reads = self.writes = 0

    def get(self, key: str) -> Any:
        self.reads += 1
        return self._documents.get(key)

    def update(self, *arguments: Any, **options: Any) -> Any:
        self.writes += 1
        return self._documents.update(*arguments, **options)


def test_a_place_that_comes_free_wakes_its_waiter_without_any_poll(
    hand_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kimi_proxy.pool._POLL_SECONDS", 3600.0)
    monkeypatch.setattr("kimi_proxy.pool._LONG_WAIT", 3600.0)
    pool = make_pool(hand_store, names=("a", "b"), wait=3600)
    slots = {n: pool.lease("m", new_scope(), names=[n]) for n in "ab"}
    for_a = Caller(lambda: pool.lease("m", new_scope(), names=["a"]))
    until(lambda: len(queued(hand_store)) == 1)
    for_b = Caller(lambda: pool.lease("m", new_scope(), names=["b"]))
    until(lambda: len(queued(hand_store)) == 2)
    give_back(pool, slots["b"])
    assert for_b.result().account == "b", "also when it is not the first in line"
    give_back(pool, slots["a"])
    assert for_a.result().account == "a"


def test_of_those_who_wait_in_one_worker_only_one_looks_at_the_store(
    hand_store: Store,
) -> None:
    documents = CountedDocuments(hand_store.live)
    pool = make_pool(documents, names=("a",), wait=3600)
    slot = pool.lease("m", new_scope())
    scopes = [new_scope() for _ in range(20)]
    callers = [Caller(lambda s=s: pool.lease("m", s)) for s in scopes]
    until(lambda: len(queued(hand_store)) == 20)
    before, started = documents.reads, time.monotonic()
    until(lambda: documents.reads >= before + 20)
    assert time.monotonic() - started >= 19 * 0.025, (
        "twenty looks of one, not one of 20"
    )
    for scope in scopes:
        scope.cancel(ClientGone("left"))
    assert {type(caller.error()) for caller in callers} == {ClientGone}
    give_back(pool, slot)


def test_who_waits_too_long_is_told_that_all_are_busy(store: Store) -> None:
    pool = make_pool(store, names=("a",), wait=0.05)
    slot = pool.lease("m", new_scope())
    with pytest.raises(PoolBusy, match=r"none came free within 0\.05 s") as caught:
        pool.lease("m", new_scope())
    assert caught.value.retry_after
    assert queued(store) == []
    give_back(pool, slot)


def test_a_full_queue_refuses_at_once(store: Store) -> None:
    pool = make_pool(store, names=("a",), queue=2, wait=3600)
    slot = pool.lease("m", new_scope())
    scopes = [new_scope(), new_scope()]
    callers = [Caller(lambda s=s: pool.lease("m", s)) for s in scopes]
    until(lambda: len(queued(store)) == 2)
    with pytest.raises(PoolBusy, match="2 requests wait already"):
        pool.lease("m", new_scope())
    for scope in scopes:
        scope.cancel(ClientGone("left"))
    assert {type(caller.error()) for caller in callers} == {ClientGone}
    give_back(pool, slot)


def test_without_a_queue_a_taken_account_is_busy_at_once(store: Store) -> None:
    pool = make_pool(store, names=("a",), queue=0, wait=3600)
    slot = pool.lease("m", new_scope())
    with pytest.raises(PoolBusy):
        pool.lease("m", new_scope())
    give_back(pool, slot)


def test_the_queue_for_a_cool_down_is_bounded_too(store: Store) -> None:
    pool = make_pool(store, names=("a",), queue=1, wait=3600)
    cool(pool, "a", 600)
    scope = new_scope()
    caller = Caller(lambda: pool.lease("m", scope))
    until(lambda: queued(store))
    with pytest.raises(PoolBusy):
        pool.lease("m", new_scope())
    scope.cancel(ClientGone("left"))
    assert isinstance(caller.error(), ClientGone)


def test_when_all_cool_longer_than_anybody_waits_the_time_is_told(store: Store) -> None:
    pool = make_pool(store, names=("a", "b"), wait=30)
    cool(pool, "a", 600)
    cool(pool, "b", 100)
    with pytest.raises(PoolCooling, match="ready in 100 s") as caught:
        pool.lease("m", new_scope())
    assert caught.value.retry_after == pytest.approx(100, abs=30)
    assert queued(store) == []


def test_a_cool_down_shorter_than_the_wait_is_waited_for(store: Store) -> None:
    pool = make_pool(store, names=("a",), wait=30)
    cool(pool, "a", 0.15)
    ready = pool.state("a").until
    slot = pool.lease("m", new_scope())
    assert ready is not None
    assert time.time() >= ready, "not before its time"
    give_back(pool, slot)


def test_while_all_cool_those_who_wait_write_nothing(
    hand: HandClock, hand_store: Store
) -> None:
    documents = CountedDocuments(hand_store.live)
    pool = make_pool(documents, clock=hand.clock, names=("a",), wait=60)
    slot = pool.lease("m", make_scope(hand.clock))
    pool.finish(slot, UpstreamRateLimited("slow", retry_after=30), proven=False)
    callers = [
        Caller(lambda: pool.lease("m", make_scope(hand.clock))) for _ in range(3)
    ]
    until(lambda: len(queued(hand_store)) == 3)
    writes, reads = documents.writes, documents.reads
    until(lambda: documents.reads >= reads + 8)
    assert documents.writes == writes
    hand.advance(30)
    for _ in callers:
        until(lambda: held(hand_store))
        (lease_id,) = held(hand_store)
        until(lambda lease_id=lease_id: lease_id in served(callers))
        give_back(pool, served(callers)[lease_id])


def served(callers: list[Caller]) -> dict[str, Slot]:
    return {slot.id: slot for slot in (c.result() for c in callers if c.over)}


def test_when_none_is_left_the_states_are_told(store: Store) -> None:
    pool = make_pool(store, names=("a", "b"))
    pool.bury("a", TokenDead("log in again"))
    pool.bury("b", TokenDead("log in again"))
    with pytest.raises(PoolEmpty, match=r"2 dead"):
        pool.lease("m", new_scope())
    assert pool.state("a").reason == "log in again"


def test_when_the_last_one_dies_those_who_wait_are_told_at_once(store: Store) -> None:
    pool = make_pool(store, names=("a", "b"), wait=3600)
    slots = [pool.lease("m", new_scope()) for _ in "ab"]
    only_a = Caller(lambda: pool.lease("m", new_scope(), exclude=["b"]))
    until(lambda: len(queued(store)) == 1)
    any_of = Caller(lambda: pool.lease("m", new_scope()))
    until(lambda: len(queued(store)) == 2)
    pool.finish(slots[0], TokenDead("log in again"), proven=False)
    assert isinstance(only_a.error(), PoolEmpty), "b is not its to use"
    assert not any_of.over
    pool.finish(slots[1], TokenDead("log in again"), proven=False)
    assert isinstance(any_of.error(), PoolEmpty)
    assert queued(store) == []


def test_nothing_left_to_try_is_said_so(store: Store) -> None:
    pool = make_pool(store, names=("a",))
    with pytest.raises(PoolEmpty, match="no further account"):
        pool.lease("m", new_scope(), exclude={"a"})


def test_who_leaves_the_queue_leaves_no_ticket_and_the_next_moves_up(
    store: Store,
) -> None:
    pool = make_pool(store, names=("a",), wait=3600)
    slot = pool.lease("m", new_scope())
    scope = new_scope()
    leaving = Caller(lambda: pool.lease("m", scope))
    until(lambda: len(queued(store)) == 1)
    staying = Caller(lambda: pool.lease("m", new_scope()))
    until(lambda: len(queued(store)) == 2)
    scope.cancel(ClientGone("left"))
    assert isinstance(leaving.error(), ClientGone)
    assert len(queued(store)) == 1
    give_back(pool, slot)
    give_back(pool, staying.result())


def test_a_cancelled_request_takes_no_place(store: Store) -> None:
    pool, scope = make_pool(store), new_scope()
    scope.cancel(ClientGone("left"))
    with pytest.raises(ClientGone):
        pool.lease("m", scope)
    assert held(store) == {}


def test_the_deadline_of_the_request_ends_the_wait(store: Store) -> None:
    pool = make_pool(store, names=("a",), wait=3600)
    slot = pool.lease("m", new_scope())
    with pytest.raises(UpstreamTimeout):
        pool.lease("m", new_scope(total=0.05))
    assert queued(store) == []
    give_back(pool, slot)
