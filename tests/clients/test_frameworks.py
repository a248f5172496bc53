"""pydantic-ai and instructor get all they ask for, before an API and a web account.

So do the examples of docs/clients.md that need a framework.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.frameworks_house import (
    KEY,
    SCRIPTS,
    House,
    frameworks,
    house,
    instructor,
)
from tests.test_readme import ADDRESS, PYTHON, needs_a_framework

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


@pytest.mark.timeout(600)
@pytest.mark.parametrize("block", [b for b in PYTHON if needs_a_framework(b)])
def test_an_example_answers(
    home: House, frameworks: Path, instructor: Path, block: str
) -> None:
    python = instructor if "instructor" in block else frameworks
    code = block.replace(ADDRESS, home.gateway.base_url)
    done = home.run(python, "-c", code, KIMI_PROXY_KEY=KEY)
    assert (done.returncode, done.stderr) == (0, "")
    told = "Say hello" if "Say hello" in block else "a made-up name 61"
    assert told in done.stdout
