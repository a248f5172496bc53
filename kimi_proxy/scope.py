"""One client request's life: who may end it early and when it has to end.

A `Scope` is made when a request arrives and handed down to everything that may block
on its behalf: the queue for an account, the connection to the upstream, each read. Who
blocks registers a way to be woken; who notices that the client left calls `cancel`.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass

from kimi_proxy.errors import GatewayError, UpstreamTimeout


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `hold` bounds how long response headers wait for the first event,
    `keep_alive` how long a started stream may stay silent towards the client."""

    connect: float = 10
    headers: float = 60
    first_content: float = 120
    idle: float = 60
    total: float = 1800
    hold: float = 15
    keep_alive: float = 10


class Scope:
    """Cancellation and deadlines of one request; safe to use from several threads."""

    def __init__(self, timeouts: Timeouts, monotonic: Callable[[], float]) -> None:
        self.timeouts = timeouts
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._wakers: dict[object, Callable[[], None]] = {}
        self._reason: GatewayError | None = None
        self._ends = monotonic() + timeouts.total
        self._content_due: float | None = None

    @property
    def cancelled(self) -> bool:
        return self._reason is not None

    @property
    def reason(self) -> GatewayError | None:
        """Why the request was cancelled; None if it was not."""
        return self._reason

    def cancel(self, reason: GatewayError) -> None:
        """End the request for `reason`; only the first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            wakers = list(self._wakers.values())
            self._wakers.clear()
        for wake in wakers:
            wake()

    def on_cancel(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Call `wake` once on cancellation, at once if it already happened.

        Returns the way to take the registration back. `wake` runs in the canceller's
        thread, must not block and must not raise.
        """
        ticket = object()
        with self._lock:
            if self._reason is None:
                self._wakers[ticket] = wake
                return lambda: self._forget(ticket)
        wake()
        return _nothing

    def _forget(self, ticket: object) -> None:
        with self._lock:
            self._wakers.pop(ticket, None)

    def check(self) -> None:
        """Raise the reason if the request was cancelled, or if its time is up."""
        if self._reason is not None:
            raise self._reason
        if self.remaining() <= 0:
            raise UpstreamTimeout(self._overdue())

    def expect_content(self) -> None:
        """Start the clock of `first_content`; each attempt starts it anew."""
        self._content_due = self._monotonic() + self.timeouts.first_content

    def content_seen(self) -> None:
        """Stop the clock of `first_content`: it came, or nobody waits for it now."""
        self._content_due = None

    def remaining(self) -> float:
        """Seconds until the nearest of total and first-content deadlines."""
        now = self._monotonic()
        if self._content_due is None:
            return self._ends - now
        return min(self._ends, self._content_due) - now

    def pause(self, seconds: float) -> None:
        """Wait; raises what ends the request as soon as it ends."""
        over = threading.Event()
        forget = self.on_cancel(over.set)
        try:
            over.wait(self.limit(seconds))
        finally:
            forget()
        self.check()

    def limit(self, seconds: float) -> float:
        """`seconds`, cut to what the deadlines leave; raises if nothing is left."""
        self.check()
        return max(0.001, min(seconds, self.remaining()))

    def overdue(self, what: str) -> GatewayError:
        """The error for a wait that ran out: our deadline if one passed, else `what`.

        Also answers the cancellation's reason when that is why the wait ended.
        """
        if self._reason is not None:
            return self._reason
        if self.remaining() <= 0:
            return UpstreamTimeout(self._overdue())
        return UpstreamTimeout(what)

    def _overdue(self) -> str:
        if self._content_due is not None and self._content_due <= self._ends:
            seconds = self.timeouts.first_content
            return f"the upstream sent no content within {seconds:g} s"
        return f"the answer took longer than {self.timeouts.total:g} s"


def _nothing() -> None:
    """Taking back a registration that already ran."""
