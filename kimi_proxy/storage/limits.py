"""flask-limiter's storage, over the documents of a store.

Importing this module registers the scheme ``kimi-proxy`` with the limits package::

    Limiter(
        storage_uri="kimi-proxy://",
        storage_options={"documents": store.live},
        strategy="moving-window",
    )

flask-limiter hands ``storage_options`` to `DocumentLimits` as keyword arguments.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from limits.storage import MovingWindowSupport, Storage

from kimi_proxy.storage.contract import Document, Documents, StorageUnavailable

_FIXED = "limits/fixed/"
_MOVING = "limits/moving/"
_SET_BACK = 5.0  # less is the skew between two machines' clocks


class DocumentLimits(Storage, MovingWindowSupport):
    """Rate limits that are exact over all processes which share the documents.

    Times are seconds since the epoch, as limits and flask-limiter count them.
    Raises `StorageUnavailable`, or limits' own ``StorageError`` with
    ``wrap_exceptions``.
    """

    STORAGE_SCHEME = ["kimi-proxy"]  # noqa: RUF012 (limits reads it as an attribute)

    def __init__(
        self,
        uri: str | None = None,
        wrap_exceptions: bool = False,
        *,
        documents: Documents,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(uri, wrap_exceptions)
        self._documents = documents
        self._clock = clock

    @property
    def base_exceptions(self) -> type[Exception]:
        """What a failing storage raises."""
        return StorageUnavailable

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Add to the counter of a fixed window, which starts with its first hit."""

        def change(document: Document | None) -> tuple[Document, int]:
            now = self._clock()
            if document is None or document["until"] <= now:
                document = {"count": 0, "until": now + expiry}
            count = document["count"] + amount
            return {**document, "count": count}, count

        return self._documents.update(_FIXED + key, change, ttl=expiry)

    def get(self, key: str) -> int:
        """Return the counter of a fixed window, 0 when none is open."""
        document = self._window(key)
        return 0 if document is None else int(document["count"])

    def get_expiry(self, key: str) -> float:
        """Return when the fixed window ends; now, when none is open."""
        document = self._window(key)
        return self._clock() if document is None else float(document["until"])

    def acquire_entry(self, key: str, limit: int, expiry: int, amount: int = 1) -> bool:
        """Take ``amount`` entries of a moving window, or none; True when taken.

        At most ``limit`` times are kept.  A refusal writes nothing.
        """

        def change(document: Document | None) -> tuple[Document | None, bool]:
            now = self._clock()
            hits = _within(document, now, expiry)
            if len(hits) + amount > limit:
                return document, False
            return {"hits": [*hits, *[now] * amount]}, True

        return self._documents.update(_MOVING + key, change, ttl=expiry)

    def get_moving_window(self, key: str, limit: int, expiry: int) -> tuple[float, int]:
        """Return the time of the oldest entry (now, if none) and their number."""
        now = self._clock()
        hits = _within(self._documents.get(_MOVING + key), now, expiry)
        return (min(hits), len(hits)) if hits else (now, 0)

    def check(self) -> bool:
        """Return whether the documents can be read."""
        try:
            self._documents.get(_FIXED)
        except StorageUnavailable:
            return False
        return True

    def reset(self) -> int:
        """Forget every limit; return how many there were."""
        keys = [
            key for space in (_FIXED, _MOVING) for key, _ in self._documents.scan(space)
        ]
        for key in keys:
            self._documents.delete(key)
        return len(keys)

    def clear(self, key: str) -> None:
        """Forget one limit."""
        self._documents.delete(_FIXED + key)
        self._documents.delete(_MOVING + key)

    def _window(self, key: str) -> Document | None:
        document = self._documents.get(_FIXED + key)
        if document is None or document["until"] <= self._clock():
            return None
        return document


def _within(document: Document | None, now: float, expiry: float) -> list[float]:
    """Return the hits of the last ``expiry`` seconds; one exactly that old counts.

    Those of the future were before the clock was set back: nobody knows how long ago.
    """
    hits = [] if document is None else document["hits"]
    return [t for t in hits if now - expiry <= t <= now + _SET_BACK]
