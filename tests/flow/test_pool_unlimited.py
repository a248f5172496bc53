"""A pool without a limit shares the states, and a place only while on probation."""

from __future__ import annotations

from kimi_proxy.errors import UpstreamRateLimited
from kimi_proxy.storage import Store
from tests.fakes import HandClock, make_scope
from tests.flow.pools import give_back, make_pool, new_scope
from tests.flow.waiting import Caller, until


def test_any_number_of_requests_run_and_the_store_is_only_read(store: Store) -> None:
    pool = make_pool(store, concurrency=None)
    slots = [pool.lease("m", new_scope()) for _ in range(60)]
    assert [state.in_flight for state in pool.states()] == [20, 20, 20]
    for slot in slots:
        give_back(pool, slot)
    assert [state.in_flight for state in pool.states()] == [0, 0, 0]
    assert store.live.get("pool/fake") is None


def test_an_account_put_aside_is_put_aside_for_every_worker(
    hand: HandClock, hand_store: Store
) -> None:
    first, second = (
        make_pool(hand_store, clock=hand.clock, concurrency=None) for _ in range(2)
    )
    scope = make_scope(hand.clock)
    slot = first.lease("m", scope, names=["a"])
    first.finish(slot, UpstreamRateLimited("slow", retry_after=60), proven=False)
    taken = {second.lease("m", scope).account for _ in range(10)}
    assert taken == {"b", "c"}


def test_one_request_over_all_workers_probes_and_the_others_wait_for_it(
    hand: HandClock, hand_store: Store
) -> None:
    first, second = (
        make_pool(hand_store, clock=hand.clock, names=("a",), concurrency=None)
        for _ in range(2)
    )
    scope = make_scope(hand.clock)
    slot = first.lease("m", scope)
    first.finish(slot, UpstreamRateLimited("slow", retry_after=60), proven=False)
    hand.advance(60)
    probe = first.lease("m", scope)
    waiting = Caller(lambda: second.lease("m", scope))
    until(lambda: (hand_store.live.get("pool/fake") or {})["waiters"])
    assert not waiting.over
    give_back(first, probe)
    give_back(second, waiting.result())
    slots = [second.lease("m", scope) for _ in range(5)]
    assert len(slots) == 5, "its good name is restored"


def test_sound_accounts_are_used_while_one_is_on_probation(
    hand: HandClock, hand_store: Store
) -> None:
    pool = make_pool(hand_store, clock=hand.clock, names=("a", "b"), concurrency=None)
    scope = make_scope(hand.clock)
    slot = pool.lease("m", scope, names=["a"])
    pool.finish(slot, UpstreamRateLimited("slow", retry_after=60), proven=False)
    hand.advance(60)
    assert {pool.lease("m", scope).account for _ in range(4)} == {"b"}
