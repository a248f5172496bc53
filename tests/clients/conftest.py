"""What the tests of this folder share."""

from collections.abc import Iterator

import pytest

from tests.clients import nodejs
from tests.clients.stage import Stage, staged


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of tests/clients/node are there; Chromium needs them, too."""
    nodejs.install()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """One gateway for all tests of the session, before emulated upstreams."""
    with staged(tmp_path_factory.mktemp("stage")) as made:
        yield made
