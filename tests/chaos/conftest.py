"""The whole product under fire: real gunicorn, real sockets, real emulators."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.evidence import Evidence
from tests.chaos.gateway import ADMIN_KEY, KEY, Gateway

Emulator = KimiConnectEmulator | KimiLegacyEmulator
StartGateway = Callable[..., Gateway]


@pytest.fixture(scope="session")
def evidence() -> Iterator[Evidence]:
    """Collects all that was planted and all that came out; compared at the end."""
    found = Evidence()
    yield found
    assert found.secrets or not found.outputs
    leaks = sorted(set(found.leaks()))
    assert not leaks, f"a secret came out of the gateway in: {leaks}"


@pytest.fixture(params=["gevent", "gthread"])
def worker_class(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@dataclass(slots=True)
class Skew:
    """By how many seconds the emulated service's clock is ahead of ours."""

    seconds: float = 0.0

    def now(self) -> float:
        return time.time() + self.seconds


@pytest.fixture
def skew() -> Skew:
    return Skew()


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


@pytest.fixture
def connect(evidence: Evidence, skew: Skew) -> Iterator[KimiConnectEmulator]:
    with running_connect(evidence, skew.now) as emulator:
        yield emulator


@pytest.fixture
def legacy(evidence: Evidence) -> Iterator[KimiLegacyEmulator]:
    with running_legacy(evidence) as emulator:
        yield emulator


# For tables of faults: one emulator and one gateway for the whole module. Who uses
# them resets the emulator first.
@pytest.fixture(scope="module")
def shared_connect(evidence: Evidence) -> Iterator[KimiConnectEmulator]:
    with running_connect(evidence) as emulator:
        yield emulator


@pytest.fixture(scope="module")
def shared_legacy(evidence: Evidence) -> Iterator[KimiLegacyEmulator]:
    with running_legacy(evidence) as emulator:
        yield emulator


def settings(
    emulator: Emulator,
    directory: Path,
    tokens: Mapping[str, str],
    pool: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, float] | None = None,
    **provider: Any,
) -> dict[str, Any]:
    """A configuration with one Kimi provider at the emulator."""
    wire = "legacy" if isinstance(emulator, KimiLegacyEmulator) else "connect"
    hosts = dict.fromkeys(("api", "auth", "legacy"), emulator.url)
    return {
        "state": f"sqlite:///{directory}/state.db",
        "keys": [{"name": "laptop", "key": KEY}],
        "admin": {"key": ADMIN_KEY},
        "log": {"level": "debug"},
        "timeouts": {"keep_alive": 1, **(timeouts or {})},
        "providers": {
            "kimi": {
                "type": "kimi",
                "wire": wire,
                "tokens": [{"name": n, "token": t} for n, t in tokens.items()],
                "pool": dict(pool or {}),
                "hosts": hosts,
                **provider,
            }
        },
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
        more: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Gateway:
        directory = root / f"gateway{len(started)}"
        config = settings(emulator, state or root, tokens, **options)
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


@pytest.fixture
def start_gateway(tmp_path: Path, evidence: Evidence) -> Iterator[StartGateway]:
    with gateways(tmp_path, evidence) as start:
        yield start


@pytest.fixture(scope="module")
def start_shared(
    tmp_path_factory: pytest.TempPathFactory, evidence: Evidence
) -> Iterator[StartGateway]:
    with gateways(tmp_path_factory.mktemp("shared"), evidence) as start:
        yield start
