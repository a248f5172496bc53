"""Uploaded files: whose they are, how they are kept, when they go."""

import errno
import hashlib
import os
import signal
import subprocess
import sys
from contextlib import closing

import pytest

from kimi_proxy.errors import NotFound
from kimi_proxy.storage import StorageUnavailable
from tests.fakes import HandClock
from tests.flow.shelves import CAPS, Shelf, shelf
from tests.gateway_process import ROOT

WRITER = """
import sys, time
from kimi_proxy.storage import open_contents
spool = open_contents(sys.argv[1]).spool()
spool.write(b"half of it")
print("written", flush=True)
time.sleep(60)
"""


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
