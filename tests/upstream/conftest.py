"""The server that misbehaves, and the one way to it."""

import threading
from collections.abc import Iterator

import pytest

import kimi_proxy.upstream
from kimi_proxy.upstream import Upstream
from tests.upstream.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.step.set()
        server.shutdown()
        thread.join()


@pytest.fixture(params=["below urllib3", "through urllib3"])
def upstream(
    server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Upstream]:
    """Both ways to read a chunked body: the quick one and the public one."""
    if request.param == "through urllib3":
        monkeypatch.setattr(kimi_proxy.upstream, "_below_chunks", lambda raw: None)
    upstream = Upstream([server.origin])
    yield upstream
    upstream.close()
