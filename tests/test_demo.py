"""`make demo` shows what it says it shows, and fails when it does not hold."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def demo(**environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "emulators.demo"],
        cwd=ROOT,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_the_demo_shows_refresh_answers_clean_up_and_check_then_ends_all() -> None:
    process = demo()
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stderr == ""
    shown = process.stdout
    for line in (
        "POST /api/account.gateway.v1.AuthService/RefreshToken -> 200",
        "2 chats made, 2 deleted, none left",
        '"live": true',
        "All of it holds.",
    ):
        assert line in shown
    assert shown.count("You said: 你好 Kimi, how are you? 🌙") == 2
    assert "eyJ" not in shown
    ports = re.findall(r"http://127\.0\.0\.1:(\d+)", shown)
    assert len(ports) == 2
    for port in ports:
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0


def test_the_demo_goes_on_where_its_letters_cannot_be_shown() -> None:
    process = demo(PYTHONUTF8="0", PYTHONCOERCECLOCALE="0", LC_ALL="C")
    assert process.returncode == 0, process.stdout + process.stderr
    assert process.stdout.isascii()
    assert process.stdout.count(r"You said: \u4f60\u597d Kimi") == 2


def test_the_demo_fails_with_the_gateways_own_words() -> None:
    process = demo(GUNICORN_CMD_ARGS="--worker-class no-such-worker")
    assert process.returncode == 1
    assert "All of it holds." not in process.stdout
    assert "The demo failed: the gateway ended" in process.stderr
    assert "no-such-worker" in process.stderr
