"""Renewal: one at a time for all, saved whatever the asker does, dead for sure."""

from __future__ import annotations

import logging
import threading
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy.errors import (
    ClientGone,
    InternalError,
    StateUnavailable,
    TokenDead,
    TokenRejected,
    UpstreamUnreachable,
)
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account
from kimi_proxy.storage import Store
from kimi_proxy.worker import Worker
from tests.fakes import FakeProvider, HandClock, make_scope
from tests.flow import process
from tests.flow.houses import House, build
from tests.flow.process import hear
from tests.flow.waiting import Caller, until
from tests.processes import started


@pytest.fixture
def house(hand: HandClock, hand_store: Store) -> House:
    return build(hand, hand_store)


def test_a_valid_token_is_handed_out_without_asking(house: House) -> None:
    first = house.ready()
    assert house.ready() == first
    assert house.provider.renewals == ["fake-refresh-0"]


def test_a_token_that_ran_out_is_renewed_with_the_rotated_one(house: House) -> None:
    house.ready()
    house.hand.advance(896)
    assert house.ready().access == "fake-access-2"
    assert house.provider.renewals == ["fake-refresh-0", "fake-refresh-1"]
    assert [note.outcome for note in house.notes.renewals] == ["ok", "ok"]


def test_what_is_handed_out_is_on_disk(house: House) -> None:
    ready = house.ready()
    assert house.vault.load("a").credential == ready


def test_a_hundred_threads_make_one_renewal(house: House) -> None:
    house.provider.renewing.clear()
    callers = [Caller(house.ready) for _ in range(100)]
    until(lambda: house.provider.renewals)
    house.provider.renewing.set()
    assert {caller.result().access for caller in callers} == {"fake-access-1"}
    assert house.provider.renewals == ["fake-refresh-0"]
    assert house.lock() is None


def test_whoever_leaves_wakes_nobody_else(house: House) -> None:
    house.provider.renewing.clear()
    scope = make_scope(house.hand.clock)
    leaving = Caller(lambda: house.refresher.ready(house.account, scope))
    staying = [Caller(house.ready) for _ in range(5)]
    until(lambda: house.provider.renewals)
    scope.cancel(ClientGone("left"))
    assert isinstance(leaving.error(), ClientGone)
    assert not any(caller.over for caller in staying)
    house.provider.renewing.set()
    assert {caller.result().access for caller in staying} == {"fake-access-1"}


def test_a_renewal_goes_on_and_is_saved_when_everybody_has_left(house: House) -> None:
    house.provider.renewing.clear()
    scope = make_scope(house.hand.clock)
    leaving = Caller(lambda: house.refresher.ready(house.account, scope))
    until(lambda: house.provider.renewals)
    scope.cancel(ClientGone("left"))
    assert isinstance(leaving.error(), ClientGone)
    house.provider.renewing.set()
    until(lambda: house.vault.load("a").credential.access == "fake-access-1")
    assert house.ready().access == "fake-access-1"
    assert house.provider.renewals == ["fake-refresh-0"]


def test_one_who_was_refused_takes_what_was_bought_meanwhile(house: House) -> None:
    stale = house.ready()
    renew = house.refresher.renew
    scope = make_scope(house.hand.clock)
    assert renew(house.account, stale, scope).access == "fake-access-2"
    assert renew(house.account, stale, scope).access == "fake-access-2"
    assert len(house.provider.renewals) == 2


def test_while_it_is_renewed_the_account_is_refreshing(house: House) -> None:
    house.provider.renewing.clear()
    caller = Caller(house.ready)
    until(lambda: house.pool.state("a").state == "refreshing")
    house.provider.renewing.set()
    caller.result()
    assert house.pool.state("a").state == "ok"


def test_a_dead_refresh_token_buries_the_account_with_the_reason(house: House) -> None:
    house.provider.dead = {"fake-refresh-0"}
    with pytest.raises(TokenDead):
        house.ready()
    state = house.pool.state("a")
    assert (state.state, state.reason) == ("dead", "log in again")
    assert [note.outcome for note in house.notes.renewals] == ["dead"]


def test_the_previous_refresh_token_is_tried_once_before_the_burial(
    house: House,
) -> None:
    house.ready()
    house.provider.dead = {"fake-refresh-1"}
    house.hand.advance(900)
    assert house.ready().refresh == "fake-refresh-3"
    assert house.provider.renewals[1:] == ["fake-refresh-1", "fake-refresh-0"]
    house.provider.dead |= {"fake-refresh-3"}
    house.hand.advance(900)
    with pytest.raises(TokenDead):
        house.ready()
    assert house.provider.renewals[3:] == ["fake-refresh-3", "fake-refresh-1"]
    assert house.pool.state("a").state == "dead"


def test_a_refresh_token_that_was_not_rotated_is_not_tried_twice(house: House) -> None:
    house.vault.save("a", Credential(access="x", refresh="fake-refresh-0"))
    house.vault.save("a", Credential(refresh="fake-refresh-0"))
    house.provider.dead = {"fake-refresh-0"}
    with pytest.raises(TokenDead):
        house.ready()
    assert house.provider.renewals == ["fake-refresh-0"]


def test_a_token_replaced_while_it_was_refused_is_not_held_against_the_account(
    house: House,
) -> None:
    house.provider.dead = {"fake-refresh-0"}
    house.provider.renewing.clear()
    caller = Caller(house.ready)
    until(lambda: house.provider.renewals)
    news = Credential(access="fake-access-new", refresh="fake-refresh-new")
    house.vault.save("a", news)
    house.provider.renewing.set()
    assert caller.result() == news
    assert house.pool.state("a").state == "ok"


def test_a_process_with_an_old_configuration_does_not_bury_the_new_token(
    house: House,
) -> None:
    house.provider.dead = {"fake-refresh-0"}
    house.provider.renewing.clear()
    caller = Caller(house.ready)
    until(lambda: house.provider.renewals)
    build(house.hand, house.store, Credential(refresh="fake-refresh-pasted"))
    house.provider.renewing.set()
    assert type(caller.error()) is TokenRejected, "another account may be tried"
    assert house.pool.state("a").state == "ok"


def test_a_token_service_that_fails_costs_no_account_its_life(house: House) -> None:
    house.provider.faults["refresh"] = [UpstreamUnreachable("cannot connect")]
    with pytest.raises(UpstreamUnreachable):
        house.ready()
    assert house.pool.state("a").state == "ok"
    assert house.ready().access == "fake-access-2"
    outcomes = [note.outcome for note in house.notes.renewals]
    assert outcomes == ["upstream_unreachable", "ok"]


def test_a_defect_in_a_renewal_reaches_every_asker_and_is_logged(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    house.provider.faults["refresh"] = [ValueError("a defect")]
    with caplog.at_level(logging.ERROR, "kimi_proxy"), pytest.raises(InternalError):
        house.ready()
    assert "token renewal of a failed" in caplog.text
    assert house.lock() is None
    assert house.ready().access == "fake-access-2"


def test_what_was_bought_and_could_not_be_written_is_written_later_not_lost(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(house.vault, "save", fail)
        with pytest.raises(StateUnavailable):
            house.ready()
    house.refresher.renew_due(house.account)
    assert house.vault.load("a").credential.refresh == "fake-refresh-1"
    assert house.ready().access == "fake-access-1"
    assert house.provider.renewals == ["fake-refresh-0"], "bought once"


def test_while_a_bought_token_is_not_written_nobody_spends_the_one_before(
    house: House, hand: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The upstream would call it dead, and the account would be buried alive."""

    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    other = build(hand, house.store, provider=house.provider)
    with monkeypatch.context() as patched:
        patched.setattr(house.vault, "save", fail)
        with pytest.raises(StateUnavailable):
            house.ready()
        for _ in range(12):  # long past what a lock lasts by itself
            hand.advance(10)
            with pytest.raises(StateUnavailable, match="the disk is full"):
                house.refresher.renew_due(house.account)
        waiting = Caller(other.ready)
        looks = _count_looks(other)
        until(lambda: len(looks) >= 3)
    house.refresher.renew_due(house.account)
    assert waiting.result().access == "fake-access-1"
    assert house.provider.renewals == ["fake-refresh-0"], "bought once"
    assert house.lock() is None


def test_a_token_nobody_can_renew_is_dead_when_it_has_run_out(
    hand: HandClock, hand_store: Store
) -> None:
    seed = Credential(access="fake-access-0", access_expires=hand.now() + 100)
    house = build(hand, hand_store, seed)
    assert house.ready() == seed
    hand.advance(100)
    with pytest.raises(TokenDead):
        house.ready()
    assert house.pool.state("a").state == "dead"


def test_a_key_without_expiry_is_never_renewed(
    hand: HandClock, hand_store: Store
) -> None:
    house = build(hand, hand_store, Credential(access="fake-key"))
    account = Account("fake", "a", house.vault, house.pool, None)
    hand.advance(1e9)
    house.refresher.renew_due(account)
    ready = house.refresher.ready(account, make_scope(hand.clock))
    assert ready.access == "fake-key"
    assert house.provider.renewals == []


def test_a_lock_that_a_dead_worker_left_is_broken(house: House) -> None:
    host = Worker().id.rsplit(":", 2)[0]
    dead = {"worker": f"{host}:{2**22 + 1}:5.0123abcd"}
    house.store.live.put("refresh/fake/a", dead)
    assert house.ready().access == "fake-access-1"
    assert house.lock() is None


def test_a_lock_of_a_living_worker_holds_however_long_the_renewal_takes(
    house: House,
) -> None:
    other = build(house.hand, house.store, provider=house.provider)
    house.provider.renewing.clear()
    first = Caller(house.ready)
    until(lambda: house.provider.renewals)
    second = Caller(other.ready)
    looks = _count_looks(other)
    house.hand.advance(29)
    until(lambda: len(looks) >= 3)
    house.provider.renewing.set()
    assert first.result() == second.result()
    assert house.provider.renewals == ["fake-refresh-0"]


def _count_looks(house: House) -> list[None]:
    looks: list[None] = []
    load = house.vault.load
    house.vault.load = lambda name: looks.append(None) or load(name)  # type: ignore[method-assign, func-returns-value]
    return looks


def test_a_lock_from_elsewhere_holds_until_it_expires(
    house: House, hand: HandClock
) -> None:
    house.store.live.put(
        "refresh/fake/a", {"worker": "elsewhere/1:7:9.0123abcd"}, ttl=45
    )
    looks = _count_looks(house)
    caller = Caller(house.ready)
    until(lambda: len(looks) >= 4)
    assert house.provider.renewals == []
    hand.advance(20)
    looks.clear()
    until(lambda: len(looks) >= 2)
    assert house.provider.renewals == []
    hand.advance(20)
    assert caller.error(), "a renewal is given up before a lock could be broken"
    hand.advance(6)
    assert house.ready().access == "fake-access-1"


def test_a_lock_taken_over_is_not_given_back_by_who_lost_it(house: House) -> None:
    house.provider.renewing.clear()
    caller = Caller(house.ready)
    until(lambda: house.provider.renewals)
    theirs = {"worker": "elsewhere/1:7:9.0123abcd"}
    house.store.live.put("refresh/fake/a", theirs)
    house.provider.renewing.set()
    caller.result()
    assert house.lock() == theirs


def test_two_processes_make_one_renewal(tmp_path: Path) -> None:
    path, bill = tmp_path / "state.db", tmp_path / "bill"
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(started(process.renew, path, bill, False))[1]
            for _ in range(2)
        ]
        for pipe in pipes:
            assert hear(pipe) == "ready"
        for pipe in pipes:
            pipe.send("go")
        assert [hear(pipe, 60) for pipe in pipes] == [["fake-access-1"]] * 2
    assert bill.read_text() == "fake-refresh-0\n"


def test_kill_9_in_a_renewal_leaves_the_next_worker_free_to_renew(
    tmp_path: Path,
) -> None:
    path, bill = tmp_path / "state.db", tmp_path / "bill"
    with (
        closing(process.open_at(path)) as store,
        started(process.renew, path, bill, True) as (victim, pipe),
    ):
        assert hear(pipe) == "ready"
        pipe.send("go")
        assert hear(pipe) == "buying"
        refresher, account = process.renewal(store, FakeProvider())
        assert account.pool.state("a").state == "refreshing"
        victim.kill()
        clock = HandClock().clock
        assert refresher.ready(account, make_scope(clock)).access == "fake-access-1"
        assert account.pool.state("a").state == "ok"


def test_a_renewal_that_cannot_start_is_not_waited_for_forever(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fail)
        with pytest.raises(RuntimeError):
            house.ready()
    assert house.ready().access == "fake-access-1"
