"""A store in the memory of one process, for tests and for running without a disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

import orjson

from kimi_proxy.storage.contract import Document

T = TypeVar("T")


class MemoryDocuments:
    """Documents in a dict, kept as JSON so that they behave as they would on disk."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, tuple[bytes, float | None]] = {}

    def get(self, key: str) -> Document | None:
        with self._lock:
            body = self._body(key)
        return None if body is None else orjson.loads(body)

    def put(self, key: str, document: Document, *, ttl: float | None = None) -> None:
        body = orjson.dumps(document)
        with self._lock:
            self._entries[key] = body, self._expiry(ttl)

    def update(
        self,
        key: str,
        change: Callable[[Document | None], tuple[Document | None, T]],
        *,
        ttl: float | None = None,
    ) -> T:
        with self._lock:
            before = self._body(key)
            document, result = change(None if before is None else orjson.loads(before))
            if document is None:
                self._entries.pop(key, None)
            elif (body := orjson.dumps(document)) != before:
                self._entries[key] = body, self._expiry(ttl)
        return result

    def delete(self, key: str) -> None:
        with self._lock:
            self._entries.pop(key, None)

    def scan(self, prefix: str) -> list[tuple[str, Document]]:
        with self._lock:
            keys = sorted(key for key in self._entries if key.startswith(prefix))
            found = [(key, self._body(key)) for key in keys]
        return [(key, orjson.loads(body)) for key, body in found if body is not None]

    def purge(self) -> int:
        with self._lock:
            expired = [key for key in self._entries if self._body(key) is None]
            for key in expired:
                del self._entries[key]
        return len(expired)

    def _body(self, key: str) -> bytes | None:
        body, expires = self._entries.get(key, (None, None))
        return body if expires is None or expires > self._clock() else None

    def _expiry(self, ttl: float | None) -> float | None:
        return None if ttl is None else self._clock() + ttl


class MemoryStore:
    """All spaces in memory; *durable* lasts as long as the process."""

    shared = False

    def __init__(self, clock: Callable[[], float]) -> None:
        self.durable = MemoryDocuments(clock)
        self.live = MemoryDocuments(clock)
        self.bulk = MemoryDocuments(clock)

    def check(self) -> None:
        """Return: memory can always be written."""

    def tidy(self) -> None:
        self.durable.purge()
        self.live.purge()
        self.bulk.purge()

    def close(self) -> None:
        """Return, with the documents kept: there is nothing to give back."""
