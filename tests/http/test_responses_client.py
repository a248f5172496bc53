"""The official openai client, current and 1.x, asks a gateway for responses."""

import subprocess
from pathlib import Path

import pytest

from tests.http import responses_checks
from tests.http.conftest import Served
from tests.http.test_openai_client import old_python

__all__ = ["old_python"]


@pytest.mark.timeout(180)
def test_the_current_client(under_gunicorn: Served) -> None:
    responses_checks.run(f"http://127.0.0.1:{under_gunicorn.port}/v1")


@pytest.mark.timeout(300)
def test_the_client_of_old(on_gthread: Served, old_python: Path) -> None:
    place = f"http://127.0.0.1:{on_gthread.port}/v1"
    done = subprocess.run(
        [old_python, Path(responses_checks.__file__), place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "openai 1." in done.stdout
