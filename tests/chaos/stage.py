"""What the tests of this folder are played on: emulators, and gateways before them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.evidence import Evidence
from tests.chaos.gateway import ADMIN_KEY, KEY, Gateway

Emulator = KimiConnectEmulator | KimiLegacyEmulator
StartGateway = Callable[..., Gateway]


@dataclass(slots=True)
class Skew:
    """By how many seconds the emulated service's clock is ahead of ours."""

    seconds: float = 0.0

    def now(self) -> float:
        return time.time() + self.seconds


@contextmanager
def running_connect(
    evidence: Evidence, clock: Callable[[], float] = time.time
) -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator(clock) as emulator:
        emulator.knobs.feed_delay = 0.2
        yield emulator
        # The emulator keeps them to itself, and these tests must know every one.
        evidence.plant(emulator.world.accounts._issued)


@contextmanager
def running_legacy(evidence: Evidence) -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as emulator:
        yield emulator
        evidence.plant(emulator.world.credentials._held)


def kimi(
    emulator: Emulator,
    tokens: Mapping[str, str],
    pool: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """The configuration of a Kimi provider at the emulator."""
    return {
        "type": "kimi",
        "wire": "legacy" if isinstance(emulator, KimiLegacyEmulator) else "connect",
        "tokens": [{"name": n, "token": t} for n, t in tokens.items()],
        "pool": dict(pool or {}),
        "hosts": dict.fromkeys(("api", "auth", "legacy"), emulator.url),
        **settings,
    }


def settings(
    directory: Path,
    providers: Mapping[str, Any],
    timeouts: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """A configuration with these providers and its state in the directory."""
    return {
        "state": f"sqlite:///{directory}/state.db",
        "keys": [{"name": "laptop", "key": KEY}],
        "admin": {"key": ADMIN_KEY},
        "log": {"level": "debug"},
        "timeouts": {"keep_alive": 1, **(timeouts or {})},
        "providers": dict(providers),
    }


@contextmanager
def gateways(root: Path, evidence: Evidence) -> Iterator[StartGateway]:
    """Starts gateways: `(emulator, tokens, worker_class=, workers=, **settings)`.

    All have the same state unless `state` names another directory for it. `more` are
    further sections of the configuration.
    """
    started: list[Gateway] = []

    def start(
        emulator: Emulator,
        tokens: Mapping[str, str],
        *,
        worker_class: str = "gevent",
        workers: int = 2,
        state: Path | None = None,
        timeouts: Mapping[str, float] | None = None,
        more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Gateway:
        directory = root / f"gateway{len(started)}"
        providers = {"kimi": kimi(emulator, tokens, **options)}
        config = settings(state or root, providers, timeouts)
        config.update(more or {})
        gateway = Gateway(
            directory, config, evidence, worker_class=worker_class, workers=workers
        )
        started.append(gateway)
        gateway.start()
        return gateway

    try:
        yield start
    finally:
        for gateway in started:
            gateway.kill()
