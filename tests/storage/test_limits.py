"""flask-limiter counts exactly over the documents of a store."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest
from limits import RateLimitItemPerMinute, RateLimitItemPerSecond
from limits.errors import StorageError
from limits.storage import storage_from_string
from limits.strategies import FixedWindowRateLimiter, MovingWindowRateLimiter

from kimi_proxy.storage import Documents, StorageUnavailable, Store
from kimi_proxy.storage.limits import DocumentLimits
from kimi_proxy.storage.sqlite import SqliteStore
from tests.processes import started
from tests.storage.conftest import HandClock
from tests.storage.process import request_often


@pytest.fixture
def limits(store: Store, clock: HandClock) -> DocumentLimits:
    return DocumentLimits(documents=store.live, clock=clock)


def test_the_scheme_leads_to_the_storage(store: Store) -> None:
    found = storage_from_string("kimi-proxy://", documents=store.live)  # type: ignore[arg-type]
    assert isinstance(found, DocumentLimits)
    assert found.check()


def test_a_fixed_window_opens_with_its_first_hit_and_ends(
    limits: DocumentLimits, clock: HandClock
) -> None:
    limiter, item = FixedWindowRateLimiter(limits), RateLimitItemPerMinute(3)
    assert limiter.get_window_stats(item, "a") == (clock.now, 3)
    opened = clock.now
    for used in (1, 2, 3):
        assert limiter.test(item, "a")
        assert limiter.hit(item, "a")
        assert limiter.get_window_stats(item, "a") == (opened + 60, 3 - used)
        clock.now += 10
    assert not limiter.test(item, "a")
    assert not limiter.hit(item, "a")
    assert limiter.hit(item, "b")
    clock.now = opened + 60
    assert limiter.test(item, "a")
    assert limiter.hit(item, "a")
    assert limiter.get_window_stats(item, "a") == (opened + 120, 2)


def test_a_moving_window_frees_each_hit_in_its_time(
    limits: DocumentLimits, clock: HandClock
) -> None:
    limiter, item = MovingWindowRateLimiter(limits), RateLimitItemPerMinute(3)
    assert limiter.get_window_stats(item, "a") == (clock.now + 60, 3)
    opened = clock.now
    for _ in range(3):
        assert limiter.hit(item, "a")
        clock.now += 10
    assert not limiter.hit(item, "a")
    assert limiter.get_window_stats(item, "a") == (opened + 60, 0)
    clock.now = opened + 60
    assert not limiter.hit(item, "a")
    clock.now = opened + 60.5
    assert limiter.get_window_stats(item, "a") == (opened + 70, 1)
    assert limiter.hit(item, "a")
    assert not limiter.hit(item, "a")


def test_a_clock_that_is_set_back_locks_nobody_out(
    limits: DocumentLimits, clock: HandClock
) -> None:
    limiter, item = MovingWindowRateLimiter(limits), RateLimitItemPerMinute(3)
    for _ in range(3):
        assert limiter.hit(item, "a")
    clock.now -= 2
    assert not limiter.hit(item, "a"), "that is no more than skew"
    clock.now -= 3600
    for _ in range(3):
        assert limiter.hit(item, "a")
    assert not limiter.hit(item, "a")


def test_a_hit_may_cost_more_than_one(limits: DocumentLimits, clock: HandClock) -> None:
    limiter, item = MovingWindowRateLimiter(limits), RateLimitItemPerMinute(5)
    assert not limiter.hit(item, "a", cost=6)
    assert limiter.hit(item, "a", cost=3)
    assert not limiter.hit(item, "a", cost=3)
    assert limiter.hit(item, "a", cost=2)
    assert limiter.get_window_stats(item, "a") == (clock.now + 60, 0)


def test_a_moving_window_keeps_no_more_than_its_limit(
    limits: DocumentLimits, store: Store, clock: HandClock
) -> None:
    limiter, item = MovingWindowRateLimiter(limits), RateLimitItemPerSecond(4)
    for _ in range(200):
        limiter.hit(item, "a")
        clock.now += 0.05
        (_, document) = store.live.scan("limits/")[0]
        assert 0 < len(document["hits"]) <= 4


def test_a_limit_that_is_over_leaves_nothing_behind(
    limits: DocumentLimits, store: Store, clock: HandClock
) -> None:
    FixedWindowRateLimiter(limits).hit(RateLimitItemPerMinute(3), "a")
    MovingWindowRateLimiter(limits).hit(RateLimitItemPerMinute(3), "a")
    clock.now += 60
    assert store.live.purge() == 2


def test_clear_forgets_one_limit_and_reset_all(limits: DocumentLimits) -> None:
    item = RateLimitItemPerMinute(1)
    for limiter in (FixedWindowRateLimiter(limits), MovingWindowRateLimiter(limits)):
        for name in ("a", "b"):
            assert limiter.hit(item, name)
            assert not limiter.hit(item, name)
        limiter.clear(item, "a")
        assert limiter.hit(item, "a")
        assert not limiter.hit(item, "b")
    assert limits.reset() == 3
    assert limits.reset() == 0


def test_other_documents_are_left_alone(limits: DocumentLimits, store: Store) -> None:
    store.live.put("lease/kimi/alice", {})
    limits.incr("a", 60)
    limits.reset()
    assert [key for key, _ in store.live.scan("")] == ["lease/kimi/alice"]


def test_a_store_that_fails_is_told_as_such(tmp_path: Path, clock: HandClock) -> None:
    (tmp_path / "file").write_text("in the way")
    documents: Documents = SqliteStore(tmp_path / "file" / "kimi.db", clock).live
    limits = DocumentLimits(documents=documents)
    assert not limits.check()
    with pytest.raises(StorageUnavailable):
        limits.incr("a", 60)
    with pytest.raises(StorageError):
        DocumentLimits(None, True, documents=documents).acquire_entry("a", 1, 60)


@pytest.mark.parametrize("strategy", ["fixed-window", "moving-window"])
def test_an_application_in_two_processes_lets_the_limit_through_exactly(
    database: Path, strategy: str
) -> None:
    with ExitStack() as stack:
        pipes = [
            stack.enter_context(started(request_often, database, strategy, 20))[1]
            for _ in range(2)
        ]
        assert len({pipe.recv() for pipe in pipes}) == 2
        for pipe in pipes:
            pipe.send("go")
        statuses = [status for pipe in pipes for status in pipe.recv()]
    assert statuses.count(200) == 25
    assert statuses.count(429) == 15
