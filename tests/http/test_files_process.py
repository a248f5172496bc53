"""Uploaded files under gunicorn: two workers, a restart, a kill in the middle."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.gateway_process import GatewayProcess, StartGateway, running
from tests.http import wire
from tests.http.conftest import start_gateway
from tests.http.test_disconnect import until
from tests.http.test_two_workers import together

__all__ = ["start_gateway"]

CONFIG: dict[str, Any] = {"providers": {"echo": {"type": "echo"}}}
PATH = "/v1/files"
KIND = "Content-Type: multipart/form-data; boundary=b"
LINES = (KIND, "Content-Length: 9000000")
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
KINDS = pytest.mark.parametrize("kind", ["gevent", "gthread"])


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def gateway(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    """One worker, for all tests that need no other configuration."""
    directory = tmp_path_factory.mktemp(request.param)
    with running(directory, CONFIG, worker_class=request.param) as process:
        yield process


@pytest.fixture
def place(gateway: GatewayProcess) -> Path:
    """Where it keeps its files: empty when a test begins."""
    with client(gateway) as sdk:
        for file in sdk.files.list():
            sdk.files.delete(file.id)
    return gateway.log.parent / "state.files"


def client(gateway: GatewayProcess) -> openai.OpenAI:
    return openai.OpenAI(
        base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0
    )


@KINDS
def test_every_worker_has_the_files_of_all_and_so_has_the_next_gateway(
    start_gateway: StartGateway, kind: str
) -> None:
    data = os.urandom(300_000)
    gateway = start_gateway(CONFIG, workers=2, worker_class=kind)
    with client(gateway) as sdk:
        made = [
            sdk.files.create(file=(f"{n}.bin", data), purpose="user_data")
            for n in range(4)
        ]
    path = f"/v1/files/{made[0].id}/content"

    def all_have_answered() -> bool:
        for answer in together(8, lambda _: wire.call(gateway.port, "GET", path)):
            assert answer.data == data
        answered = {line["pid"] for line in gateway.log_lines("request")}
        return answered == set(gateway.workers())

    until(all_have_answered)
    assert gateway.stop() == 0
    with client(start_gateway(CONFIG, worker_class=kind)) as sdk:
        assert list(reversed(sdk.files.list().data)) == made
        assert sdk.files.content(made[3].id).read() == data


@KINDS
def test_a_connection_lives_on_after_a_refusal_in_the_middle(
    start_gateway: StartGateway, kind: str
) -> None:
    config = {**CONFIG, "file_store": {"max_file": "512KiB"}}
    gateway = start_gateway(config, worker_class=kind)
    rest = (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nvision\r\n--b--'
    )
    good, too_large = (FILE + b"x" * size + b"\r\n" + rest for size in (5, 9_000_000))
    with wire.line(gateway.port) as line:
        for body, status in ((too_large, 413), (b"no form", 400), (b"", 400)) * 2:
            line.send(wire.head("POST", PATH, KIND, f"Content-Length: {len(body)}"))
            line.send(body)
            assert line.answer().status_code == status
        for size in (1, 1000):
            line.send(wire.head("POST", PATH, KIND, "Transfer-Encoding: chunked"))
            line.send(wire.chunked(good, size))
            assert line.answer().json()["bytes"] == 5
        line.send(wire.head("POST", PATH, KIND, "Transfer-Encoding: chunked"))
        line.send(wire.chunked(too_large))
        assert line.answer().status_code == 413
        line.send(wire.head("GET", PATH))
        assert len(line.answer().json()["data"]) == 2


def test_a_large_upload_is_not_held_in_memory(gateway: GatewayProcess) -> None:
    (worker,) = gateway.workers()
    with client(gateway) as sdk:
        sdk.files.create(file=("small", b"x"), purpose="vision")
        forget_peak(worker)
        before = peak_memory(worker)
        made = sdk.files.create(file=("large", bytes(60 << 20)), purpose="vision")
        assert len(sdk.files.content(made.id).read()) == 60 << 20
    assert peak_memory(worker) - before < 15 << 20


def forget_peak(pid: int) -> None:
    """What the process has in memory now is the most from now on (proc(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pid: int) -> int:
    """The most bytes that the process had in memory (proc(5), VmHWM)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def test_a_download_is_written_down_and_counted(gateway: GatewayProcess) -> None:
    with client(gateway) as sdk:
        made = sdk.files.create(file=("a.bin", b"x" * 70_000), purpose="vision")
        assert len(sdk.files.content(made.id).read()) == 70_000
    route = "GET /v1/files/<file_id>/content"

    def sizes() -> list[int]:
        lines = (e for e in gateway.log_lines("request") if e["route"] == route)
        return [line["bytes_out"] for line in lines]

    until(lambda: sizes().count(70_000) == 1)
    # The one is the scrape itself.
    until(lambda: b"kimi_proxy_open_requests 1.0" in metrics(gateway))


def metrics(gateway: GatewayProcess) -> bytes:
    return wire.call(gateway.port, "GET", "/metrics").data


def test_a_kill_in_the_middle_of_an_upload_leaves_nothing(
    gateway: GatewayProcess, place: Path
) -> None:
    with wire.line(gateway.port) as line:
        line.send(wire.head("POST", PATH, *LINES) + FILE + b"x" * 5_000_000)
        spool = await_one(lambda: [p for p in place.glob("*") if p.stat().st_size])
        assert spool.stat().st_mode & 0o777 == 0o600
        assert place.stat().st_mode & 0o777 == 0o700
        (worker,) = gateway.workers()
        os.kill(worker, signal.SIGKILL)
    until(gateway.answers)
    until(lambda: list(place.iterdir()) == [])
    with client(gateway) as sdk:
        assert sdk.files.list().data == []


def test_an_upload_of_a_client_that_left_leaves_nothing(
    gateway: GatewayProcess, place: Path
) -> None:
    with wire.line(gateway.port) as line:
        line.send(wire.head("POST", PATH, *LINES) + FILE + b"x" * 1_000_000)
        await_one(lambda: list(place.glob("*")))
    until(lambda: list(place.iterdir()) == [])


def await_one(find: Callable[[], list[Path]]) -> Path:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if found := find():
            return found[0]
        time.sleep(0.01)
    raise AssertionError("nothing came")
