"""The clocks, each backend in turn, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kimi_proxy.clock import Clock
from kimi_proxy.storage import Store, open_store
from tests.fakes import HandClock
from tests.flow.shelves import Shelf, shelf
from tests.flow.waiting import until


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until(lambda: not {t for t in threading.enumerate() if t.is_alive()} - before)


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    uris = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/state/kimi.db"}
    store = open_store(uris[request.param], Clock().now)
    yield store
    store.close()


@pytest.fixture
def hand_store(hand: HandClock) -> Store:
    return open_store("memory://", hand.now)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Shelf]:
    made = shelf(f"sqlite:///{tmp_path}/state/kimi.db", HandClock())
    yield made
    made.store.close()


@pytest.fixture(params=["memory", "disk"])
def any_shelf(request: pytest.FixtureRequest, disk: Shelf) -> Shelf:
    return disk if request.param == "disk" else shelf("memory://", HandClock())
