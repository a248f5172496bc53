"""A clock to turn by hand, and each backend in turn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from kimi_proxy.storage import Documents, Store, open_store


@dataclass(slots=True)
class HandClock:
    now: float = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock
) -> Iterator[Store]:
    uris = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/state/kimi.db"}
    store = open_store(uris[request.param], clock)
    yield store
    store.close()


@pytest.fixture(params=["durable", "live", "bulk"])
def documents(request: pytest.FixtureRequest, store: Store) -> Documents:
    found: Documents = getattr(store, request.param)
    return found


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "state" / "kimi.db"


@pytest.fixture
def sqlite_store(database: Path, clock: HandClock) -> Iterator[Store]:
    store = open_store(f"sqlite:///{database}", clock)
    yield store
    store.close()
