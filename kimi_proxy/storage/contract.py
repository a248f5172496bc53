"""What a state store promises, whichever backend keeps the promise.

A store holds JSON documents under string keys, in three spaces: small *durable* ones
are on disk before the call returns; small *live* ones are exact across every process
of the machine but never make a request wait for the disk; *bulk* ones are as live, but
need not be small.  A dict and SQLite keep the promise today; nothing here may need more
than Redis can give (``WATCH``/``MULTI`` and key expiry), which is to be the third.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from kimi_proxy.errors import StateUnavailable

T = TypeVar("T")

Document = dict[str, Any]
"""A JSON object: string keys, and values that orjson writes without a hook."""


class StorageUnavailable(StateUnavailable):
    """The store cannot be read or written now.

    The message names the fault, `detail` the place too (a file: for the log, not for
    strangers), neither a key or a document: documents hold secrets.  The backend's own
    exception is the cause, where there is one.
    """

    def __init__(self, fault: str, place: str = "") -> None:
        super().__init__(f"the state store cannot be used: {fault}")
        self.where = place or None


class Documents(Protocol):
    """One space of documents, shared by every thread and process that opens it.

    A document handed in or out is a copy; changing it afterwards changes nothing.
    Expired documents are invisible from the second they expire.  Every method raises
    `StorageUnavailable` when the backend fails, and ``TypeError`` for a document that
    JSON cannot carry.
    """

    def get(self, key: str) -> Document | None:
        """Read one document; None when there is none."""
        ...

    def put(self, key: str, document: Document, *, ttl: float | None = None) -> None:
        """Write one document whole.

        It expires ``ttl`` seconds from now; with None it stays until it is deleted,
        whatever expiry an earlier document had under this key.
        """
        ...

    def update(
        self,
        key: str,
        change: Callable[[Document | None], tuple[Document | None, T]],
        *,
        ttl: float | None = None,
    ) -> T:
        """Read, change and write one document as one atomic step; return the result.

        ``change`` gets the document (a copy of its own, None when there is none) and
        returns the document to keep, or None to delete it, and a result for the
        caller.  No other thread or process changes the document in between.

        ``change`` must be pure: it may run more than once, it must not wait, and it
        must not use the store.  What it raises is passed on and nothing is written.

        A document returned with the content it had is not written at all, and keeps
        the expiry it had: refusing a request costs no write.  To prolong a document,
        change it (a time stamp does) or `put` it.  A changed one expires as in `put`.
        """
        ...

    def delete(self, key: str) -> None:
        """Remove one document; no error when there is none."""
        ...

    def scan(self, prefix: str) -> list[tuple[str, Document]]:
        """Return the documents whose key starts with ``prefix``, sorted by key.

        Each document is whole; where documents change meanwhile, a backend need not
        show all of them at the same instant.
        """
        ...

    def purge(self) -> int:
        """Free the space of expired documents; return how many there were."""
        ...


class Store(Protocol):
    """The spaces of documents, and the care they need."""

    @property
    def durable(self) -> Documents:
        """Secrets: on disk before a call returns, there after a power cut."""
        ...

    @property
    def live(self) -> Documents:
        """Leases, cool-downs, journals, counters: exact, and never waits for a disk.

        They survive ``kill -9`` of any process.  A power cut may lose the latest.
        """
        ...

    @property
    def bulk(self) -> Documents:
        """What may be large: live, but whoever writes here holds up nobody there."""
        ...

    @property
    def shared(self) -> bool:
        """True when other processes see the same documents."""
        ...

    def check(self) -> None:
        """Write to durable and live; raise `StorageUnavailable` when that fails.

        It may wait for the disk once, so it is for a readiness probe, not for every
        request.
        """
        ...

    def tidy(self) -> None:
        """Do the chores: drop what expired, move live writes into the main file.

        For a background thread, every few seconds.  It waits for the disk, so under
        gevent it belongs in the hub's thread pool.  Raises `StorageUnavailable`.
        """
        ...

    def close(self) -> None:
        """Give back files and connections; a later call opens them again."""
        ...
