"""What the routes need of the composition root, and where they find it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, cast

from flask import current_app, g

from kimi_proxy.clock import Clock
from kimi_proxy.concurrency import KeyConcurrency
from kimi_proxy.file_store import FileStore
from kimi_proxy.gateway import Gateway
from kimi_proxy.keys import ClientKey, KeyRing
from kimi_proxy.relay.relay import Relay
from kimi_proxy.response_store import ResponseStore
from kimi_proxy.router import Router
from kimi_proxy.routes.disconnect import Watcher
from kimi_proxy.routes.memory import BodyMemory
from kimi_proxy.routes.record import Record
from kimi_proxy.scope import Timeouts
from kimi_proxy.telemetry import Observer
from kimi_proxy.token_check import TokenChecker
from kimi_proxy.visitors import Visitors

Shape = Literal["openai", "anthropic"]


class Models(Protocol):
    """The models that a key may use, as JSON in one of two dialects."""

    def whole(self, key: ClientKey, shape: Shape) -> bytes:
        """All of them."""

    def one(self, name: str, key: ClientKey, shape: Shape) -> bytes:
        """One of them; raises `ModelNotFound`."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything a route may use."""

    gateway: Gateway
    relay: Relay
    router: Router
    models: Models
    files: FileStore
    responses: ResponseStore
    keys: KeyRing
    visitors: Visitors | None
    tokens: TokenChecker
    concurrency: KeyConcurrency
    observer: Observer
    clock: Clock
    timeouts: Timeouts
    watcher: Watcher
    memory: BodyMemory
    admin_digest: bytes | None
    readiness: Callable[[], Mapping[str, Any]]
    metrics: Callable[[], bytes]
    ensure_started: Callable[[], None]


def context() -> Context:
    """The context of the running app."""
    return cast(Context, current_app.extensions["kimi_proxy"])


def record() -> Record:
    """The record of the request at hand."""
    return cast(Record, g.record)


def key() -> ClientKey:
    """The key the request came with."""
    return cast(ClientKey, g.key)
