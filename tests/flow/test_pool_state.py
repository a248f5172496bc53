"""Decisions about one document: who is next, who waits, what the dead leave behind."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy import account_state, pool_state
from kimi_proxy.account_state import Policy
from kimi_proxy.errors import (
    AccountExhausted,
    ModelRateLimited,
    TokenDead,
    UpstreamRateLimited,
)
from kimi_proxy.pool_state import Granted, Refused, Waiting, Wish

NOW = 1_700_000_000.0
NAMES = ("a", "b", "c")


def wish(number: int, *names: str, model: str = "m", prefer: str | None = None) -> Wish:
    return Wish(f"w{number}", "worker", names or NAMES, model, prefer)


def decide(
    document: dict[str, Any], asked: Wish, policy: Policy | None = None
) -> pool_state.Decision:
    return pool_state.decide(document, asked, policy or Policy(), NOW)


def lease(
    document: dict[str, Any], asked: Wish, policy: Policy | None = None
) -> str | None:
    """Take a place or stand in the queue, as the pool does."""
    decision = decide(document, asked, policy)
    if isinstance(decision, Granted):
        pool_state.grant(document, asked, decision.account, NOW)
        return decision.account
    pool_state.enqueue(document, asked, NOW + 30, NOW)
    return None


def rest(document: dict[str, Any], name: str, seconds: float) -> None:
    record = pool_state.account_of(document, name)
    error = UpstreamRateLimited("slow down", retry_after=seconds)
    account_state.punish(record, error, "m", Policy(), NOW, last=False)


def kill(document: dict[str, Any], name: str) -> None:
    record = pool_state.account_of(document, name)
    account_state.put_aside(record, "dead", TokenDead("log in"), NOW, None)


def test_deciding_changes_nothing() -> None:
    document = pool_state.empty()
    rest(document, "a", 30)
    lease(document, wish(1))
    before = repr(document)
    decide(document, wish(2))
    decide(document, wish(3, "a"))
    assert repr(document) == before


def test_places_are_granted_up_to_the_limit_of_each_account() -> None:
    document, policy = pool_state.empty(), Policy(concurrency=2)
    granted = [lease(document, wish(n), policy) for n in range(7)]
    assert sorted(granted[:6]) == ["a", "a", "b", "b", "c", "c"]  # type: ignore[type-var]
    assert granted[6] is None
    assert decide(document, wish(7), policy) == Waiting()


def test_without_a_limit_nobody_waits() -> None:
    document, policy = pool_state.empty(), Policy(concurrency=None)
    assert all(lease(document, wish(n), policy) for n in range(50))


def test_waiters_are_served_in_the_order_of_their_arrival() -> None:
    document = pool_state.empty()
    for number in range(3):
        assert lease(document, wish(number, "a")) == ("a" if number == 0 else None)
    document["leases"].clear()
    assert decide(document, wish(2, "a")) == Waiting(), "the first in line is not it"
    assert decide(document, wish(9, "a")) == Waiting(), "nor is a newcomer"
    assert decide(document, wish(1, "a")) == Granted("a")


def test_who_can_only_use_a_busy_account_holds_up_nobody_behind() -> None:
    document = pool_state.empty()
    lease(document, wish(0, "a"))
    lease(document, wish(1, "a"))
    assert lease(document, wish(2, "a", "b")) == "b"


def test_a_free_account_is_kept_for_the_first_who_can_use_it() -> None:
    document = pool_state.empty()
    lease(document, wish(0, "a"))
    lease(document, wish(1, "b"))
    assert lease(document, wish(2, "a")) is None
    assert lease(document, wish(3, "a", "b")) is None
    document["leases"].pop("w1")
    assert decide(document, wish(2, "a")) == Waiting()
    assert decide(document, wish(3, "a", "b")) == Granted("b")


def test_a_cooled_model_keeps_nobody_from_the_others() -> None:
    document = pool_state.empty()
    record = pool_state.account_of(document, "a")
    error = ModelRateLimited("slow down", retry_after=60)
    account_state.punish(record, error, "m", Policy(), NOW, last=False)
    assert decide(document, wish(1, "a", model="m")) == Refused(NOW + 60)
    assert decide(document, wish(2, "a", model="other")) == Granted("a")


def test_on_probation_an_account_gets_one_request_at_a_time() -> None:
    document, policy = pool_state.empty(), Policy(concurrency=5)
    rest(document, "a", 30)
    account_state.settle(document["accounts"]["a"], NOW + 30)
    assert lease(document, wish(1, "a"), policy) == "a"
    assert lease(document, wish(2, "a"), policy) is None
    account_state.praise(document["accounts"]["a"])
    assert decide(document, wish(2, "a"), policy) == Granted("a")


def test_an_account_on_probation_is_the_last_choice_even_if_preferred() -> None:
    document = pool_state.empty()
    rest(document, "a", 30)
    account_state.settle(document["accounts"]["a"], NOW + 30)
    assert lease(document, wish(1, "a", "b", prefer="a")) == "b"


def test_who_may_use_nothing_is_told_when_the_first_account_is_ready() -> None:
    document = pool_state.empty()
    rest(document, "a", 90)
    rest(document, "b", 20)
    kill(document, "c")
    assert decide(document, wish(1)) == Refused(NOW + 20)
    assert decide(document, wish(1, "c")) == Refused(None)
    assert decide(document, Wish("w", "worker", (), "m")) == Refused(None)


def test_account_and_model_both_resting_are_ready_when_both_are() -> None:
    document = pool_state.empty()
    rest(document, "a", 20)
    record = document["accounts"]["a"]
    error = ModelRateLimited("slow down", retry_after=60)
    account_state.punish(record, error, "m", Policy(), NOW, last=False)
    assert decide(document, wish(1, "a")) == Refused(NOW + 60)


def test_least_loaded_spreads_and_then_takes_the_longest_unused() -> None:
    document, policy = pool_state.empty(), Policy(concurrency=3)
    assert [lease(document, wish(n), policy) for n in range(6)] == list("abcabc")
    del document["leases"]["w1"], document["leases"]["w2"]
    assert [lease(document, wish(n), policy) for n in (6, 7, 8)] == list("bca")


def test_round_robin_goes_by_turns_whatever_the_load_and_the_clock() -> None:
    document = pool_state.empty()
    policy = Policy(strategy="round-robin", concurrency=9)
    order = []
    for number in range(7):
        order.append(lease(document, wish(number), policy))
        if order[-1] == "a":
            document["leases"].pop(f"w{number}")
    assert order == list("abcabca")


def test_in_order_fills_the_first_account_first() -> None:
    document = pool_state.empty()
    policy = Policy(strategy="in-order", concurrency=2)
    assert [lease(document, wish(n), policy) for n in range(5)] == list("aabbc")


@pytest.mark.parametrize("strategy", ["least-loaded", "round-robin", "in-order"])
def test_a_preference_is_followed_if_it_can_be_and_never_waited_for(
    strategy: Any,
) -> None:
    document, policy = pool_state.empty(), Policy(strategy=strategy)
    assert lease(document, wish(1, prefer="c"), policy) == "c"
    assert lease(document, wish(2, prefer="c"), policy) == "a"


def test_what_a_dead_worker_held_is_given_back() -> None:
    document = pool_state.empty()
    pool_state.grant(document, Wish("x", "dead", NAMES, "m"), "a", NOW)
    pool_state.enqueue(document, Wish("y", "dead", NAMES, "m"), NOW + 30, NOW)
    pool_state.account_of(document, "a")["renewing"] = "dead"
    pool_state.grant(document, Wish("z", "living", NAMES, "m"), "b", NOW)
    pool_state.settle(document, NOW, lambda worker, _: worker == "living")
    assert document["leases"] == {"z": {"account": "b", "worker": "living"}}
    assert document["waiters"] == []
    assert document["workers"] == {"living": NOW}
    assert document["accounts"]["a"]["renewing"] is None


def test_a_worker_is_as_silent_as_its_last_lease_or_beat_says() -> None:
    document, asked = pool_state.empty(), []

    def alive(worker: str, silence: float) -> bool:
        asked.append((worker, silence))
        return True

    pool_state.grant(document, Wish("x", "first", NAMES, "m"), "a", NOW)
    document["workers"]["second"] = NOW + 7
    pool_state.settle(document, NOW + 10, alive)
    assert sorted(asked) == [("first", 10.0), ("second", 3.0)]


def test_a_ticket_that_nobody_took_back_is_void_after_its_time() -> None:
    document = pool_state.empty()
    lease(document, wish(0, "a"))
    lease(document, wish(1, "a"))
    document["leases"].clear()
    pool_state.settle(document, NOW + 30, lambda *_: True)
    assert decide(document, wish(2, "a")) == Waiting(), "still good, to the second"
    pool_state.settle(document, NOW + 36, lambda *_: True)
    assert decide(document, wish(2, "a")) == Granted("a")


def test_standing_in_the_queue_twice_is_standing_once() -> None:
    document = pool_state.empty()
    lease(document, wish(0, "a"))
    for _ in range(3):
        lease(document, wish(1, "a"))
    assert [waiter["id"] for waiter in document["waiters"]] == ["w1"]


def test_others_that_rest_are_no_help() -> None:
    document = pool_state.empty()
    rest(document, "b", 30)
    kill(document, "c")
    assert not pool_state.others_usable(document, "a", NAMES, "m", NOW)
    assert pool_state.others_usable(document, "b", NAMES, "m", NOW)
    assert pool_state.others_usable(document, "a", NAMES, "m", NOW + 30)


def test_used_up_accounts_come_back_by_themselves() -> None:
    document = pool_state.empty()
    record = pool_state.account_of(document, "a")
    error = AccountExhausted("quota", retry_after=100)
    account_state.punish(record, error, "m", Policy(), NOW, last=True)
    assert not pool_state.is_usable(document, "a", "m", NOW + 99)
    assert pool_state.is_usable(document, "a", "m", NOW + 100)


@pytest.mark.parametrize("punished", [True, False])
def test_guests_are_forgotten_a_day_after_anything_happened_to_them(
    punished: bool,
) -> None:
    document = pool_state.empty()
    lease(document, wish(1, "guest"))
    lease(document, wish(2, "a"))
    later = NOW + 3600 if punished else NOW
    if punished:
        record = document["accounts"]["guest"]
        error = UpstreamRateLimited("slow down", retry_after=900)
        account_state.punish(record, error, "m", Policy(), later, last=False)
    pool_state.forget_guests(document, NAMES, later + 86_399)
    assert set(document["accounts"]) == {"guest", "a"}
    pool_state.forget_guests(document, NAMES, later + 86_401)
    assert set(document["accounts"]) == {"a"}


def test_of_a_crowd_of_guests_the_latest_thousand_are_remembered() -> None:
    document = pool_state.empty()
    for number in range(1100):
        asked = wish(number, f"guest-{number}")
        pool_state.grant(document, asked, asked.names[0], NOW + number)
    pool_state.grant(document, wish(1100), "a", NOW - 10)
    pool_state.forget_guests(document, NAMES, NOW + 1100)
    left = set(document["accounts"])
    assert left == {"a", *(f"guest-{n}" for n in range(100, 1100))}


def test_fingerprints_tell_secrets_apart_and_do_not_hold_them() -> None:
    first, second = (pool_state.fingerprint(t) for t in ("fake-one", "fake-two"))
    assert first != second
    assert "fake" not in first
