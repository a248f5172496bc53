"""The same fetches where threads are greenlets: nothing may hold up the others."""

import subprocess
import sys
from pathlib import Path

SCRIPT = """
from gevent import monkey
monkey.patch_all()
import threading, time
from ipaddress import ip_network
from kimi_proxy.errors import ClientGone, InvalidRequest
from kimi_proxy.remote import RemoteFiles
from kimi_proxy.scope import Scope, Timeouts
from tests.remote.conftest import serving
from tests.remote.server import FileServer

files = RemoteFiles(
    limit=1_000_000, seconds=20, networks=[ip_network("127.0.0.1/32")],
    resolve=lambda host, port: ["127.0.0.1"],
)
short = RemoteFiles(limit=10, seconds=0.2, networks=[ip_network("127.0.0.1/32")])
seen = []

def fetch(path, limits):
    try:
        url = f"http://files.test:{server.server_port}/{path}"
        seen.append(files.get(url, limits, "file_url").data.decode())
    except ClientGone:
        seen.append("left")

with serving(FileServer()) as server:
    limits = Scope(Timeouts(), time.monotonic)
    stuck = threading.Thread(target=fetch, args=("silent_body", limits))
    stuck.start()
    while not server.seen:
        time.sleep(0.005)
    fetch("file", Scope(Timeouts(), time.monotonic))
    limits.cancel(ClientGone("left"))
    stuck.join()
    try:
        short.get(f"{server.origin}/drip_head", Scope(Timeouts(), time.monotonic), "u")
    except InvalidRequest as exc:
        seen.append(exc.message)
print(seen)
"""


def test_fetches_work_and_end_among_greenlets() -> None:
    process = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = ["data", "left", "fetching the file took longer than 0.2 s"]
    assert process.stdout.strip() == repr(expected), process.stderr
