"""The server that misbehaves, and the one way to it."""

from collections.abc import Iterator

import pytest

import kimi_proxy.upstream
from kimi_proxy.upstream import Upstream
from tests.upstream.server import Server, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as server:
        yield server


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
