"""How much room there is for uploaded files, and for whom."""

import threading
from contextlib import closing

import pytest

from kimi_proxy import file_store
from kimi_proxy.errors import InvalidRequest, PayloadTooLarge
from tests.flow.shelves import Shelf


def refused(made: Shelf, limit: str, size: int, owner: str = "alice") -> None:
    with pytest.raises(PayloadTooLarge, match=limit) as caught:
        made.put(b"\xff" * size, owner)
    assert caught.value.param == "file"


def test_one_file_has_a_limit(any_shelf: Shelf) -> None:
    assert any_shelf.put(b"x" * 1000).size == 1000
    refused(any_shelf, r"1000 .*file_store\.max_file", 1001)
    with closing(any_shelf.files.upload()) as upload:
        upload.write(b"x" * 999)
        with pytest.raises(PayloadTooLarge):
            upload.write(b"xx")


def test_one_owner_has_a_limit_that_equal_files_count_against(any_shelf: Shelf) -> None:
    first = any_shelf.put(b"x" * 1000)
    any_shelf.put(b"x" * 1000)
    refused(any_shelf, r"2000 .*file_store\.per_key", 1)
    any_shelf.put(b"y", "bob")
    any_shelf.files.delete("alice", first.id)
    any_shelf.put(b"z" * 1000)


def test_all_together_have_a_limit_that_equal_files_count_once_against(
    any_shelf: Shelf,
) -> None:
    for owner in ("alice", "bob", "carol"):
        any_shelf.put(b"x" * 1000, owner)
        any_shelf.put(owner.encode() * 100, owner)
    refused(any_shelf, r"3000 .*file_store\.max_total", 1000, "dave")
    any_shelf.put(b"x" * 1000, "dave")


def test_expired_files_take_no_room(any_shelf: Shelf) -> None:
    for n in range(2):
        any_shelf.put(bytes([n]) * 1000, expires_after=60)
    refused(any_shelf, "per_key", 1000)
    any_shelf.clock.advance(60)
    any_shelf.put(b"x" * 1000)


def test_there_are_only_so_many(
    any_shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_store, "_MOST_OF_ONE", 2)
    monkeypatch.setattr(file_store, "_MOST", 3)
    for owner in ("alice", "alice", "bob"):
        any_shelf.put(b"x", owner)
    refused(any_shelf, "limit of 2 files a key", 1)
    refused(any_shelf, "limit of 3 files", 1, "bob")


def test_what_is_refused_leaves_nothing(disk: Shelf) -> None:
    refused(disk, "max_file", 1001)
    with pytest.raises(InvalidRequest, match="empty") as caught:
        disk.put(b"")
    assert caught.value.param == "file"
    disk.put(b"x" * 1000)
    disk.put(b"y" * 1000)
    refused(disk, "per_key", 10)
    assert len(disk.names()) == 2


def test_limits_hold_for_uploads_at_the_same_time(disk: Shelf) -> None:
    outcomes = []
    barrier = threading.Barrier(8)

    def put(number: int) -> None:
        barrier.wait()
        try:
            disk.put(bytes([number]) * 500)
            outcomes.append("kept")
        except PayloadTooLarge:
            outcomes.append("refused")

    threads = [threading.Thread(target=put, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["kept"] * 4 + ["refused"] * 4
    assert len(disk.names()) == 4
