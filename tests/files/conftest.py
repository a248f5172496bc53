"""Both wires, each with a gateway of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.files.hall import FileServer, Hall, file_server, opened


@pytest.fixture(params=["connect", "legacy"])
def wire(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def hall(wire: str, tmp_path: Path) -> Iterator[Hall]:
    with opened(wire, tmp_path) as made:
        yield made


@pytest.fixture
def server() -> Iterator[FileServer]:
    with file_server() as made:
        yield made
