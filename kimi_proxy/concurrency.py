"""How many requests of one client key run at the same time, over all workers."""

import uuid
from collections.abc import Callable

from kimi_proxy.clock import Clock
from kimi_proxy.errors import RateLimited
from kimi_proxy.keys import ClientKey
from kimi_proxy.pool import Worker
from kimi_proxy.storage import Document, Documents


class KeyConcurrency:
    """Places per key in the shared store; those of dead workers are given back."""

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self._documents = documents
        self._worker = worker
        self._clock = clock

    def enter(self, key: ClientKey) -> Callable[[], None]:
        """Take a place; returns the way to give it back, harmless when repeated.

        Raises `RateLimited` when the key's places are all taken.
        """
        limit = key.concurrency
        if limit is None:
            return _nothing
        name, ticket = f"key/{key.name}", uuid.uuid4().hex
        worker = self._worker

        def take(found: Document | None) -> tuple[Document, None]:
            places = {t: w for t, w in (found or {}).items() if worker.alive(w, 0)}
            if len(places) >= limit:
                raise RateLimited(
                    f"the key {key.name!r} allows {limit} requests at a time",
                    retry_after=1,
                )
            return {**places, ticket: worker.id}, None

        def give_back(found: Document | None) -> tuple[Document | None, None]:
            return {t: w for t, w in (found or {}).items() if t != ticket} or None, None

        self._documents.update(name, take)
        return lambda: self._documents.update(name, give_back)


def _nothing() -> None:
    """There was no place to give back."""
