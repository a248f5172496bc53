"""What is written down about one client request, from its arrival to its last byte."""

import os
from dataclasses import dataclass, field

from kimi_proxy.attempt import Trace
from kimi_proxy.clock import Clock
from kimi_proxy.errors import GatewayError
from kimi_proxy.telemetry import Observer, RequestEnded


def new_id() -> str:
    """A name for one request, for its answer and its line in the log."""
    return f"req_{os.urandom(16).hex()}"


@dataclass(slots=True)
class Record:
    """Filled in along the way; `end` reports it, once."""

    clock: Clock
    observer: Observer
    route: str
    id: str = field(default_factory=new_id)
    key: str | None = None
    model: str | None = None
    streamed: bool = False
    trace: Trace = field(default_factory=Trace)
    bytes_in: int = 0
    _bytes_out: int = 0
    _started: float = 0.0
    _first: float | None = None
    _error: GatewayError | None = None
    _ended: bool = False

    def __post_init__(self) -> None:
        self._started = self.clock.monotonic()
        self.observer.request_started()

    def first_event(self) -> None:
        """The upstream said something; only the first time counts."""
        if self._first is None:
            self._first = self.clock.monotonic() - self._started

    def failed(self, error: GatewayError) -> None:
        self._error = error

    def sent(self, data: bytes) -> bytes:
        """Count bytes on their way to the client."""
        self._bytes_out += len(data)
        return data

    def end(self, status: int, body_length: int | None) -> None:
        """Report; `body_length` is known for answers that were not streamed."""
        if self._ended:
            return
        self._ended = True
        error = self._error
        self.observer.request_ended(
            RequestEnded(
                id=self.id,
                route=self.route,
                status=status,
                outcome="ok" if error is None else error.code or "error",
                key=self.key,
                model=self.model,
                attempts=tuple(self.trace.attempts),
                streamed=self.streamed,
                first_event=self._first,
                seconds=self.clock.monotonic() - self._started,
                bytes_in=self.bytes_in,
                bytes_out=self._bytes_out or body_length or 0,
                detail=None if error is None else error.detail,
            )
        )
