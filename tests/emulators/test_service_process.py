"""The emulators of Kilo, Qodo and kimi-ai.chat run as processes of their own."""

import http.client
import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("kilo", "/api/profile"),
        ("qodo", "/v2/info/get-things"),
        ("kimi-ai-chat", "/chat/"),
    ],
)
def test_the_command_prints_where_it_is_and_a_key_that_opens(
    name: str, path: str
) -> None:
    command = [sys.executable, "-m", "emulators", name, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=_ROOT) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            link = http.client.HTTPConnection(urlsplit(told["url"]).netloc, timeout=5)
            headers = {
                "Authorization": f"Bearer {told['key']}",
                "Accept": "text/plain",
                "Request-id": "00000000-0000-0000-0000-000000000000",
                "User-Agent": "made-up/1",
            }
            link.request("GET", path, headers=headers)
            opened = link.getresponse().status
            link.close()
        finally:
            process.terminate()
            status = process.wait(10)
    assert (opened, status) == (200, 0)
