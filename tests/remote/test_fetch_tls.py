"""Fetching over TLS: the address is pinned, the name is still the one that counts."""

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kimi_proxy.errors import ClientGone, InvalidRequest
from kimi_proxy.remote import RemoteFiles
from kimi_proxy.scope import Scope, Timeouts
from tests.remote.conftest import Names, serving
from tests.remote.server import FileServer

Make = Callable[..., RemoteFiles]


def scope() -> Scope:
    return Scope(Timeouts(), time.monotonic)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and certificate of files.test, made anew: no key lies in the repository."""
    place = tmp_path_factory.mktemp("tls") / "files.test.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    names = ["-subj", "/CN=files.test", "-addext", "subjectAltName=DNS:files.test"]
    files = ["-keyout", str(place), "-out", f"{place}.cert"]
    done = subprocess.run(
        [*command.split(), *names, *files], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    with place.open("a") as both:
        both.write(Path(f"{place}.cert").read_text())
    return place


class TLSServer(FileServer):
    def __init__(self, certificate: Path) -> None:
        super().__init__()
        self.names: list[str | None] = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        context.sni_callback = lambda sock, name, context: self.names.append(name)
        self.socket = context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )


@pytest.fixture
def server(certificate: Path) -> Iterator[TLSServer]:
    with serving(TLSServer(certificate)) as server:
        yield server


@pytest.fixture
def trusting(files: Make, certificate: Path) -> Make:
    def make(name: str) -> RemoteFiles:
        return files(
            resolve=Names(["127.0.0.1"]),
            trust=lambda: ssl.create_default_context(cafile=f"{certificate}.cert"),
        )

    return make


def test_the_certificate_is_checked_for_the_name_and_the_name_is_sent(
    server: TLSServer, trusting: Make
) -> None:
    url = f"https://files.test:{server.server_port}/file/a.png"
    assert trusting("files.test").get(url, scope(), "file_url").data == b"data"
    assert server.names == ["files.test"]


@pytest.mark.parametrize("host", ["other.test", "127.0.0.1"])
def test_a_certificate_for_another_name_is_refused(
    server: TLSServer, trusting: Make, host: str
) -> None:
    url = f"https://{host}:{server.server_port}/file/a.png"
    with pytest.raises(InvalidRequest, match=f"TLS with https://{host} failed"):
        trusting(host).get(url, scope(), "file_url")
    assert server.seen == []


def test_a_certificate_nobody_vouches_for_is_refused(
    server: TLSServer, files: Make
) -> None:
    url = f"https://files.test:{server.server_port}/file/a.png"
    with pytest.raises(InvalidRequest, match=r"TLS with https://files\.test failed"):
        files(resolve=Names(["127.0.0.1"])).get(url, scope(), "file_url")
    assert server.seen == []


@pytest.fixture
def mute() -> Iterator[socket.socket]:
    """Accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


def test_a_client_that_leaves_ends_the_handshake(
    mute: socket.socket, files: Make
) -> None:
    limits = scope()

    def leave_once_called() -> None:
        with mute.accept()[0] as peer:
            peer.recv(1)
            limits.cancel(ClientGone("left"))
            while peer.recv(65_536):
                continue

    canceller = threading.Thread(target=leave_once_called)
    canceller.start()
    with pytest.raises(ClientGone):
        url = f"https://127.0.0.1:{mute.getsockname()[1]}/x"
        files().get(url, limits, "file_url")
    canceller.join()


def test_a_handshake_that_hangs_is_capped(mute: socket.socket, files: Make) -> None:
    url = f"https://127.0.0.1:{mute.getsockname()[1]}/x"
    with pytest.raises(InvalidRequest, match=r"longer than|timed out|TLS"):
        files(seconds=0.2).get(url, scope(), "file_url")
