"""Stored responses: whose, how long, how many, and the history they make."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy import response_store
from kimi_proxy.clock import Clock
from kimi_proxy.errors import NotFound
from kimi_proxy.response_store import ResponseStore
from kimi_proxy.storage import Store, open_store

TTL, MOST = 100.0, 3


class Hand:
    """A clock to turn by hand."""

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


def opened(store: Store, hand: Hand) -> ResponseStore:
    return ResponseStore(store.bulk, Clock(now=hand.now), ttl=TTL, most=MOST)


Open = Callable[[], ResponseStore]


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture(params=["memory", "sqlite"])
def store(
    request: pytest.FixtureRequest, tmp_path: Path, hand: Hand
) -> Iterator[Store]:
    uris = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/kimi.db"}
    opened = open_store(uris[request.param], hand.now)
    yield opened
    opened.close()


@pytest.fixture
def shelf(store: Store, hand: Hand) -> ResponseStore:
    return opened(store, hand)


def name(number: int) -> str:
    return f"resp_{number:032x}"


def say(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": text}


def keep(
    shelf: ResponseStore, number: int, previous: int | None = None, owner: str = "a"
) -> None:
    answer = {"type": "message", "id": f"msg_{number:032x}0000", "content": "yes"}
    response = {"id": name(number), "output": [answer]}
    before = None if previous is None else name(previous)
    assert shelf.put(owner, response, [say(f"q{number}")], before)


def texts(items: list[Any]) -> list[str]:
    return [item["content"] for item in items]


def test_a_response_comes_back_as_it_was(shelf: ResponseStore) -> None:
    keep(shelf, 1)
    kept = shelf.get("a", name(1))
    assert kept.response["id"] == name(1)
    assert texts(list(kept.items)) == ["q1"]
    assert kept.items[0]["id"].startswith(f"msg_{1:032x}in")


def test_to_other_owners_it_does_not_exist(shelf: ResponseStore) -> None:
    keep(shelf, 1)
    for call in (shelf.get, shelf.delete, shelf.history, shelf.input):
        with pytest.raises(NotFound):
            call("b", name(1))
    with pytest.raises(NotFound):
        shelf.item("b", f"msg_{1:032x}0000")
    assert shelf.get("a", name(1))


@pytest.mark.parametrize("odd", ["", "resp_", "resp_1", "a/b", f"{name(1)}x", "é"])
def test_names_that_were_never_given_are_not_found(
    shelf: ResponseStore, odd: str
) -> None:
    keep(shelf, 1)
    with pytest.raises(NotFound):
        shelf.get("a", odd)
    with pytest.raises(NotFound):
        shelf.item("a", odd)


def test_a_history_is_all_that_was_said(shelf: ResponseStore) -> None:
    keep(shelf, 1)
    keep(shelf, 2, previous=1)
    keep(shelf, 3, previous=2)
    told = ["q1", "yes", "q2", "yes", "q3", "yes"]
    assert texts(shelf.history("a", name(3))) == told
    assert texts(shelf.input("a", name(3))) == told[:-1]
    assert texts(shelf.input("a", name(1))) == ["q1"]


def test_an_item_is_found_by_its_id(shelf: ResponseStore) -> None:
    keep(shelf, 1)
    assert shelf.item("a", f"msg_{1:032x}0000")["content"] == "yes"
    own = shelf.get("a", name(1)).items[0]["id"]
    assert shelf.item("a", own)["content"] == "q1"
    with pytest.raises(NotFound):
        shelf.item("a", f"msg_{1:032x}0009")


def test_what_is_deleted_is_gone_and_ends_what_goes_on_with_it(
    shelf: ResponseStore,
) -> None:
    keep(shelf, 1)
    keep(shelf, 2, previous=1)
    shelf.delete("a", name(1))
    with pytest.raises(NotFound):
        shelf.get("a", name(1))
    with pytest.raises(NotFound) as caught:
        shelf.history("a", name(2))
    assert caught.value.shown_code == "previous_response_not_found"


def test_a_response_expires_unless_it_is_gone_on_with(
    shelf: ResponseStore, hand: Hand
) -> None:
    keep(shelf, 1)
    keep(shelf, 2)
    hand.time += TTL * 0.6
    shelf.history("a", name(1))
    hand.time += TTL * 0.6
    assert shelf.get("a", name(1))
    with pytest.raises(NotFound):
        shelf.get("a", name(2))


def test_the_oldest_make_room(shelf: ResponseStore, hand: Hand) -> None:
    for number in range(5):
        hand.time += 1
        keep(shelf, number)
    keep(shelf, 9, owner="b")
    shelf.sweep()
    for gone in (0, 1):
        with pytest.raises(NotFound):
            shelf.get("a", name(gone))
    for there in (2, 3, 4):
        assert shelf.get("a", name(there))
    assert shelf.get("b", name(9))


def test_so_they_do_when_they_are_too_large(
    shelf: ResponseStore, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_store, "_MOST_BYTES", 900)
    for number in range(3):
        hand.time += 1
        keep(shelf, number)
    shelf.sweep()
    with pytest.raises(NotFound):
        shelf.get("a", name(0))
    assert shelf.get("a", name(2))


def test_one_that_is_too_large_is_not_kept(
    shelf: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(response_store, "_LARGEST", 100)
    assert not shelf.put("a", {"id": name(1), "output": []}, [say("x" * 99)], None)
    with pytest.raises(NotFound):
        shelf.get("a", name(1))


@pytest.mark.parametrize("gone", ["expired", "deleted"])
def test_those_that_are_gone_take_no_room(
    shelf: ResponseStore, hand: Hand, gone: str
) -> None:
    for number in range(3):
        hand.time += 1
        keep(shelf, number)
        if gone == "deleted":
            shelf.delete("a", name(number))
    hand.time += 0 if gone == "deleted" else TTL + 1
    for number in range(3, 6):
        keep(shelf, number)
    shelf.sweep()
    assert all(shelf.get("a", name(number)) for number in range(3, 6))


def test_where_nothing_was_stored_no_file_is_made(tmp_path: Path, hand: Hand) -> None:
    store = open_store(f"sqlite:///{tmp_path}/kimi.db", hand.now)
    opened(store, hand).sweep()
    store.tidy()
    assert list(tmp_path.iterdir()) == []
