"""What the pool keeps of each account, and what it owes the store."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.errors import (
    PoolCooling,
    StateUnavailable,
    UpstreamCut,
    UpstreamRateLimited,
)
from kimi_proxy.storage import Store
from tests.fakes import HandClock, make_scope
from tests.flow.pools import make_pool, new_scope
from tests.flow.waiting import Caller, until


def held(store: Store) -> dict[str, Any]:
    return (store.live.get("pool/fake") or {"leases": {}})["leases"]


def test_a_place_the_store_could_not_take_back_is_given_back_later(
    hand_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(hand_store, names=("a",))
    slot = pool.lease("m", new_scope())

    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(hand_store.live, "update", fail)
        pool.finish(slot, UpstreamCut("cut"), proven=False)
    assert held(hand_store)
    pool.beat()
    assert held(hand_store) == {}
    assert hand_store.live.get("pool/fake")["accounts"]["a"]["failures"]  # type: ignore[index]


def test_giving_back_succeeds_when_the_store_fails_and_others_wait(
    hand_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(hand_store, names=("a",), wait=3600)
    slot, scope = pool.lease("m", new_scope()), new_scope()
    waiting = Caller(lambda: pool.lease("m", scope))
    until(lambda: (hand_store.live.get("pool/fake") or {})["waiters"])

    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        for method in ("update", "get"):
            patched.setattr(hand_store.live, method, fail)
        pool.finish(slot, None, proven=True)
        assert isinstance(waiting.error(), StateUnavailable)
    pool.beat()
    assert held(hand_store) == {}
    assert pool.lease("m", new_scope()).account == "a"


def test_a_debt_paid_late_shortens_no_cool_down_that_came_between(
    hand: HandClock, hand_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(hand_store, clock=hand.clock)
    scope = make_scope(hand.clock)
    late = pool.lease("m", scope, names=["b"])
    early = pool.lease("m", scope, names=["a"])

    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(hand_store.live, "update", fail)
        pool.finish(late, None, proven=True)
    hand.advance(60)
    pool.finish(early, UpstreamRateLimited("slow", retry_after=100), proven=False)
    pool.beat()
    assert pool.state("a").until == hand.now() + 100


def test_states_tell_what_and_why_and_since_when(
    hand: HandClock, hand_store: Store
) -> None:
    pool = make_pool(hand_store, clock=hand.clock)
    slot = pool.lease("m", make_scope(hand.clock), names=["a"])
    assert pool.state("a").in_flight == 1
    pool.finish(slot, UpstreamRateLimited("slow down", retry_after=60), proven=False)
    cooling = pool.state("a")
    assert (cooling.state, cooling.reason) == ("cooling", "slow down")
    assert cooling.code == "upstream_rate_limited"
    assert (cooling.since, cooling.until) == (hand.now(), hand.now() + 60)
    assert cooling.in_flight == 0
    hand.advance(60)
    over = pool.state("a")
    assert (over.state, over.reason, over.until) == ("ok", None, None)
    pool.mark_renewing("b", True)
    assert [s.state for s in pool.states()] == ["ok", "refreshing", "ok"]
    pool.mark_renewing("b", False)
    assert pool.state("b").state == "ok"
    assert pool.state("nobody").state == "ok"  # a guest's, before its first request


def test_what_is_held_against_an_account_outlives_the_process(
    hand: HandClock, hand_store: Store
) -> None:
    scope = make_scope(hand.clock)
    pool = make_pool(hand_store, clock=hand.clock, names=("a",))
    slot = pool.lease("m", scope)
    pool.finish(slot, UpstreamRateLimited("slow", retry_after=600), proven=False)
    again = make_pool(hand_store, clock=hand.clock, names=("a",))
    with pytest.raises(PoolCooling):
        again.lease("m", scope)
    again.revive("a")
    assert again.lease("m", scope).account == "a"


def test_a_guest_s_only_account_is_not_put_aside_for_transient_failures(
    hand_store: Store,
) -> None:
    pool = make_pool(hand_store)
    for _ in range(5):
        slot = pool.lease("m", new_scope(), names=["guest"])
        pool.finish(slot, UpstreamCut("cut"), proven=False)
    assert pool.state("guest").state == "ok"
    pool.beat()
    assert [state.name for state in pool.states()] == ["a", "b", "c"]
