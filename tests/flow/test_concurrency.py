"""Requests of one key at a time, exact over threads and processes."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy.clock import Clock
from kimi_proxy.concurrency import KeyConcurrency
from kimi_proxy.errors import RateLimited, StateUnavailable
from kimi_proxy.keys import ClientKey, digest
from kimi_proxy.storage import Store
from kimi_proxy.worker import Presence, Worker
from tests.fakes import HandClock
from tests.flow import process
from tests.flow.process import KEY, hear
from tests.flow.waiting import Caller, until
from tests.processes import started


def places_of(store: Store, worker: Worker | None = None) -> KeyConcurrency:
    return KeyConcurrency(store.live, worker or Worker(), Clock())


def test_as_many_as_allowed_and_not_one_more(store: Store) -> None:
    places = places_of(store)
    leave = [places.enter(KEY) for _ in range(2)]
    with pytest.raises(RateLimited, match="'laptop' allows 2") as caught:
        places.enter(KEY)
    assert caught.value.retry_after == 1
    leave.pop()()
    places.enter(KEY)()
    leave.pop()()
    assert store.live.get("key/laptop") is None


def test_giving_back_twice_frees_one_place(store: Store) -> None:
    places = places_of(store)
    first, second = places.enter(KEY), places.enter(KEY)
    first()
    first()
    third = places.enter(KEY)
    with pytest.raises(RateLimited):
        places.enter(KEY)
    second()
    third()


def test_keys_do_not_share_places_and_one_without_a_limit_needs_none(
    store: Store,
) -> None:
    places = places_of(store)
    phone = ClientKey("phone", digest("fake-key-two"), concurrency=1)
    free = replace(phone, name="free", concurrency=None)
    places.enter(KEY)
    places.enter(KEY)
    places.enter(phone)
    for _ in range(10):
        places.enter(free)
    assert store.live.get("key/free") is None


def test_fifty_threads_never_exceed_the_limit(store: Store) -> None:
    places = places_of(store)

    def enter() -> Any:
        try:
            return places.enter(KEY)
        except RateLimited:
            return None

    entered = [caller.result() for caller in [Caller(enter) for _ in range(50)]]
    leave = [way for way in entered if way is not None]
    assert len(leave) == 2
    for way in leave:
        way()


def test_processes_share_the_places_and_the_dead_give_theirs_back(
    tmp_path: Path,
) -> None:
    path = tmp_path / "state.db"
    with ExitStack() as stack:
        store = stack.enter_context(closing(process.open_at(path)))
        workers = [
            stack.enter_context(started(process.use_a_key, path)) for _ in range(2)
        ]
        answers = []
        for _, pipe in workers:
            assert hear(pipe) == "ready"
        for _ in range(2):
            for _, pipe in workers:
                pipe.send("enter")
                answers.append(hear(pipe))
        assert answers == [True, True, False, False]
        victim, _ = workers[0]
        victim.kill()
        victim.join()
        places_of(store).enter(KEY)
        with pytest.raises(RateLimited):
            places_of(store).enter(KEY)
        workers[1][1].send("end")


def test_places_of_a_container_that_is_gone_are_given_back(
    hand: HandClock, hand_store: Store
) -> None:
    there = Worker()
    there._host = "old-container/1"
    old = KeyConcurrency(hand_store.live, there, hand.clock)
    old.enter(KEY)
    old.enter(KEY)
    presence = Presence(hand_store.live, there, hand.clock)
    places = KeyConcurrency(hand_store.live, Worker(), hand.clock)
    for _ in range(10):
        presence.beat()
        hand.advance(10)
        with pytest.raises(RateLimited):
            places.enter(KEY)
    hand.advance(10)
    places.enter(KEY)
    places.enter(KEY)
    with pytest.raises(RateLimited):
        places.enter(KEY)


def test_a_place_the_store_could_not_take_back_is_given_back_later(
    hand_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    places = places_of(hand_store)
    leave = [places.enter(KEY) for _ in range(2)]
    with monkeypatch.context() as patched:
        patched.setattr(hand_store.live, "update", fail)
        for way in leave:
            way()
    assert len(hand_store.live.get("key/laptop") or {}) == 2
    until(lambda: places.enter(KEY))
    places.enter(KEY)
