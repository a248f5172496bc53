"""The official openai client, current and 1.x, against the running gateway."""

import subprocess
from pathlib import Path

import pytest

from tests.foreign_python import python_with
from tests.gateway_process import ROOT
from tests.http import openai_checks
from tests.http.conftest import Served


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The Python of an environment with openai 1.x."""
    return python_with(ROOT / "requirements-openai1.txt", "openai1")


def tries(served: Served, tag: str) -> int:
    return served.diary.words(tag).count("opened")


@pytest.mark.timeout(180)
def test_the_current_client(under_gunicorn: Served) -> None:
    before = tries(under_gunicorn, "retries-busy")
    hopeless = tries(under_gunicorn, "retries-hopeless")
    openai_checks.run(f"http://127.0.0.1:{under_gunicorn.port}/v1", 100)
    assert tries(under_gunicorn, "retries-busy") == before + 3
    assert tries(under_gunicorn, "retries-hopeless") == hopeless + 1


@pytest.mark.timeout(300)
def test_the_client_of_old(under_gunicorn: Served, old_python: Path) -> None:
    before = tries(under_gunicorn, "retries-busy")
    hopeless = tries(under_gunicorn, "retries-hopeless")
    done = subprocess.run(
        [
            old_python,
            Path(openai_checks.__file__),
            f"http://127.0.0.1:{under_gunicorn.port}/v1",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "openai 1." in done.stdout
    assert tries(under_gunicorn, "retries-busy") == before + 3
    assert tries(under_gunicorn, "retries-hopeless") == hopeless + 1
