"""What happened, as frozen facts: logs and metrics listen, nothing else knows them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try with one account; `outcome` is `ok` or the error's code."""

    provider: str
    account: str
    model: str
    outcome: str
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestEnded:
    """One client request, whole.

    `outcome` is `ok` or the error's code, `detail` what the log says of the error.
    `first_event` is in seconds since the request arrived, None if there was none;
    `seconds` is how long it took in all.
    """

    id: str
    route: str
    status: int
    outcome: str
    key: str | None
    model: str | None
    attempts: tuple[Attempt, ...]
    streamed: bool
    first_event: float | None
    seconds: float
    bytes_in: int
    bytes_out: int
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RefreshEnded:
    """One attempt to renew an access token; `outcome` is `ok` or the error's code."""

    provider: str
    account: str
    outcome: str
    seconds: float


class Observer(Protocol):
    """Told of everything worth counting; must be quick and must not raise."""

    def request_started(self) -> None: ...

    def request_ended(self, details: RequestEnded) -> None: ...

    def refresh_ended(self, details: RefreshEnded) -> None: ...


@dataclass(frozen=True, slots=True)
class Observers:
    """Several observers as one."""

    members: Sequence[Observer] = ()

    def request_started(self) -> None:
        for member in self.members:
            member.request_started()

    def request_ended(self, details: RequestEnded) -> None:
        for member in self.members:
            member.request_ended(details)

    def refresh_ended(self, details: RefreshEnded) -> None:
        for member in self.members:
            member.refresh_ended(details)
