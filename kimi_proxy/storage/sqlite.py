"""A store in SQLite files side by side, exact across the processes of a machine.

``kimi-proxy.db`` holds the durable documents: each commit is synced.
``kimi-proxy.live.db`` holds the live ones: no commit is synced, only the checkpoints
that `SqliteStore.tidy` makes on a connection of its own. ``kimi-proxy.bulk.db``, made
on first use, holds large ones in the same way: no lease waits until one is written.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from sqlite3 import Connection
from typing import TypeVar

import orjson

from kimi_proxy.storage.contract import Document, StorageUnavailable
from kimi_proxy.storage.sqlite_file import SqliteFile, Survives

T = TypeVar("T")

_READ = "SELECT body, expires FROM documents WHERE key = ?"
_WRITE = (
    "INSERT INTO documents (key, expires, body) VALUES (?, ?, ?) ON CONFLICT (key)"
    " DO UPDATE SET expires = excluded.expires, body = excluded.body"
)
_DELETE = "DELETE FROM documents WHERE key = ?"
_SCAN = "SELECT key, body, expires FROM documents WHERE key >= ? ORDER BY key"
_EXPIRED = "SELECT key FROM documents WHERE expires <= ?"
_DELETE_EXPIRED = "DELETE FROM documents WHERE key = ? AND expires <= ?"
_PURGE_BATCH = 100


class SqliteDocuments:
    """The documents of one file."""

    def __init__(self, file: SqliteFile, clock: Callable[[], float]) -> None:
        self._file = file
        self._clock = clock

    def get(self, key: str) -> Document | None:
        body = self._file.run(lambda database: self._body(database, key))
        return None if body is None else _decode(body)

    def put(self, key: str, document: Document, *, ttl: float | None = None) -> None:
        row = key, self._expiry(ttl), orjson.dumps(document)
        self._file.run(lambda database: _execute(database, _WRITE, row))

    def update(
        self,
        key: str,
        change: Callable[[Document | None], tuple[Document | None, T]],
        *,
        ttl: float | None = None,
    ) -> T:
        def attempt(database: Connection) -> T:
            database.execute("BEGIN IMMEDIATE")
            try:
                before = self._body(database, key)
                document, result = change(None if before is None else _decode(before))
                if document is None:
                    database.execute(_DELETE, (key,))
                elif (body := orjson.dumps(document)) != before:
                    database.execute(_WRITE, (key, self._expiry(ttl), body))
                database.execute("COMMIT")
            except BaseException:
                database.rollback()
                raise
            return result

        return self._file.run(attempt)

    def delete(self, key: str) -> None:
        self._file.run(lambda database: _execute(database, _DELETE, (key,)))

    def scan(self, prefix: str) -> list[tuple[str, Document]]:
        def attempt(database: Connection) -> list[tuple[str, bytes]]:
            now = self._clock()
            found = []
            with closing(database.execute(_SCAN, (prefix,))) as rows:
                for key, body, expires in rows:
                    if not key.startswith(prefix):
                        break
                    if expires is None or expires > now:
                        found.append((key, body))
            return found

        return [(key, _decode(body)) for key, body in self._file.run(attempt)]

    def purge(self) -> int:
        return self._file.run(self.purge_through)

    def purge_through(self, database: Connection) -> int:
        """Drop what has expired, through a given connection; return how many.

        The keys are looked for outside any write transaction and dropped a batch at a
        time, so that no writer waits for a walk through the whole file.
        """
        now = self._clock()
        expired = [(key, now) for (key,) in database.execute(_EXPIRED, (now,))]
        dropped = 0
        for start in range(0, len(expired), _PURGE_BATCH):
            database.execute("BEGIN IMMEDIATE")
            try:
                batch = expired[start : start + _PURGE_BATCH]
                dropped += database.executemany(_DELETE_EXPIRED, batch).rowcount
                database.execute("COMMIT")
            except BaseException:
                database.rollback()
                raise
        return dropped

    def _body(self, database: Connection, key: str) -> bytes | None:
        row = database.execute(_READ, (key,)).fetchone()
        if row is None:
            return None
        body: bytes
        body, expires = row
        return body if expires is None or expires > self._clock() else None

    def _expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + ttl


class SqliteStore:
    """All spaces on disk, each in a file that only its owner may read.

    ``patience`` is how long, in seconds, a call waits for another process's write
    before it raises `StorageUnavailable`.
    """

    shared = True

    def __init__(
        self, path: Path, clock: Callable[[], float], *, patience: float = 5.0
    ) -> None:
        live = path.with_name(f"{path.stem}.live{path.suffix}")
        bulk = path.with_name(f"{path.stem}.bulk{path.suffix}")
        self._durable = SqliteFile(path, Survives.POWER_CUT, patience)
        self._live = SqliteFile(live, Survives.KILL, patience)
        self._bulk = SqliteFile(bulk, Survives.KILL, patience, large=True)
        self.durable = SqliteDocuments(self._durable, clock)
        self.live = SqliteDocuments(self._live, clock)
        self.bulk = SqliteDocuments(self._bulk, clock)

    def check(self) -> None:
        for file in (self._durable, self._live):
            file.run(_touch)

    def tidy(self) -> None:
        self._durable.tidy(self.durable.purge_through)
        self._live.tidy(self.live.purge_through)
        self._bulk.tidy(self.bulk.purge_through)

    def close(self) -> None:
        self._durable.close()
        self._live.close()
        self._bulk.close()


def _execute(database: Connection, statement: str, row: tuple[object, ...]) -> None:
    database.execute(statement, row)


def _touch(database: Connection) -> None:
    """Commit a real write that no reader of documents sees."""
    database.execute("PRAGMA user_version = 1")


def _decode(body: bytes) -> Document:
    try:
        document: Document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # Not chained: orjson's exception carries the whole document.
        raise StorageUnavailable("a stored document is not JSON") from None
    return document
