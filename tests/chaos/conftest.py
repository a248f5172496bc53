"""The whole product under fire: real gunicorn, real sockets, real emulators."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.evidence import Evidence
from tests.chaos.house import House, Plan, house
from tests.chaos.stage import (
    Emulator,
    Skew,
    StartGateway,
    gateways,
    running_connect,
    running_legacy,
)

__all__ = ["Emulator", "Skew", "StartGateway"]

OpenHouse = Callable[..., House]


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


@pytest.fixture
def skew() -> Skew:
    return Skew()


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


@pytest.fixture(scope="module")
def open_house(
    tmp_path_factory: pytest.TempPathFactory, evidence: Evidence
) -> Iterator[OpenHouse]:
    """Opens houses for the module: `(plans, worker_class=, workers=, more=)`."""
    with ExitStack() as stack:

        def open_one(plans: Mapping[str, Plan], **options: Any) -> House:
            directory = tmp_path_factory.mktemp("house")
            opened = house(directory, evidence, plans, **options)
            return stack.enter_context(opened)

        yield open_one
