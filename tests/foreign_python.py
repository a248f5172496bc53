"""Pythons with other packages than ours, each in an environment of its own."""

import fcntl
import hashlib
import subprocess
import sys
import venv
from pathlib import Path

from tests.gateway_process import ROOT


def python_with(requirements: Path, name: str) -> Path:
    """The Python that has these packages; its environment is .venv-`name`.

    `requirements` are complete. Made once for all runs and processes, and anew when
    they change.
    """
    place = ROOT / f".venv-{name}"
    place.mkdir(exist_ok=True)
    (place / ".gitignore").write_text("*\n")
    python = place / "bin" / "python"
    wanted = hashlib.sha256(requirements.read_bytes() + sys.version.encode())
    stamp = place / f"made-{wanted.hexdigest()[:16]}"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists():
            venv.create(place, with_pip=True, symlinks=True)
            pip = (python, "-m", "pip", "install", "--quiet", "--no-deps")
            # Most of it is never imported.
            subprocess.run((*pip, "--no-compile", "-r", requirements), check=True)
            stamp.touch()
    return python
