"""What SQLite's files are like, and what happens when they fail."""

from __future__ import annotations

import logging
import os
import stat
import threading
import warnings
from contextlib import closing, suppress
from pathlib import Path

import pytest

from kimi_proxy.storage import StorageUnavailable, Store
from kimi_proxy.storage.sqlite import SqliteStore
from tests.processes import started
from tests.storage.conftest import HandClock
from tests.storage.process import count_up, fill_up, hold, overwrite, scribble

SECRET = "made-up-secret-do-not-show"
NAMES = ["kimi.db", "kimi.db-shm", "kimi.db-wal"]
LIVE_NAMES = ["kimi.live.db", "kimi.live.db-shm", "kimi.live.db-wal"]
BULK_NAMES = ["kimi.bulk.db", "kimi.bulk.db-shm", "kimi.bulk.db-wal"]


def modes(directory: Path) -> dict[str, int]:
    return {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()
    }


def live_file(database: Path) -> Path:
    return database.with_name("kimi.live.db")


def damage_middle(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[1024:] = os.urandom(len(content) - 1024)
    path.write_bytes(content)


def fill(store: Store) -> None:
    for space in (store.durable, store.live, store.bulk):
        for number in range(50):
            space.put(f"token/{number}", {"secret": SECRET, "pad": "x" * 200})


def test_files_are_for_their_owner_only_whatever_the_umask(
    sqlite_store: Store, database: Path
) -> None:
    umask = os.umask(0)
    try:
        fill(sqlite_store)
    finally:
        os.umask(umask)
    assert modes(database.parent) == dict.fromkeys(
        NAMES + LIVE_NAMES + BULK_NAMES, 0o600
    )
    assert stat.S_IMODE(database.parent.stat().st_mode) == 0o700


def test_files_that_others_could_read_are_shut(
    sqlite_store: Store, database: Path
) -> None:
    fill(sqlite_store)
    sqlite_store.close()
    database.chmod(0o644)
    assert sqlite_store.durable.get("token/1") is not None
    assert modes(database.parent)["kimi.db"] == 0o600


def test_close_leaves_the_files_and_no_open_descriptor(
    sqlite_store: Store, database: Path
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fill(sqlite_store)
        sqlite_store.tidy()
        sqlite_store.close()
    assert sorted(modes(database.parent)) == ["kimi.bulk.db", "kimi.db", "kimi.live.db"]
    opened = []
    for number in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            opened.append(os.readlink(f"/proc/self/fd/{number}"))
    assert not [name for name in opened if name.startswith(str(database.parent))]


def test_tidy_moves_live_writes_into_the_main_file(
    sqlite_store: Store, database: Path
) -> None:
    fill(sqlite_store)
    before = live_file(database).stat().st_size
    sqlite_store.tidy()
    assert live_file(database).stat().st_size > before + 50 * 200
    # The log is used again from its beginning, so it does not grow.
    log = database.with_name("kimi.live.db-wal")
    size = log.stat().st_size
    for _ in range(5):
        sqlite_store.live.put("token/0", {})
        sqlite_store.tidy()
    assert log.stat().st_size == size


def test_tidy_runs_beside_updates(sqlite_store: Store) -> None:
    fill(sqlite_store)
    entered, tidied = threading.Event(), threading.Event()

    def change(document: object) -> tuple[dict[str, object], bool]:
        entered.set()
        return {"n": 1}, tidied.wait(10)

    results: list[bool] = []
    thread = threading.Thread(
        target=lambda: results.append(sqlite_store.live.update("a", change))
    )
    thread.start()
    assert entered.wait(10)
    sqlite_store.tidy()
    tidied.set()
    thread.join()
    assert results == [True]


def test_a_damaged_live_file_is_set_aside_with_a_warning(
    sqlite_store: Store, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(sqlite_store)
    sqlite_store.close()
    damage_middle(live_file(database))
    damaged = live_file(database).read_bytes()
    with caplog.at_level(logging.WARNING):
        assert sqlite_store.live.get("token/1") is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "kimi.live.db.damaged" in caplog.text
    assert SECRET not in caplog.text
    sqlite_store.live.put("a", {"n": 1})
    assert sqlite_store.live.get("a") == {"n": 1}
    assert database.with_name("kimi.live.db.damaged").read_bytes() == damaged
    assert sqlite_store.durable.get("token/1") is not None


def test_a_damaged_bulk_file_is_set_aside_when_the_damage_is_met(
    sqlite_store: Store, database: Path
) -> None:
    for number in range(50):
        sqlite_store.bulk.put(f"{number}", {"pad": "x" * 200})
    sqlite_store.close()
    damage_middle(database.with_name("kimi.bulk.db"))
    assert sqlite_store.bulk.scan("") == []
    assert database.with_name("kimi.bulk.db.damaged").exists()
    sqlite_store.bulk.put("a", {"n": 1})
    assert sqlite_store.bulk.get("a") == {"n": 1}


@pytest.mark.parametrize("content", [b"", b"not a database" * 500])
def test_a_live_file_of_something_else_is_recovered(
    sqlite_store: Store, database: Path, content: bytes
) -> None:
    database.parent.mkdir()
    live_file(database).write_bytes(content)
    sqlite_store.live.put("a", {"n": 1})
    assert sqlite_store.live.get("a") == {"n": 1}


def test_a_live_file_that_is_damaged_while_in_use_is_recovered(
    sqlite_store: Store, database: Path
) -> None:
    other = SqliteStore(database, HandClock())
    fill(sqlite_store)
    sqlite_store.tidy()
    assert other.live.get("token/1") is not None
    # In another process: closing the file here would drop SQLite's locks on it.
    with started(overwrite, live_file(database), 1024) as (_, pipe):
        assert pipe.recv() == "overwritten"
    for number in range(50, 60):
        sqlite_store.live.put(f"token/{number}", {"n": number})
    with suppress(StorageUnavailable):
        other.tidy()
    sqlite_store.tidy()
    other.tidy()
    # Whoever met the damage first, both are on the same new file now.
    sqlite_store.live.put("a", {"n": 1})
    assert other.live.get("a") == {"n": 1}
    assert other.live.get("token/1") is None
    other.close()


def test_the_second_to_meet_the_damage_spares_the_new_file(
    sqlite_store: Store, database: Path, clock: HandClock
) -> None:
    other = SqliteStore(database, clock)
    fill(sqlite_store)
    assert other.live.get("token/1") is not None
    sqlite_store.live.put("last", {})
    sqlite_store.tidy()
    with started(overwrite, live_file(database), 1024) as (_, pipe):
        assert pipe.recv() == "overwritten"
    sqlite_store.close()
    sqlite_store.live.put("a", {"n": 1})
    assert other.live.scan("") == [("a", {"n": 1})]
    other.live.put("a", {"n": 2})
    assert sqlite_store.live.get("a") == {"n": 2}
    other.close()


def test_a_damaged_durable_file_is_refused_and_kept(
    sqlite_store: Store, database: Path
) -> None:
    fill(sqlite_store)
    sqlite_store.close()
    damage_middle(database)
    damaged = database.read_bytes()
    for _ in range(2):
        with pytest.raises(StorageUnavailable) as refused:
            sqlite_store.durable.get("token/1")
        assert "SQLITE_CORRUPT" in str(refused.value)
        assert SECRET not in str(refused.value)
    with pytest.raises(StorageUnavailable):
        sqlite_store.durable.put("a", {})
    with pytest.raises(StorageUnavailable):
        sqlite_store.check()
    assert database.read_bytes() == damaged
    assert sqlite_store.live.get("token/1") is not None


def test_a_durable_file_of_something_else_is_refused_and_kept(
    sqlite_store: Store, database: Path
) -> None:
    database.parent.mkdir()
    database.write_bytes(b"not a database" * 500)
    with pytest.raises(StorageUnavailable, match="SQLITE_NOTADB"):
        sqlite_store.durable.put("a", {})
    assert database.read_bytes() == b"not a database" * 500


def test_a_removed_file_is_made_anew_after_tidy(
    sqlite_store: Store, database: Path, caplog: pytest.LogCaptureFixture
) -> None:
    fill(sqlite_store)
    for path in database.parent.iterdir():
        path.unlink()
    sqlite_store.tidy()
    assert "was replaced" in caplog.text
    assert sqlite_store.live.get("token/1") is None
    sqlite_store.check()
    assert database.exists()


def test_durable_documents_of_a_file_that_was_removed_are_not_lost(
    database: Path, clock: HandClock
) -> None:
    """A refresh token that was rotated exists nowhere else."""
    with (
        closing(SqliteStore(database, clock)) as first,
        closing(SqliteStore(database, clock)) as second,
    ):
        for store in (first, second):
            store.durable.put("token/1", {"bought": "by either"})
        for path in database.parent.iterdir():
            path.unlink()
        second.durable.put("token/2", {"bought": "before anybody noticed"})
        first.tidy()
        assert first.durable.get("token/1") == {"bought": "by either"}
        first.durable.put("token/1", {"bought": "since"})
        second.tidy()
        assert second.durable.get("token/1") == {"bought": "since"}
        second.durable.put("token/3", {"bought": "last"})
    with closing(SqliteStore(database, clock)) as after:
        assert [key for key, _ in after.durable.scan("")] == [
            f"token/{number}" for number in (1, 2, 3)
        ]


def test_documents_of_a_file_put_in_place_of_the_first_count(
    sqlite_store: Store, database: Path, tmp_path: Path, clock: HandClock
) -> None:
    sqlite_store.durable.put("token/1", {"from": "the first"})
    sqlite_store.durable.put("token/2", {"from": "the first"})
    backup = tmp_path / "backup.db"
    with closing(SqliteStore(backup, clock)) as other:
        other.durable.put("token/1", {"from": "the backup"})
    for path in database.parent.iterdir():
        path.unlink()
    backup.rename(database)
    sqlite_store.tidy()
    assert sqlite_store.durable.get("token/1") == {"from": "the backup"}
    assert sqlite_store.durable.get("token/2") == {"from": "the first"}


def test_patience_with_a_held_lock_ends(
    sqlite_store: Store, database: Path, clock: HandClock
) -> None:
    sqlite_store.durable.put("a", {"count": 1})
    hasty = SqliteStore(database, clock, patience=0.02)
    with started(hold, database) as (_, pipe):
        assert pipe.recv() == "holding"
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY") as refused:
            hasty.durable.put("a", {"secret": SECRET})
        assert SECRET not in str(refused.value)
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            hasty.durable.update("a", count_up)
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            hasty.durable.delete("a")
        with pytest.raises(StorageUnavailable, match="SQLITE_BUSY"):
            hasty.check()
        assert hasty.durable.get("a") == {"count": 1}
        pipe.send("commit")
    hasty.close()


def test_a_full_disk_is_reported_and_outlived(database: Path) -> None:
    with started(fill_up, database, 60_000) as (_, pipe):
        written, put_error = pipe.recv()
        assert 0 < written < 60
        assert str(database) in put_error
        check_error = pipe.recv()
        assert "SQLITE_" in check_error and str(database) in check_error
        # Every document acknowledged, and the two around them.
        assert pipe.recv() == written + 2


def test_a_directory_that_cannot_be_made_is_reported(
    tmp_path: Path, clock: HandClock
) -> None:
    (tmp_path / "file").write_text("in the way")
    store = SqliteStore(tmp_path / "file" / "kimi.db", clock)
    with pytest.raises(StorageUnavailable) as refused:
        store.check()
    assert str(tmp_path / "file" / "kimi.db") in refused.value.detail
    assert str(tmp_path) not in str(refused.value), "that is shown to strangers"
    assert isinstance(refused.value.__cause__, OSError)
    store.close()


def test_a_document_that_is_not_json_is_reported_without_its_content(
    sqlite_store: Store, database: Path
) -> None:
    sqlite_store.durable.put("a", {"count": 1})
    with started(scribble, database, SECRET) as (_, pipe):
        assert pipe.recv() == "scribbled"
    with pytest.raises(StorageUnavailable) as refused:
        sqlite_store.durable.get("a")
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
    assert SECRET not in str(refused.value)
