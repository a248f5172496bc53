"""What a dialect is: a client's language, on the answer's side.

A dialect knows no provider and no Flask. Ids and the time are passed in, so that what
it writes can be compared byte for byte.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import ChatResult, Event


@dataclass(frozen=True, slots=True)
class Stamp:
    """What an answer is known by.

    `token` is unique, of letters and digits; ids are made of it. `created` is epoch
    seconds, `model` the name that the client asked for, `request_id` that of the
    request.
    """

    token: str
    created: int
    model: str
    request_id: str = ""


class Encoder(Protocol):
    """Events to the bytes of one streamed answer, ready to be sent."""

    @property
    def finished(self) -> bool:
        """Whether the last event has been fed; `finish` is due then."""

    def feed(self, event: Event) -> bytes:
        """What to send for an event; may be empty."""

    def finish(self) -> bytes:
        """What ends the stream in success."""

    def fail(self, error: GatewayError) -> bytes:
        """An error in the middle of a stream, and no sign of success after it."""


class Dialect(Protocol):
    """How a kind of client wants to be answered."""

    @property
    def keep_alive(self) -> bytes:
        """What fills a silence; no client takes it for an event."""

    def encoder(self, request: ChatRequest, stamp: Stamp) -> Encoder:
        """The encoder of a streamed answer."""

    def written(
        self, results: Sequence[ChatResult], request: ChatRequest, stamp: Stamp
    ) -> bytes:
        """The whole answer as JSON; a result for each choice, or for all."""

    def error(self, error: GatewayError, request_id: str) -> bytes:
        """The error object as JSON."""
