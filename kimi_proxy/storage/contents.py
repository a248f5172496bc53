"""Contents too large for documents: each kept once, under the SHA-256 of its bytes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Protocol

from kimi_proxy.storage import private_file
from kimi_proxy.storage.contract import StorageUnavailable

_SPOOL = "incoming-"
# A sync holds up every greenlet of a gevent worker: many short ones, no long one.
_SYNC_EVERY = 4 << 20


class Spool(Protocol):
    """A content on its way in. Who opens it closes it, whether it was kept or not."""

    @property
    def size(self) -> int:
        """How many bytes were written."""
        ...

    def write(self, data: bytes) -> None:
        """Add bytes; raises `StorageUnavailable`."""
        ...

    def finish(self) -> str:
        """Have it all on disk; its SHA-256 in hex. Raises `StorageUnavailable`."""
        ...

    def keep(self) -> None:
        """Have it among the contents; nothing happens where the same is there already.

        Once finished, while `alone`. Raises `StorageUnavailable`.
        """
        ...

    def close(self) -> None:
        """Forget what was not kept."""
        ...


class Contents(Protocol):
    """Contents that all processes of the machine share, as far as documents are."""

    def spool(self) -> Spool:
        """Begin a content; raises `StorageUnavailable`."""
        ...

    def alone(self) -> AbstractContextManager[None]:
        """Keep out all other threads and processes that ask for the same.

        It is not to be nested. Raises `StorageUnavailable`.
        """
        ...

    def find(self, digest: str) -> Path | bytes | None:
        """Where a content is, or it itself: a path may lead to no file."""
        ...

    def drop(self, digest: str) -> None:
        """Remove one content, if it is there; while `alone`."""
        ...

    def sweep(self, wanted: Callable[[], set[str]]) -> None:
        """Remove, `alone`, all contents but these, and what dead writers left.

        Raises `StorageUnavailable`.
        """
        ...


class DiskContents:
    """Contents in a directory of their own, mode 0700, its files 0600."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def spool(self) -> DiskSpool:
        # While alone, so that no sweep meets it before its writer has locked it.
        with self.alone():
            return DiskSpool(self._directory / f"{_SPOOL}{secrets.token_hex(16)}")

    @contextmanager
    def alone(self) -> Iterator[None]:
        with _as_unavailable(self._directory), private_file.turn(self._directory):
            if self._directory.stat().st_mode & 0o077:
                self._directory.chmod(0o700)
            yield

    def find(self, digest: str) -> Path:
        return self._directory / digest

    def drop(self, digest: str) -> None:
        with _as_unavailable(self._directory):
            (self._directory / digest).unlink(missing_ok=True)

    def sweep(self, wanted: Callable[[], set[str]]) -> None:
        if not self._directory.is_dir():
            return  # where nothing was ever uploaded none is made
        with self.alone():
            digests = wanted()
            for path in self._directory.iterdir():
                if path.name.startswith(_SPOOL):
                    _drop_if_left(path)
                elif path.name not in digests:
                    path.unlink(missing_ok=True)


class DiskSpool:
    """A file that its writer has locked: once it is not, the writer is dead."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = 0
        self._unsynced = 0
        self._hash = hashlib.sha256()
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def write(self, data: bytes) -> None:
        left = memoryview(data)
        with _as_unavailable(self._path.parent):
            while left:
                left = left[os.write(self._descriptor, left) :]
            self._unsynced += len(data)
            if self._unsynced >= _SYNC_EVERY:
                self._sync()
        self._hash.update(data)
        self.size += len(data)

    def finish(self) -> str:
        with _as_unavailable(self._path.parent):
            self._sync()
        return self._hash.hexdigest()

    def keep(self) -> None:
        target = self._path.with_name(self._hash.hexdigest())
        with _as_unavailable(target.parent):
            if not target.exists():
                self._path.rename(target)
                private_file.sync(target.parent)

    def close(self) -> None:
        if self._descriptor < 0:
            return
        with suppress(OSError):  # kept under its own name, or left to the sweep
            self._path.unlink()
        os.close(self._descriptor)
        self._descriptor = -1

    def _sync(self) -> None:
        os.fsync(self._descriptor)
        self._unsynced = 0


class MemoryContents:
    """Contents in a dict, for a store that lasts as long as the process."""

    def __init__(self) -> None:
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def spool(self) -> MemorySpool:
        return MemorySpool(self._contents)

    def alone(self) -> AbstractContextManager[None]:
        return _held(self._lock)

    def find(self, digest: str) -> bytes | None:
        return self._contents.get(digest)

    def drop(self, digest: str) -> None:
        self._contents.pop(digest, None)

    def sweep(self, wanted: Callable[[], set[str]]) -> None:
        with self.alone():
            for digest in self._contents.keys() - wanted():
                del self._contents[digest]


class MemorySpool:
    """Bytes that grow."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self._contents = contents
        self._data = bytearray()

    @property
    def size(self) -> int:
        return len(self._data)

    def write(self, data: bytes) -> None:
        self._data += data

    def finish(self) -> str:
        return hashlib.sha256(self._data).hexdigest()

    def keep(self) -> None:
        self._contents.setdefault(self.finish(), bytes(self._data))

    def close(self) -> None:
        self._data = bytearray()


@contextmanager
def _held(lock: threading.Lock) -> Iterator[None]:
    with lock:
        yield


@contextmanager
def _as_unavailable(place: Path) -> Iterator[None]:
    """Raise what the file system says as an error of the store."""
    try:
        yield
    except OSError as error:
        fault = error.strerror or type(error).__name__
        raise StorageUnavailable(fault, str(place)) from error


def _drop_if_left(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except BlockingIOError:
        return  # its writer lives
    finally:
        os.close(descriptor)
