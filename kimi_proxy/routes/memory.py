"""The memory that request bodies may take together, in one worker."""

import threading

from kimi_proxy.errors import OutOfMemory

_PAUSE = 2.0  # seconds, for a client that is to come back


class BodyMemory:
    """At most `limit` bytes of bodies at a time; one alone may always be read."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._lock = threading.Lock()

    def take(self, size: int, own: int) -> None:
        """Take `size` bytes more for a body that has `own` already.

        Raises `OutOfMemory`.
        """
        with self._lock:
            others = self._held - own
            if others > 0 and self._held + size > self._limit:
                raise OutOfMemory(
                    "the requests at hand fill the memory for their bodies "
                    "(server.body_memory); try again in a moment",
                    retry_after=_PAUSE,
                )
            self._held += size

    def give(self, size: int) -> None:
        """Give `size` bytes back."""
        with self._lock:
            self._held -= size
