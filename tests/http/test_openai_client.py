"""The official openai client, current and 1.x, against the running gateway."""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from tests.gateway_process import ROOT
from tests.http import openai_checks
from tests.http.conftest import Served

REQUIREMENTS = ROOT / "requirements-openai1.txt"


@pytest.fixture(scope="session")
def old_python() -> Path:
    """The Python of a venv with openai 1.x, made once for all runs."""
    place = ROOT / ".venv-openai1"
    place.mkdir(exist_ok=True)
    (place / ".gitignore").write_text("*\n")
    python = place / "bin" / "python"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode())
    stamp = place / f"made-{wanted.hexdigest()[:16]}"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            venv.create(place, with_pip=True, symlinks=True)
            install = [python, "-m", "pip", "install", "-q", "-r", REQUIREMENTS]
            subprocess.run(install, check=True)
            stamp.touch()
    return python


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
