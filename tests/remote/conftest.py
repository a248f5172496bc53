"""A file server, a resolver under the test's hand, and the fetcher between them."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network

import pytest

from kimi_proxy.remote import RemoteFiles
from tests.remote.server import FileServer

LOOPBACK = ip_network("127.0.0.1/32")


class Names:
    """A resolver that gives its answers in turn and tells what it was asked."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0)


@contextmanager
def serving(server: FileServer) -> Iterator[FileServer]:
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving(FileServer()) as server:
        yield server


@pytest.fixture
def files() -> Callable[..., RemoteFiles]:
    """Fetchers that may reach this machine, if the test says nothing else."""

    def make(**settings: object) -> RemoteFiles:
        defaults = {"limit": 1000, "seconds": 20, "networks": [LOOPBACK]}
        return RemoteFiles(**(defaults | settings))

    return make
