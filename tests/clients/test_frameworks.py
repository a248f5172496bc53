"""pydantic-ai and instructor get all they ask for, before an API and a web account."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.frameworks_house import (
    SCRIPTS,
    House,
    frameworks,
    house,
    instructor,
)

__all__ = ["frameworks", "instructor"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with house(tmp_path_factory.mktemp("frameworks")) as opened:
        yield opened


def checked(home: House, python: Path, script: str) -> str:
    """What the script says last; raises AssertionError if it fails."""
    done = home.run(python, SCRIPTS / script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.timeout(600)
def test_pydantic_ai(home: House, frameworks: Path) -> None:
    said = checked(home, frameworks, "pydantic_ai_checks.py")
    assert said.startswith("all well with pydantic-ai 2.")


@pytest.mark.timeout(600)
def test_instructor(home: House, instructor: Path) -> None:
    said = checked(home, instructor, "instructor_checks.py")
    assert said.startswith("all well with instructor 1.")
