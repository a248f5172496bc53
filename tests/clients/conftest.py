"""What the tests of this folder share."""

import pytest

from tests.clients import nodejs


@pytest.fixture(scope="session")
def node_packages() -> None:
    """The packages of tests/clients/node are there; Chromium needs them, too."""
    nodejs.install()
