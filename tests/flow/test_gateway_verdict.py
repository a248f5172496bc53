"""Whose error the client gets when nobody answered."""

from __future__ import annotations

import pytest

from kimi_proxy.errors import (
    PoolBusy,
    PoolCooling,
    PoolEmpty,
    TokenDead,
    UpstreamCut,
    UpstreamOverloaded,
    UpstreamRateLimited,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.storage import Store
from tests.fakes import HandClock
from tests.flow.stage import Stage, build_stage

ANSWER = [TextDelta("hello"), Finished("stop")]
PARTIAL = [TextDelta("hel")]


@pytest.fixture
def stage(hand: HandClock, hand_store: Store) -> Stage:
    return build_stage(hand.clock, hand_store)


@pytest.fixture
def routes(hand: HandClock, hand_store: Store) -> Stage:
    """Two upstreams of two accounts each, one behind the other."""
    return build_stage(
        hand.clock,
        hand_store,
        accounts={"fake": ("a", "b"), "spare": ("x", "y")},
        aliases={"best": ("fake/model", "spare/model")},
    )


@pytest.mark.parametrize(
    "empty",
    ["busy", "cooling", "dead"],
)
def test_no_account_left_does_not_hide_what_the_upstream_said(
    hand: HandClock, hand_store: Store, empty: str
) -> None:
    stage = build_stage(
        hand.clock, hand_store, accounts={"fake": ("a", "b")}, queue=0, wait=0
    )
    scope = stage.scope()
    slot = stage.pool.lease("model", scope, names=["b"])
    if empty != "busy":
        error = {"cooling": UpstreamRateLimited("x"), "dead": TokenDead("x")}[empty]
        stage.pool.finish(slot, error, proven=False)
    stage.provider.script = lambda call: [UpstreamOverloaded("too busy")]
    with pytest.raises(UpstreamOverloaded, match="too busy"):
        stage.open()


def test_an_empty_pool_on_the_next_route_does_not_hide_it_either(
    routes: Stage,
) -> None:
    for name in ("x", "y"):
        routes.pools["spare"].bury(name, TokenDead("log in"))
    routes.provider.script = lambda call: [UpstreamRateLimited("slow", retry_after=9)]
    with pytest.raises(UpstreamRateLimited) as caught:
        routes.open("best")
    assert caught.value.retry_after == 9


def test_the_last_upstream_error_is_the_one_that_counts(routes: Stage) -> None:
    routes.provider.script = lambda call: [UpstreamCut("cut")]
    routes.providers["spare"].script = lambda call: [UpstreamOverloaded("too busy")]
    with pytest.raises(UpstreamOverloaded):
        routes.open("best")


def test_that_an_account_will_be_ready_says_more_than_that_none_is_left(
    routes: Stage,
) -> None:
    for name in ("a", "b"):
        routes.pool.bury(name, TokenDead("log in"))
    routes.providers["spare"].script = lambda call: [
        UpstreamRateLimited("slow", retry_after=600)
    ]
    with pytest.raises(UpstreamRateLimited):
        routes.open("best")
    with pytest.raises(PoolCooling) as caught:
        routes.open("best")
    assert caught.value.retry_after == 600


def test_a_busy_route_is_passed_over_for_one_that_is_free(
    hand: HandClock, hand_store: Store
) -> None:
    stage = build_stage(
        hand.clock,
        hand_store,
        accounts={"fake": ("a",), "spare": ("x",)},
        aliases={"best": ("fake/model", "spare/model")},
        queue=0,
    )
    slot = stage.pool.lease("model", stage.scope())
    assert stage.answer("best") == ANSWER
    assert stage.tried("spare") == ["x"]
    held = stage.pools["spare"].lease("model", stage.scope())
    with pytest.raises(PoolBusy):
        stage.open("best")
    stage.pool.finish(slot, None, proven=False)
    stage.pools["spare"].finish(held, None, proven=False)


def test_nobody_left_at_all_is_said_as_it_is(stage: Stage) -> None:
    for name in "abc":
        stage.pool.bury(name, TokenDead("log in"))
    with pytest.raises(PoolEmpty, match="3 dead"):
        stage.open()
