"""What every backend promises, for every space of documents."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from kimi_proxy.storage import Document, Documents, Store, open_store
from tests.storage.conftest import HandClock


def count_up(document: Document | None) -> tuple[Document, int]:
    count = 1 if document is None else document["count"] + 1
    return {"count": count}, count


def keep(document: Document | None) -> tuple[Document | None, None]:
    return document, None


def test_a_document_comes_back_as_it_was_put(documents: Documents) -> None:
    document = {
        "text": "月之暗面 🌙",
        "list": [1, 2.5, None, True],
        "nested": {"a": {}},
    }
    documents.put("token/alice", document)
    assert documents.get("token/alice") == document


def test_there_is_nothing_under_an_unknown_key(documents: Documents) -> None:
    assert documents.get("token/nobody") is None


def test_put_replaces_the_whole_document(documents: Documents) -> None:
    documents.put("a", {"x": 1, "y": 2})
    documents.put("a", {"x": 3})
    assert documents.get("a") == {"x": 3}


@pytest.mark.parametrize("key", ["", "with space", "a/b:c%", "键", "nul\0inside", "'"])
def test_any_text_is_a_key(documents: Documents, key: str) -> None:
    documents.put(key, {"key": key})
    assert documents.get(key) == {"key": key}
    assert documents.scan(key) == [(key, {"key": key})]


def test_copies_are_independent(documents: Documents) -> None:
    given: Document = {"list": [1]}
    documents.put("a", given)
    given["list"].append(2)
    read = documents.get("a")
    assert read is not None
    read["list"].append(3)
    (_, scanned) = documents.scan("a")[0]
    scanned["list"].append(4)
    assert documents.get("a") == {"list": [1]}


def test_change_has_a_copy_of_its_own(documents: Documents) -> None:
    documents.put("a", {"list": [1]})
    kept: list[Document | None] = []

    def change(document: Document | None) -> tuple[Document | None, None]:
        kept.append(document)
        return document, None

    documents.update("a", change)
    assert kept[0] is not None
    kept[0]["list"].append(2)
    assert documents.get("a") == {"list": [1]}


def test_a_document_that_json_cannot_carry_is_refused(documents: Documents) -> None:
    documents.put("a", {"x": 1})
    with pytest.raises(TypeError):
        documents.put("a", {"x": object()})
    with pytest.raises(TypeError):
        documents.update("a", lambda _: ({"x": {1: object()}}, None))
    assert documents.get("a") == {"x": 1}


def test_update_makes_changes_and_deletes(documents: Documents) -> None:
    assert documents.update("a", count_up) == 1
    assert documents.update("a", count_up) == 2
    assert documents.get("a") == {"count": 2}
    assert documents.update("a", lambda document: (None, document)) == {"count": 2}
    assert documents.get("a") is None
    assert documents.update("a", lambda _: (None, "gone")) == "gone"


def test_a_change_that_raises_writes_nothing(documents: Documents) -> None:
    documents.put("a", {"count": 1})

    def fail(document: Document | None) -> tuple[Document | None, None]:
        assert document is not None
        document["count"] = 99
        raise LookupError("no slot")

    with pytest.raises(LookupError, match="no slot"):
        documents.update("a", fail)
    assert documents.get("a") == {"count": 1}
    assert documents.update("a", count_up) == 2


def test_delete_removes_one_document(documents: Documents) -> None:
    documents.put("a", {})
    documents.put("ab", {})
    documents.delete("a")
    documents.delete("never there")
    assert [key for key, _ in documents.scan("")] == ["ab"]


def test_scan_is_sorted_and_keeps_to_its_prefix(documents: Documents) -> None:
    for key in ["b/2", "b/10", "b", "a", "c", "b/\U0010ffff", "b/é", "b0", "B/1"]:
        documents.put(key, {"key": key})
    keys = ["b/10", "b/2", "b/é", "b/\U0010ffff"]
    assert documents.scan("b/") == [(key, {"key": key}) for key in keys]
    assert documents.scan("b/x") == []
    assert len(documents.scan("")) == 9


def test_scan_takes_a_prefix_literally(documents: Documents) -> None:
    documents.put("a_b%", {})
    documents.put("axb", {})
    assert [key for key, _ in documents.scan("a_")] == ["a_b%"]


def test_expired_documents_are_invisible(
    documents: Documents, clock: HandClock
) -> None:
    documents.put("short", {"n": 1}, ttl=10)
    documents.put("long", {"n": 2})
    clock.now += 9.5
    assert documents.get("short") == {"n": 1}
    clock.now += 0.5
    assert documents.get("short") is None
    assert documents.scan("") == [("long", {"n": 2})]
    assert documents.update("short", lambda document: (None, document)) is None


def test_purge_drops_what_has_expired_and_nothing_else(
    documents: Documents, clock: HandClock
) -> None:
    for number in range(250):
        documents.put(f"short/{number}", {}, ttl=10)
    documents.put("later", {}, ttl=11)
    documents.put("always", {})
    assert documents.purge() == 0
    clock.now += 10
    assert documents.purge() == 250
    assert documents.purge() == 0
    assert [key for key, _ in documents.scan("")] == ["always", "later"]


def test_put_sets_the_expiry_anew(documents: Documents, clock: HandClock) -> None:
    documents.put("a", {}, ttl=10)
    documents.put("a", {})
    documents.put("b", {})
    documents.put("b", {}, ttl=10)
    clock.now += 10
    assert [key for key, _ in documents.scan("")] == ["a"]


def test_a_changed_document_expires_anew(
    documents: Documents, clock: HandClock
) -> None:
    documents.put("a", {"count": 1}, ttl=10)
    documents.put("b", {"count": 1}, ttl=10)
    clock.now += 5
    documents.update("a", count_up, ttl=10)
    documents.update("b", count_up)
    clock.now += 5
    assert [key for key, _ in documents.scan("")] == ["a", "b"]
    clock.now += 5
    assert [key for key, _ in documents.scan("")] == ["b"]


def test_an_unchanged_document_keeps_its_expiry(
    documents: Documents, clock: HandClock
) -> None:
    documents.put("a", {"count": 1}, ttl=10)
    clock.now += 5
    documents.update("a", keep, ttl=100)
    documents.update("a", keep)
    clock.now += 5
    assert documents.get("a") is None


def test_an_expired_document_can_be_made_anew(
    documents: Documents, clock: HandClock
) -> None:
    documents.put("a", {"count": 7}, ttl=10)
    clock.now += 10
    assert documents.update("a", count_up, ttl=10) == 1
    assert documents.purge() == 0
    assert documents.get("a") == {"count": 1}


def test_update_is_exact_under_threads(documents: Documents) -> None:
    def work() -> None:
        for _ in range(100):
            documents.update("a", count_up)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert documents.get("a") == {"count": 800}


def test_the_two_spaces_are_apart(store: Store) -> None:
    store.durable.put("a", {"space": "durable"})
    store.live.put("a", {"space": "live"})
    assert store.durable.get("a") == {"space": "durable"}
    assert store.live.get("a") == {"space": "live"}


def test_check_passes_and_leaves_no_document(store: Store) -> None:
    store.check()
    assert store.durable.scan("") == []
    assert store.live.scan("") == []


def test_tidy_keeps_what_has_not_expired(store: Store, clock: HandClock) -> None:
    for space in (store.durable, store.live, store.bulk):
        space.put("a", {}, ttl=10)
        space.put("b", {})
    clock.now += 10
    store.tidy()
    for space in (store.durable, store.live, store.bulk):
        assert space.purge() == 0
        assert space.scan("") == [("b", {})]


def test_documents_are_there_after_close(store: Store) -> None:
    store.live.put("a", {"n": 1})
    store.durable.put("b", {"n": 2})
    store.close()
    store.close()
    assert store.live.get("a") == {"n": 1}
    assert store.durable.get("b") == {"n": 2}


def test_an_unused_store_leaves_no_file(tmp_path: Path, clock: HandClock) -> None:
    store = open_store(f"sqlite:///{tmp_path}/state/kimi.db", clock)
    store.tidy()
    store.close()
    assert list(tmp_path.iterdir()) == []
