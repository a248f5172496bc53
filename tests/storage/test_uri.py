"""Which store a `state` setting names."""

from __future__ import annotations

from pathlib import Path

import pytest

from kimi_proxy.storage import open_store
from tests.storage.conftest import HandClock


def test_a_relative_path_is_fixed_when_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clock: HandClock
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(tmp_path)
    store = open_store("sqlite:///data/kimi-proxy.db", clock)
    monkeypatch.chdir(elsewhere)
    store.durable.put("a", {})
    store.live.put("a", {})
    store.close()
    names = sorted(path.name for path in (tmp_path / "data").iterdir())
    assert names == ["kimi-proxy.db", "kimi-proxy.live.db"]
    assert store.shared


def test_a_path_may_hold_characters_that_mean_something_in_a_uri(
    tmp_path: Path, clock: HandClock
) -> None:
    store = open_store(f"sqlite:///{tmp_path}/a?b#c%20d 月/kimi", clock)
    store.live.put("a", {})
    store.close()
    assert (tmp_path / "a?b#c%20d 月" / "kimi.live").exists()


def test_memory_is_of_one_process(clock: HandClock) -> None:
    assert not open_store("memory://", clock).shared


@pytest.mark.parametrize(
    "uri",
    ["redis://user:made-up-password@host/0", "sqlite", "data/kimi.db", "", "://x"],
)
def test_an_unknown_kind_names_the_known_ones_and_no_password(
    uri: str, clock: HandClock
) -> None:
    with pytest.raises(ValueError, match="sqlite://, memory://") as refused:
        open_store(uri, clock)
    assert "made-up-password" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    ["sqlite://", "sqlite:///", "sqlite://host/x.db", "sqlite:///x/", "memory://x"],
)
def test_a_uri_without_a_usable_path_is_refused(uri: str, clock: HandClock) -> None:
    with pytest.raises(ValueError, match=r"sqlite:///relative|memory://"):
        open_store(uri, clock)


def test_sqlite_in_memory_is_refused(clock: HandClock) -> None:
    with pytest.raises(ValueError, match="use memory://"):
        open_store("sqlite:///:memory:", clock)
