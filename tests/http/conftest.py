"""Gateways for the tests of this folder: in this process, and as gunicorn runs them."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.serving import WSGIRequestHandler, make_server

from kimi_proxy.app import create_app
from kimi_proxy.config import load
from kimi_proxy.services import Services
from tests.gateway_process import GatewayProcess, running, start_gateway
from tests.http import scripted

__all__ = ["start_gateway"]

PROVIDERS = {
    "echo": {"type": "echo"},
    "scripted": {"type": "echo"},
    "scripted-single": {"type": "echo"},
}
SCRIPTED_APP = "tests.http.scripted_wsgi:app"


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
class Address:
    """A gateway behind a real socket, and the diary of its scripted providers."""

    port: int
    diary: scripted.Diary


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
    server.daemon_threads = True
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
) -> Iterator[tuple[GatewayProcess, scripted.Diary]]:
    """The scripted gateway under gunicorn."""
    diary = scripted.Diary(directory / "diary")
    started = running(
        directory,
        {"providers": PROVIDERS, **config},
        app=SCRIPTED_APP,
        environ={scripted.DIARY: str(directory / "diary")},
        **options,
    )
    with started as gateway:
        yield gateway, diary
