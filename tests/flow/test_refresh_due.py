"""Renewal ahead of time: when it is due, who is left alone, when it is tried again."""

from __future__ import annotations

import logging
import threading

import pytest

from kimi_proxy.errors import (
    AccountExhausted,
    GatewayError,
    StateUnavailable,
    TokenDead,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account
from kimi_proxy.storage import Store
from tests.fakes import FakeProvider, HandClock, make_scope
from tests.flow.houses import House, build
from tests.flow.waiting import Caller, until


@pytest.fixture
def house(hand: HandClock, hand_store: Store) -> House:
    return build(hand, hand_store)


def due(house: House) -> bool:
    """Whether a look at the account now makes a renewal."""
    before = len(house.provider.renewals)
    house.refresher.renew_due(house.account)
    return len(house.provider.renewals) > before


def first_due(house: House, life: float, step: float) -> float:
    """After how many seconds a token of this life, just bought, is renewed."""
    house.provider.token_life = life
    house.refresher.renew(
        house.account, house.vault.load("a").credential, make_scope(house.hand.clock)
    )
    bought = house.hand.now()
    while not due(house):
        assert house.hand.now() < bought + life, "it ran out"
        house.hand.advance(step)
    return house.hand.now() - bought


def test_an_account_without_an_access_token_is_renewed_at_once(house: House) -> None:
    assert due(house)
    assert not due(house)


@pytest.mark.parametrize(
    ("life", "earliest", "latest"),
    [
        (900.0, 900 - 99, 900 - 90),  # a tenth, and a tenth of that as spread
        (300.0, 300 - 66, 300 - 60),  # a minute
        (30 * 86_400.0, 26.7 * 86_400, 27 * 86_400),
        (60.0, 27, 30),  # not before half of the life is over
        (8.0, 3.6, 4),
    ],
)
def test_a_token_is_renewed_a_tenth_of_its_life_ahead_a_minute_at_least(
    house: House, life: float, earliest: float, latest: float
) -> None:
    step = life / 1000
    assert earliest <= first_due(house, life, step) <= latest + step


def test_accounts_of_the_same_hour_are_not_renewed_in_the_same_second(
    hand: HandClock, hand_store: Store
) -> None:
    house = build(hand, hand_store)
    assert due(house)
    moments = {}
    for name in "abcdefgh":
        account = _sibling(house, name)
        moments[name] = _margin_of(house, account)
    assert len(set(moments.values())) == len(moments)
    again = {name: _margin_of(house, _sibling(house, name)) for name in moments}
    assert again == moments, "but every worker comes to the same hour"


def _sibling(house: House, name: str) -> Account:
    vault = type(house.vault)(
        provider="fake",
        seeds={name: Credential(refresh="fake-refresh-0")},
        documents=house.store.durable,
        clock=house.hand.clock,
    )
    bought = house.vault.load("a").credential
    if vault.load(name).previous is None:
        vault.save(name, bought)
    return Account("fake", name, vault, house.pool, house.provider)


def _margin_of(house: House, account: Account) -> float:
    stored = account.vault.load(account.name)
    is_due = house.refresher._is_due
    low, high = 0.0, 900.0
    for _ in range(40):
        middle = (low + high) / 2
        if is_due(account, stored, house.hand.now() + middle):
            high = middle
        else:
            low = middle
    return round(low, 3)


def test_a_configured_access_token_is_renewed_a_minute_before_it_runs_out(
    hand: HandClock, hand_store: Store
) -> None:
    seed = Credential(
        access="fake-access-0",
        refresh="fake-refresh-0",
        access_expires=hand.now() + 50,
    )
    assert due(build(hand, hand_store, seed))


def test_a_token_that_cannot_be_renewed_is_reported_when_it_runs_out(
    hand: HandClock, hand_store: Store
) -> None:
    seed = Credential(access="fake-access-0", access_expires=hand.now() + 50)
    house = build(hand, hand_store, seed)
    house.refresher.renew_due(house.account)
    assert house.pool.state("a").state == "ok"
    hand.advance(50)
    house.refresher.renew_due(house.account)
    state = house.pool.state("a")
    assert (state.state, state.reason) == ("dead", "log in again")


@pytest.mark.parametrize(
    "error",
    [
        UpstreamRateLimited("slow down", retry_after=300),
        AccountExhausted("quota", retry_after=300),
        TokenDead("log in again"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_account_that_rests_gets_no_call(house: House, error: GatewayError) -> None:
    slot = house.pool.lease("m", make_scope(house.hand.clock))
    house.pool.finish(slot, error, proven=False)
    assert not due(house)
    house.hand.advance(301)
    assert due(house) == (not isinstance(error, TokenDead))


def test_a_failed_renewal_is_tried_again_later_and_later(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "kimi_proxy")
    house.provider.faults["refresh"] = [UpstreamUnreachable("no route")] * 7
    pauses, last = [], house.hand.now()
    for _ in range(8):
        while not due(house):
            house.hand.advance(1)
        pauses.append(house.hand.now() - last)
        last = house.hand.now()
    assert pauses == [0, 15, 30, 60, 120, 240, 300, 300]
    assert "renewing the token of fake/a failed: no route" in caplog.text
    assert house.pool.state("a").state == "ok"


def test_a_success_forgets_how_often_it_failed(house: House) -> None:
    house.provider.faults["refresh"] = [UpstreamUnreachable("no route")] * 3
    for _ in range(4):
        assert due(house)
        house.hand.advance(300)
    house.hand.advance(900)
    house.provider.faults["refresh"] = [UpstreamUnreachable("no route")]
    assert due(house)
    house.hand.advance(15)
    assert due(house)


def test_retry_after_is_honoured_by_all_workers(house: House, hand: HandClock) -> None:
    other = build(hand, house.store, provider=house.provider)
    slow = UpstreamRateLimited("slow down", retry_after=400)
    house.provider.faults["refresh"] = [slow]
    assert due(house)
    hand.advance(399)
    assert not due(house)
    assert not due(other)
    hand.advance(1)
    assert due(other)


def test_two_workers_that_look_at_once_renew_once(
    house: House, hand: HandClock
) -> None:
    other = build(hand, house.store, provider=house.provider)
    house.provider.renewing.clear()
    threads = [
        threading.Thread(target=h.refresher.renew_due, args=(h.account,))
        for h in (house, other)
    ]
    for thread in threads:
        thread.start()
    until(lambda: house.provider.renewals)
    house.provider.renewing.set()
    for thread in threads:
        thread.join()
    assert house.provider.renewals == ["fake-refresh-0"]


def test_a_clock_that_is_wrong_makes_no_storm_of_renewals(house: House) -> None:
    house.provider.token_life = -3600  # "it ran out an hour before it was made"
    assert due(house)
    for _ in range(10):
        house.hand.advance(60)
        assert not due(house)
        house.ready()
    assert house.provider.renewals == ["fake-refresh-0"]


def test_a_provider_that_renews_nothing_is_never_due(
    hand: HandClock, hand_store: Store
) -> None:
    house = build(hand, hand_store, Credential(access="x", access_expires=1.0))
    account = Account("fake", "a", house.vault, house.pool, None)
    house.refresher.renew_due(account)
    assert house.pool.state("a").state == "ok"


def test_accounts_that_are_due_together_do_not_wait_for_each_other(
    house: House, hand: HandClock
) -> None:
    """One thread looks after all: one that hangs must not hold up the rest."""
    other = build(hand, house.store, provider=FakeProvider(now=hand.now))
    theirs = Account("fake2", "a", other.vault, other.pool, other.provider)
    house.provider.renewing.clear()
    scan = Caller(lambda: house.refresher.renew_due(house.account, theirs))
    until(lambda: other.provider.renewals)
    house.provider.renewing.set()
    scan.result()
    assert house.provider.renewals == ["fake-refresh-0"]


def test_an_account_whose_document_cannot_be_read_does_not_stop_the_others(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: str) -> None:
        raise StateUnavailable("a stored document is not JSON")

    other = build(house.hand, house.store)
    monkeypatch.setattr(other.vault, "load", fail)
    with pytest.raises(StateUnavailable, match="the token of fake/a: a stored"):
        house.refresher.renew_due(other.account, house.account)
    assert house.provider.renewals == ["fake-refresh-0"]


def test_a_clock_that_was_set_back_prolongs_no_pause(
    house: House, hand: HandClock
) -> None:
    house.provider.faults["refresh"] = [UpstreamUnreachable("no route")]
    assert due(house)
    assert not due(house)
    hand.advance(-86_400)
    assert due(house)
