"""One running gateway for many tests, each with a provider and an emulator of its own.

A start costs as much as dozens of requests. What a test does to its emulator, its
accounts and its pool no other test sees; the process and its log they share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.evidence import Evidence
from tests.chaos.gateway import Gateway
from tests.chaos.stage import (
    Skew,
    kimi,
    running_connect,
    running_legacy,
    settings,
)


def refresh_token(emulator: Any, skew: Skew, name: str) -> str:
    """A new account's refresh token."""
    token: str = emulator.add_account(name).refresh
    return token


@dataclass(frozen=True, slots=True)
class Plan:
    """What some tests need: a wire, accounts with such tokens, provider settings.

    `rooms` is how many tests there are that take one.
    """

    wire: str = "connect"
    rooms: int = 1
    names: tuple[str, ...] = ("alice",)
    token: Callable[[Any, Skew, str], str] = refresh_token
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Room:
    """A provider of the gateway, and the emulator to which nobody else speaks."""

    provider: str
    emulator: Any
    skew: Skew
    tokens: Mapping[str, str] = field(repr=False)


class House:
    """A running gateway and the rooms in it that nobody has taken yet."""

    def __init__(self, gateway: Gateway, rooms: Mapping[str, list[Room]]) -> None:
        self.gateway = gateway
        self._free = rooms

    def take(self, plan: str) -> Room:
        """A fresh room of this plan; the gateway is asked for it from now on."""
        room = self._free[plan].pop()
        self.gateway.provider = room.provider
        return room


@contextmanager
def furnished(evidence: Evidence, provider: str, plan: Plan) -> Iterator[Room]:
    """A room with its emulator running."""
    skew = Skew()
    if plan.wire == "legacy":
        emulated: Any = running_legacy(evidence)
    else:
        emulated = running_connect(evidence, skew.now)
    with emulated as emulator:
        tokens = {name: plan.token(emulator, skew, name) for name in plan.names}
        yield Room(provider, emulator, skew, tokens)


@contextmanager
def house(
    directory: Path,
    evidence: Evidence,
    plans: Mapping[str, Plan],
    *,
    worker_class: str = "gevent",
    workers: int = 1,
    more: Mapping[str, Any] | None = None,
) -> Iterator[House]:
    """A gateway with all the rooms of these plans, `more` in its configuration."""
    with ExitStack() as stack:
        rooms = {
            name: [
                stack.enter_context(furnished(evidence, f"{name}-{number}", plan))
                for number in range(plan.rooms)
            ]
            for name, plan in plans.items()
        }
        providers = {
            room.provider: kimi(room.emulator, room.tokens, **plans[name].settings)
            for name, ready in rooms.items()
            for room in ready
        }
        gateway = Gateway(
            directory,
            settings(directory, providers) | dict(more or {}),
            evidence,
            worker_class=worker_class,
            workers=workers,
        )
        gateway.provider = next(iter(providers))
        stack.callback(gateway.kill)
        gateway.start()
        yield House(gateway, rooms)
