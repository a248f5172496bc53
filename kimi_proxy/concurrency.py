"""How many requests of one client key run at the same time, over all workers."""

import threading
import uuid
from collections.abc import Callable, Collection

from kimi_proxy.clock import Clock
from kimi_proxy.errors import RateLimited, StateUnavailable
from kimi_proxy.keys import ClientKey
from kimi_proxy.logs import logger
from kimi_proxy.storage import Document, Documents
from kimi_proxy.worker import Presence, Worker


class KeyConcurrency:
    """Places per key in the shared store; those of dead workers are given back.

    A key's document maps tickets to [worker, epoch seconds of its entry].
    """

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self._documents = documents
        self._worker = worker
        self._clock = clock
        self._presence = Presence(documents, worker, clock)
        self._owed: list[tuple[str, str]] = []
        self._lock = threading.Lock()

    def enter(self, key: ClientKey) -> Callable[[], None]:
        """Take a place; returns the way to give it back, harmless when repeated.

        Raises `RateLimited` when the key's places are all taken.
        """
        if key.concurrency is None:
            return _nothing
        self._pay()
        name, ticket = f"key/{key.name}", uuid.uuid4().hex
        if not self._take(name, ticket, key.concurrency, ()):
            gone = self._gone(name)
            if not gone or not self._take(name, ticket, key.concurrency, gone):
                raise RateLimited(
                    f"the key {key.name!r} allows {key.concurrency} requests at a time",
                    retry_after=1,
                )
        return lambda: self._leave(name, ticket)

    def _take(self, name: str, ticket: str, limit: int, gone: Collection[str]) -> bool:
        worker, now = self._worker, self._clock.now()

        def change(found: Document | None) -> tuple[Document | None, bool]:
            places = {
                t: [w, since]
                for t, (w, since) in (found or {}).items()
                if w not in gone and worker.alive(w, 0)
            }
            if len(places) >= limit:
                return found, False
            return {**places, ticket: [worker.id, now]}, True

        return self._documents.update(name, change)

    def _gone(self, name: str) -> set[str]:
        """The workers that hold a place and show no sign of life, wherever they are."""
        places = (self._documents.get(name) or {}).values()
        return {w for w, since in places if self._presence.is_gone(w, since)}

    def _leave(self, name: str, ticket: str) -> None:
        with self._lock:
            self._owed.append((name, ticket))
        self._pay()

    def _pay(self) -> None:
        """Give places back; what the store refuses now is given back later."""
        with self._lock:
            due, self._owed = self._owed, []
        for number, (name, ticket) in enumerate(due):
            try:
                self._documents.update(name, _without(ticket))
            except StateUnavailable as exc:
                with self._lock:
                    self._owed += due[number:]
                logger.warning("the places of a key: %s", exc.message)
                return


def _without(
    ticket: str,
) -> Callable[[Document | None], tuple[Document | None, None]]:
    def change(found: Document | None) -> tuple[Document | None, None]:
        return {t: w for t, w in (found or {}).items() if t != ticket} or None, None

    return change


def _nothing() -> None:
    """There was no place to give back."""
