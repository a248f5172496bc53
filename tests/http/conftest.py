"""Gateways for the tests of this folder: in this process, and as gunicorn runs them."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import ThreadedWSGIServer, WSGIRequestHandler, make_server

from kimi_proxy.app import create_app
from kimi_proxy.config import load
from kimi_proxy.services import Services
from tests.gateway_process import GatewayProcess, running, start_gateway
from tests.http import scripted, wire

__all__ = ["start_gateway"]

PROVIDERS = {
    "echo": {"type": "echo"},
    "scripted": {"type": "echo"},
    "scripted-single": {"type": "echo"},
}
KEY = "kp-shared-made-up-key"
RATED = "kp-rated-made-up-key"
NARROW = "kp-narrow-made-up-key"
PICKY = "kp-picky-made-up-key"
BEARER = {"Authorization": f"Bearer {KEY}"}
SHARED: dict[str, Any] = {
    "keys": [
        {"name": "shared", "key": KEY},
        {"name": "rated", "key": RATED, "rate": "20/minute"},
        {"name": "narrow", "key": NARROW, "concurrency": 3},
        {"name": "picky", "key": PICKY, "models": ["echo"]},
    ],
    "timeouts": {"hold": 0.5, "keep_alive": 0.2},
    "server": {"max_body": "1MiB"},
}


@dataclass(frozen=True, slots=True)
class House:
    """A gateway within this process."""

    app: Flask
    services: Services
    diary: scripted.Diary

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()


@dataclass(frozen=True, slots=True)
class Served:
    """A gateway behind a real socket, configured as `SHARED`."""

    port: int
    diary: scripted.Diary
    process: GatewayProcess | None = None

    def count(self, pattern: str) -> float:
        """The sum of all metrics whose line begins with this regular expression."""
        text = wire.call(self.port, "GET", "/metrics").data.decode()
        found = re.findall(rf"^{pattern}.* (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


Build = Callable[..., House]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Builds gateways from configurations, over the scripted providers."""
    with ExitStack() as stack:

        def make(**config: Any) -> House:
            return stack.enter_context(house(tmp_path, config))

        yield make


@contextmanager
def house(directory: Path, config: dict[str, Any]) -> Iterator[House]:
    """A gateway within this process; its threads end with it."""
    file = directory / "config.yaml"
    file.write_text(
        json.dumps({"state": "memory://", "providers": PROVIDERS, **config})
    )
    diary = scripted.Diary(directory / "diary")
    services = Services(load(str(file)), build=scripted.builder(diary))
    try:
        yield House(create_app(services), services, diary)
    finally:
        services.stop()


class _Quiet(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"  # keeps connections, as gunicorn does

    def log(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def serving(app: Flask) -> Iterator[int]:
    """Serve with a thread per connection; the port."""
    server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=_Quiet)
    assert isinstance(server, ThreadedWSGIServer)
    server.daemon_threads = True  # a stream that a test left is not waited for
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


Serve = Callable[[Flask], int]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serves apps until the test is over."""
    with ExitStack() as stack:
        yield lambda app: stack.enter_context(serving(app))


@contextmanager
def scripted_process(
    directory: Path, config: dict[str, Any], **options: Any
) -> Iterator[Served]:
    """The scripted gateway under gunicorn."""
    started = running(
        directory,
        {"providers": PROVIDERS, **config},
        app="tests.http.scripted_wsgi:app",
        environ={scripted.DIARY: str(directory / "diary")},
        **options,
    )
    with started as process:
        yield Served(process.port, scripted.Diary(directory / "diary"), process)
    written = process.log_text()
    for key in (KEY, RATED, NARROW, PICKY):
        assert key not in written, "a key was written down"


@contextmanager
def serving_by(kind: str, directory: Path, config: dict[str, Any]) -> Iterator[Served]:
    """A gateway on this kind of server."""
    if kind != "werkzeug":
        with scripted_process(directory, config, worker_class=kind) as made:
            yield made
        return
    with house(directory, config) as built, serving(built.app) as port:
        yield Served(port, built.diary)


Factory = pytest.TempPathFactory


@pytest.fixture(scope="session")
def on_gevent(tmp_path_factory: Factory) -> Iterator[Served]:
    """Two gevent workers, for all tests of the session."""
    directory = tmp_path_factory.mktemp("gevent")
    with scripted_process(directory, SHARED, worker_class="gevent", workers=2) as made:
        yield made


@pytest.fixture(scope="session")
def on_gthread(tmp_path_factory: Factory) -> Iterator[Served]:
    """Two workers of threads, for all tests of the session."""
    directory = tmp_path_factory.mktemp("gthread")
    with scripted_process(directory, SHARED, worker_class="gthread", workers=2) as made:
        yield made


@pytest.fixture(scope="session")
def on_werkzeug(tmp_path_factory: Factory) -> Iterator[Served]:
    """Threads of this process, for all tests of the session."""
    with serving_by("werkzeug", tmp_path_factory.mktemp("werkzeug"), SHARED) as made:
        yield made


@pytest.fixture(params=["werkzeug", "gevent", "gthread"])
def served(request: pytest.FixtureRequest) -> Served:
    """The shared gateway on each kind of server."""
    found: Served = request.getfixturevalue(f"on_{request.param}")
    return found


@pytest.fixture(params=["gevent", "gthread"])
def under_gunicorn(request: pytest.FixtureRequest) -> Served:
    """The shared gateway on each of gunicorn's kinds of worker."""
    found: Served = request.getfixturevalue(f"on_{request.param}")
    return found
