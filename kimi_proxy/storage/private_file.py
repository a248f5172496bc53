"""Files that only their owner reads, in a directory that processes take turns in."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_OWNER_ONLY = 0o600
_OTHERS = 0o077
_PAUSE = 0.005


def create(path: Path) -> None:
    """Make sure that ``path`` is there, on disk, and closed to others.

    SQLite gives ``-wal`` and ``-shm`` the mode of the main file, so what is left of
    an older, laxer one is closed too.  Raises OSError.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, _OWNER_ONLY))
    except FileExistsError:
        # Not opened: closing it again would let go of every lock that this process
        # has on it (fcntl(2)).
        for suffix in ("", "-wal", "-shm"):
            _shut(f"{path}{suffix}")
    else:
        sync(path.parent)


@contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Keep out every other holder of this directory's turn.

    A missing directory is made, mode 0700.  Raises OSError.
    """
    if not directory.is_dir():
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync(directory.parent)
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        _lock(descriptor)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> None:
    """Wait for the lock in small sleeps: a blocking call would stop gevent's hub.

    Then the greenlet that holds it could never give it back.
    """
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PAUSE)


def _shut(path: str) -> None:
    with suppress(FileNotFoundError):
        if os.stat(path).st_mode & _OTHERS:
            os.chmod(path, _OWNER_ONLY)


def sync(directory: Path) -> None:
    """Have the names in a directory on disk; raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
