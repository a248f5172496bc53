"""One SQLite file, and this process's connection to it."""

from __future__ import annotations

import enum
import logging
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from kimi_proxy.storage import private_file
from kimi_proxy.storage.contract import StorageUnavailable

T = TypeVar("T")

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL}
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}

# A writer holds SQLite's lock for some 50 microseconds, or for one sync of the disk.
_SHORTEST_PAUSE = 0.0001
_LONGEST_PAUSE = 0.01

_TABLE = (
    "CREATE TABLE IF NOT EXISTS documents"
    " (key TEXT NOT NULL PRIMARY KEY, expires REAL, body BLOB NOT NULL)"
)

_ALL = "SELECT key, expires, body FROM documents"
_KEEP = "INSERT OR IGNORE INTO documents (key, expires, body) VALUES (?, ?, ?)"

_log = logging.getLogger(__name__)


class Survives(enum.Enum):
    """What a write lives through once it has returned.

    Under KILL nothing is synced but checkpoints, so a power cut can damage the file:
    it is checked when opened and set aside if need be.  SQLite's ``NORMAL`` is no way
    between: it syncs inside the first write after each checkpoint, with every other
    writer waiting (SQLite's wal.c, ``syncHeader``).
    """

    POWER_CUT = enum.auto()
    KILL = enum.auto()


class SqliteFile:
    """A file opened on first use, with one connection per process behind a lock.

    SQLite never waits inside C (its busy timeout is nil), as that would hold up every
    greenlet of a gevent worker.  A busy file is tried again after a pause in Python,
    for ``patience`` seconds.  A ``large`` file is not checked when it is opened, which
    takes a second for each few hundred megabytes: damage is met on the way.
    """

    def __init__(
        self, path: Path, survives: Survives, patience: float, *, large: bool = False
    ) -> None:
        self._path = path
        self._survives = survives
        self._patience = patience
        self._large = large
        self._lock = threading.Lock()
        self._tidying = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._inode = 0
        self._replaced = False
        _close_around_forks(self)

    def run(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """Run ``operation`` on the connection, alone in this process.

        It runs again when the file is busy.  It must leave no transaction open,
        whether it returns or raises.  Raises `StorageUnavailable`.
        """
        return self._patiently(lambda: self._exclusively(operation))

    def tidy(self, purge: Callable[[sqlite3.Connection], object]) -> None:
        """Purge and checkpoint, on a second connection so that no other call waits.

        A file that this process has not used is left alone.
        """
        with self._tidying:
            if self._connection is not None:
                self._patiently(lambda: self._tidy(purge))

    def close(self) -> None:
        """Close the connection; another `run` opens a new one."""
        with self._lock:
            self._drop()

    def before_fork(self) -> None:
        """Close, and keep closed until the fork is over.

        SQLite's locks stay with the process that took them, but its notes about them
        are copied: a child that inherits an open file believes it holds locks which
        it does not (sqlite.org/howtocorrupt.html, 2.6).
        """
        self._tidying.acquire()
        self._lock.acquire()
        self._drop()

    def after_fork(self) -> None:
        """Go on, in the parent and in the child alike."""
        self._lock.release()
        self._tidying.release()

    def _patiently(self, attempt: Callable[[], T]) -> T:
        deadline = time.monotonic() + self._patience
        pause = _SHORTEST_PAUSE
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                if _code(error) not in _BUSY or time.monotonic() >= deadline:
                    raise self._unavailable(error) from error
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _exclusively(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        with self._lock:
            if self._replaced:
                self._reopen()
            try:
                return operation(self._connection or self._open())
            except sqlite3.Error as error:
                if _code(error) in _BUSY:
                    raise
                # Whatever it was, the next call starts on a connection without a past.
                self._drop()
                if not self._recover(error):
                    raise
            return operation(self._open())

    def _tidy(self, purge: Callable[[sqlite3.Connection], object]) -> None:
        try:
            with self._turn():
                if not self._in_place():
                    _log.warning("%s was replaced: opening it anew", self._path)
                    self._replaced = True
                    return
                connection = self._connect()
            with closing(connection):
                purge(connection)
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            self._replaced = self._recover(error)
            if not self._replaced:
                raise

    def _open(self) -> sqlite3.Connection:
        with self._turn():
            private_file.create(self._path)
            self._inode = self._path.stat().st_ino
            connection = self._connect()
            try:
                if not self._large:
                    _check(connection)
                connection.execute(_TABLE)
            except BaseException:
                connection.close()
                raise
        self._connection = connection
        return connection

    def _reopen(self) -> None:
        """Open the file that is there now in place of the one that was taken away.

        Nobody else may have the durable documents of the old one any more: a refresh
        token that was rotated exists nowhere else.  What the new file has is kept.
        """
        old, self._connection = self._connection, None
        try:
            connection = self._open()
            if old is not None and self._survives is Survives.POWER_CUT:
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany(_KEEP, self._all(old))
                connection.execute("COMMIT")
        except BaseException:
            fresh, self._connection = self._connection, old
            if fresh is not None:
                fresh.close()
            raise
        self._replaced = False
        if old is not None:
            old.close()

    def _all(self, connection: sqlite3.Connection) -> list[tuple[object, ...]]:
        try:
            return connection.execute(_ALL).fetchall()
        except sqlite3.Error as error:
            _log.warning("%s", self._unavailable(error).detail)
            return []

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            # rw: were SQLite to create the file, the umask would decide who reads it.
            f"file:{quote(str(self._path))}?mode=rw",
            uri=True,
            timeout=0,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            # An update writes a page at least; documents are small, so are the pages.
            size = 8192 if self._large else 1024
            connection.execute(f"PRAGMA page_size = {size}")
            connection.execute("PRAGMA journal_mode = WAL").fetchall()
            if self._survives is Survives.KILL:
                connection.execute("PRAGMA synchronous = OFF")
                connection.execute("PRAGMA wal_autocheckpoint = 0").fetchall()
            else:
                connection.execute("PRAGMA synchronous = FULL")
        except BaseException:
            connection.close()
            raise
        return connection

    def _drop(self) -> None:
        self._replaced = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with closing(connection), suppress(sqlite3.Error):
                # The last connection to close makes a checkpoint.
                connection.execute("PRAGMA synchronous = FULL")

    def _in_place(self) -> bool:
        try:
            return self._path.stat().st_ino == self._inode
        except OSError:
            return False

    def _recover(self, error: sqlite3.Error) -> bool:
        """Set a damaged live file aside; return whether a fresh one may be opened."""
        if self._survives is Survives.POWER_CUT or _code(error) not in _DAMAGED:
            return False
        with self._turn():
            # Another process may have been first: spare the file it has made.
            if self._in_place():
                self._set_aside()
        return True

    def _set_aside(self) -> None:
        for suffix in ("-wal", "-shm", ""):  # last, so that no log outlives its file
            source = f"{self._path}{suffix}"
            with suppress(FileNotFoundError):
                os.replace(source, f"{self._path}.damaged{suffix}")
        _log.warning(
            "%s is damaged: kept as %s.damaged, going on with an empty one",
            self._path,
            self._path.name,
        )

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Open or set aside while no other process does; file errors are mapped.

        A log that is opened between two renames would belong to the wrong file.
        """
        try:
            with private_file.turn(self._path.parent):
                yield
        except OSError as error:
            raise self._unavailable(error) from error

    def _unavailable(self, error: sqlite3.Error | OSError) -> StorageUnavailable:
        if isinstance(error, OSError):
            fault = error.strerror or type(error).__name__
        else:
            fault = getattr(error, "sqlite_errorname", type(error).__name__)
        return StorageUnavailable(fault, str(self._path))


def _code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code, 0 for an error of the Python module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _check(connection: sqlite3.Connection) -> None:
    """Raise as SQLite would on meeting the damage later, if there is any."""
    (verdict,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        error = sqlite3.DatabaseError(verdict)
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        error.sqlite_errorname = "SQLITE_CORRUPT"
        raise error


def _close_around_forks(file: SqliteFile) -> None:
    # The hooks cannot be taken back, so they must not keep the file alive.  A fork
    # pairs them up by itself: both run in one thread, with no collection between.
    reference = weakref.ref(file)
    held: list[SqliteFile] = []

    def before() -> None:
        if (living := reference()) is not None:
            living.before_fork()
            held.append(living)

    def after() -> None:
        while held:
            held.pop().after_fork()

    os.register_at_fork(before=before, after_in_parent=after, after_in_child=after)
