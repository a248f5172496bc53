"""The legacy emulator runs as a process of its own."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

_ROOT = Path(__file__).parents[2]


def test_the_command_prints_where_it_is_and_a_token_that_refreshes() -> None:
    command = [sys.executable, "-m", "emulators", "kimi-legacy", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            link = http.client.HTTPConnection(urlsplit(told["url"]).netloc, timeout=5)
            bearer = {"Authorization": f"Bearer {told['refresh_token']}"}
            link.request("GET", "/api/auth/token/refresh", headers=bearer)
            pair = json.loads(link.getresponse().read())
            link.close()
        finally:
            process.terminate()
            status = process.wait(10)
    assert {"access_token", "refresh_token"} == pair.keys() and status == 0
