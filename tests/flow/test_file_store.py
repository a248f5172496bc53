"""Uploaded files: whose they are, how much there is room for, when they go."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy import file_store
from kimi_proxy.errors import InvalidRequest, NotFound, PayloadTooLarge
from kimi_proxy.file_store import Caps, FileStore, Stored, Upload
from kimi_proxy.storage import (
    Contents,
    StorageUnavailable,
    Store,
    open_contents,
    open_store,
)
from tests.fakes import HandClock
from tests.gateway_process import ROOT

CAPS = Caps(max_file=1000, max_total=3000, per_key=2000, ttl=3600.0)
WRITER = """
import sys, time
from kimi_proxy.storage import open_contents
spool = open_contents(sys.argv[1]).spool()
spool.write(b"half of it")
print("written", flush=True)
time.sleep(60)
"""


@dataclass(frozen=True, slots=True)
class Shelf:
    """A file store, with what lies below it."""

    files: FileStore
    store: Store
    clock: HandClock
    contents: Contents
    uri: str
    directory: Path | None

    def put(
        self, content: bytes | Upload, owner: str = "alice", **given: Any
    ) -> Stored:
        about = {"name": "a.txt", "media_type": "text/plain", "purpose": "user_data"}
        return self.files.put(owner, content=content, **{**about, **given})

    def names(self) -> list[str]:
        """What lies in the directory."""
        assert self.directory is not None
        return sorted(path.name for path in self.directory.iterdir())


def shelf(uri: str, clock: HandClock, caps: Caps = CAPS) -> Shelf:
    store = open_store(uri, clock.now)
    contents = open_contents(uri)
    files = FileStore(contents, store.durable, clock.clock, caps)
    path = uri.removeprefix("sqlite:///")
    directory = None if path == uri else Path(path).parent / "kimi.files"
    return Shelf(files, store, clock, contents, uri, directory)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Shelf]:
    made = shelf(f"sqlite:///{tmp_path}/state/kimi.db", HandClock())
    yield made
    made.store.close()


@pytest.fixture(params=["memory", "disk"])
def any_shelf(request: pytest.FixtureRequest, disk: Shelf) -> Shelf:
    return disk if request.param == "disk" else shelf("memory://", HandClock())


def test_what_was_put_is_got_as_it_was(any_shelf: Shelf) -> None:
    put = any_shelf.put(b"hello", name="b.csv", media_type="Text/CSV; charset=gbk")
    got = any_shelf.files.get("alice", put.id)
    assert got == put
    assert (got.name, got.media_type, got.purpose) == ("b.csv", "text/csv", "user_data")
    assert (got.size, got.data) == (5, b"hello")
    assert got.digest == hashlib.sha256(b"hello").hexdigest()
    assert got.created == any_shelf.clock.now()
    assert got.expires == got.created + CAPS.ttl
    with got.open() as stream:
        assert stream.read() == b"hello"


def test_a_content_in_pieces_is_the_same_content(any_shelf: Shelf) -> None:
    with closing(any_shelf.files.upload()) as upload:
        for byte in b"hello":
            upload.write(bytes([byte]))
        put = any_shelf.put(upload)
    assert put.data == b"hello"
    assert put.digest == any_shelf.put(b"hello").digest


def test_nobody_else_finds_lists_or_deletes_it(any_shelf: Shelf) -> None:
    put = any_shelf.put(b"hers", "alice")
    for stranger in ("bob", "alice/", "alic", "", "alice/x"):
        with pytest.raises(NotFound):
            any_shelf.files.get(stranger, put.id)
        with pytest.raises(NotFound):
            any_shelf.files.delete(stranger, put.id)
        assert any_shelf.files.list(stranger).files == ()
    assert any_shelf.files.list("alice").files == (put,)


@pytest.mark.parametrize(
    "file_id",
    [
        "",
        "file-",
        "file-../../state",
        "../file",
        f"file-{'0' * 24}",
        f"file-{'A' * 24}",
    ],
)
def test_an_id_of_nothing_is_not_found(any_shelf: Shelf, file_id: str) -> None:
    any_shelf.put(b"x")
    with pytest.raises(NotFound):
        any_shelf.files.get("alice", file_id)


def test_equal_contents_are_stored_once_and_go_with_the_last(disk: Shelf) -> None:
    first, second = disk.put(b"same"), disk.put(b"same", "bob", name="other.txt")
    assert disk.names() == [first.digest]
    disk.files.delete("alice", first.id)
    assert second.data == b"same"
    disk.files.delete("bob", second.id)
    assert disk.names() == []


def test_what_is_deleted_is_gone(any_shelf: Shelf) -> None:
    put = any_shelf.put(b"x")
    any_shelf.files.delete("alice", put.id)
    with pytest.raises(NotFound):
        any_shelf.files.get("alice", put.id)
    with pytest.raises(NotFound):
        any_shelf.files.delete("alice", put.id)


def test_a_stream_that_is_open_outlives_the_file(any_shelf: Shelf) -> None:
    put = any_shelf.put(b"x")
    with put.open() as stream:
        any_shelf.files.delete("alice", put.id)
        assert stream.read() == b"x"


def test_a_content_that_went_away_since_is_not_found(disk: Shelf) -> None:
    put = disk.put(b"x")
    disk.files.delete("alice", put.id)
    with pytest.raises(NotFound):
        _ = put.data


def test_files_expire_at_their_second_and_their_contents_with_the_sweep(
    disk: Shelf,
) -> None:
    short, long = disk.put(b"short", expires_after=60), disk.put(b"long")
    asked_too_much = disk.put(b"asked", expires_after=10 * CAPS.ttl)
    assert asked_too_much.expires == long.expires
    disk.clock.advance(59.9)
    assert disk.files.get("alice", short.id) == short
    disk.clock.advance(0.1)
    with pytest.raises(NotFound):
        disk.files.get("alice", short.id)
    disk.files.sweep()
    assert disk.names() == sorted([long.digest, asked_too_much.digest])
    disk.clock.advance(CAPS.ttl)
    disk.files.sweep()
    assert disk.names() == []
    assert disk.files.list("alice").files == ()


def test_memory_is_swept_too() -> None:
    made = shelf("memory://", HandClock())
    short, long = made.put(b"short", expires_after=60), made.put(b"long")
    made.clock.advance(60)
    assert made.contents.find(short.digest) == b"short"
    made.files.sweep()
    assert made.contents.find(short.digest) is None
    assert made.contents.find(long.digest) == b"long"


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


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\a.txt", "a.txt"),
        ("a\r\nb\x00.txt", "ab.txt"),
        ("", "file"),
        ("...", "file"),
        ("文件.pdf", "文件.pdf"),
    ],
)
def test_names_are_made_harmless(any_shelf: Shelf, sent: str, kept: str) -> None:
    assert any_shelf.put(b"x", name=sent).name == kept


@pytest.mark.parametrize(
    ("name", "told", "kept"),
    [
        ("a.txt", "image/png", "image/png"),
        ("a.pdf", None, "application/pdf"),
        ("a.pdf", "application/octet-stream", "application/pdf"),
        ("a.pdf", "nonsense\r\nX-Evil: 1", "application/pdf"),
        ("a", "", "application/octet-stream"),
    ],
)
def test_the_type_is_what_was_said_or_else_what_the_name_says(
    any_shelf: Shelf, name: str, told: str | None, kept: str
) -> None:
    assert any_shelf.put(b"x", name=name, media_type=told).media_type == kept


def test_a_listing_is_sorted_cut_and_gone_on_with(any_shelf: Shelf) -> None:
    put = []
    for number in range(5):
        purpose = "vision" if number % 2 else "batch"
        put.append(any_shelf.put(bytes([number]), purpose=purpose))
        any_shelf.clock.advance(1)
    ask = any_shelf.files.list
    assert ask("alice").files == tuple(reversed(put))
    page = ask("alice", limit=2, order="asc")
    assert (page.files, page.more) == (tuple(put[:2]), True)
    page = ask("alice", limit=3, order="asc", after=put[1].id)
    assert (page.files, page.more) == (tuple(put[2:]), False)
    assert ask("alice", after=put[2].id).files == (put[1], put[0])
    assert ask("alice", purpose="vision").files == (put[3], put[1])
    any_shelf.files.delete("alice", put[2].id)
    assert ask("alice", after=put[2].id, order="asc").files == tuple(put[3:])


def test_only_its_user_can_look_at_it(disk: Shelf) -> None:
    assert disk.directory is not None
    disk.directory.mkdir(mode=0o755, parents=True)
    disk.directory.chmod(0o755)
    put = disk.put(b"x")
    with closing(disk.files.upload()) as upload:
        upload.write(b"y")
        modes = {path.stat().st_mode & 0o777 for path in disk.directory.iterdir()}
        assert len(disk.names()) == 2
    assert modes == {0o600}
    assert disk.directory.stat().st_mode & 0o777 == 0o700
    assert disk.names() == [put.digest]


def test_another_process_and_the_next_one_have_the_same_files(disk: Shelf) -> None:
    put = disk.put(b"x")
    other = shelf(disk.uri, disk.clock)
    assert other.files.get("alice", put.id).data == b"x"
    other.files.delete("alice", put.id)
    with pytest.raises(NotFound):
        disk.files.get("alice", put.id)
    other.store.close()


def test_a_killed_writer_leaves_nothing_and_a_living_one_is_left_alone(
    disk: Shelf,
) -> None:
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, disk.uri], cwd=ROOT, stdout=subprocess.PIPE
    )
    with writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"written\n"
        disk.files.sweep()
        assert len(disk.names()) == 1
        writer.send_signal(signal.SIGKILL)
    disk.files.sweep()
    assert disk.names() == []


def test_nothing_is_made_before_something_is_uploaded(disk: Shelf) -> None:
    disk.files.sweep()
    with pytest.raises(NotFound):
        disk.files.delete("alice", f"file-{'0' * 24}")
    assert disk.files.list("alice").files == ()
    assert disk.directory is not None
    assert not disk.directory.exists()


def test_a_full_disk_is_told_and_leaves_nothing(
    disk: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("kimi_proxy.storage.contents.os.write", full)
        with pytest.raises(StorageUnavailable, match="No space left"):
            disk.put(b"x")
    assert disk.names() == []
    disk.put(b"x")


def test_what_was_killed_between_content_and_entry_is_swept(disk: Shelf) -> None:
    put = disk.put(b"x")
    disk.store.durable.delete(disk.store.durable.scan("file/")[0][0])
    assert disk.names() == [put.digest]
    disk.files.sweep()
    assert disk.names() == []


def test_a_directory_that_cannot_be_used_is_told_without_its_place(
    disk: Shelf,
) -> None:
    assert disk.directory is not None
    disk.directory.parent.mkdir(parents=True)
    disk.directory.write_text("a file is in the way")
    with pytest.raises(StorageUnavailable) as caught:
        disk.put(b"x")
    assert str(disk.directory) not in caught.value.message
    assert str(disk.directory) in caught.value.detail
