"""Who has another way does not wait for an account to recover."""

from __future__ import annotations

import pytest

from kimi_proxy.errors import (
    PoolCooling,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.storage import Store
from tests.fakes import HandClock, make_scope, raised
from tests.flow.pools import make_pool
from tests.flow.stage import build_stage, in_turn
from tests.flow.waiting import Caller, until

ANSWER = (TextDelta("hello"), Finished("stop"))
LIMITED = UpstreamRateLimited("slow down", retry_after=20)


def test_no_cool_down_is_waited_for_however_short(
    hand: HandClock, hand_store: Store
) -> None:
    pool = make_pool(hand_store, clock=hand.clock, names=("a",), wait=30)
    slot = pool.lease("m", make_scope(hand.clock))
    pool.finish(slot, LIMITED, proven=False)
    with pytest.raises(PoolCooling):
        pool.lease("m", make_scope(hand.clock), patient=False)


def test_an_account_in_use_is_queued_for_until_it_cools(
    hand: HandClock, hand_store: Store
) -> None:
    pool = make_pool(hand_store, clock=hand.clock, names=("a",), wait=30)
    slot = pool.lease("m", make_scope(hand.clock))
    scope = make_scope(hand.clock)
    waiting = Caller(lambda: pool.lease("m", scope, patient=False))
    until(lambda: (hand_store.live.get("pool/fake") or {}).get("waiters"))
    pool.finish(slot, LIMITED, proven=False)
    assert isinstance(waiting.error(), PoolCooling)


def test_an_upstream_that_keeps_failing_is_passed_over_for_a_while(
    hand: HandClock, hand_store: Store
) -> None:
    accounts = {"first": ("a",), "second": ("a",)}
    chain = {"m": ["first/model", "second/model"]}
    stage = build_stage(hand.clock, hand_store, accounts, chain, failure_window=60)
    stage.providers["first"].script = raised(UpstreamUnreachable("down"))
    for _ in range(10):
        assert tuple(stage.answer("m")) == ANSWER
    assert len(stage.tried("first")) == 3
    # Who asks for it alone is still let through: a hiccup is no outage.
    stage.providers["first"].script = in_turn(ANSWER)
    assert tuple(stage.answer("first/model")) == ANSWER
    assert stage.open("m").route.provider == "first"


def test_what_failed_is_asked_again_when_some_time_has_passed(
    hand: HandClock, hand_store: Store
) -> None:
    accounts = {"first": ("a",), "second": ("a",)}
    chain = {"m": ["first/model", "second/model"]}
    stage = build_stage(hand.clock, hand_store, accounts, chain, failure_window=60)
    stage.providers["first"].script = raised(UpstreamUnreachable("down"))
    for _ in range(4):
        stage.answer("m")
    hand.advance(61)
    stage.providers["first"].script = in_turn(ANSWER)
    assert stage.open("m").route.provider == "first"


def test_a_chain_goes_on_at_once_and_only_its_last_step_waits(
    hand: HandClock, hand_store: Store
) -> None:
    accounts = {"first": ("a",), "second": ("a",)}
    chain = {"m": ["first/model", "second/model"]}
    stage = build_stage(hand.clock, hand_store, accounts, chain, wait=30)
    for provider in stage.providers.values():
        provider.script = in_turn([LIMITED], ANSWER)
    with pytest.raises(UpstreamRateLimited):
        stage.answer("m")

    waiting = Caller(lambda: stage.answer("m"))
    until(lambda: (hand_store.live.get("pool/second") or {}).get("waiters"))
    hand.advance(25)
    assert tuple(waiting.result()) == ANSWER
    # The first one, asked again, would have answered first had it been waited for.
    assert len(stage.tried("first")) == 1
    assert len(stage.tried("second")) == 2
