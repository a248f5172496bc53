"""The whole configuration as values: every key, its default, what it may hold."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, PrivateAttr

from kimi_proxy.config.model import ModelSettings
from kimi_proxy.config.provider_type import ProviderSettings
from kimi_proxy.config.quantity import Bytes, Seconds, Whole
from kimi_proxy.config.section import SOME, Section
from kimi_proxy.config.text import (
    HeaderSecret,
    Host,
    ModelName,
    Name,
    Network,
    Origin,
    Rate,
    RoutePrefix,
    StateUrl,
)


class ServerSettings(Section):
    """Where the gateway listens; `max_body` and `body_memory` in bytes."""

    host: Host = "127.0.0.1"
    port: Annotated[Whole, Field(ge=1, le=65535)] = 8000
    route_prefix: RoutePrefix = ""
    trusted_proxies: Annotated[Whole, Field(ge=0, le=16)] = 0
    cors_origins: tuple[Origin, ...] = ("*",)
    max_body: Bytes = 64 * 2**20
    body_memory: Bytes = 256 * 2**20


class KeySettings(Section):
    """A client's key: what it opens, how often, how many requests at a time."""

    name: Name
    key: HeaderSecret
    models: Annotated[tuple[ModelName, ...], SOME] = ("*",)
    rate: Rate | None = None
    concurrency: Annotated[Whole, Field(ge=1)] | None = None


class LimitSettings(Section):
    """Limits that hold for everybody."""

    per_ip: Rate | None = None


class TimeoutSettings(Section):
    """How long the gateway waits for what, in seconds (docs/configuration.md)."""

    connect: Seconds = 10.0
    headers: Seconds = 60.0
    first_content: Seconds = 120.0
    idle: Seconds = 60.0
    total: Seconds = 1800.0
    hold: Seconds = 15.0
    keep_alive: Seconds = 10.0


class RemoteSettings(Section):
    """Files that clients name by URL; `networks` are non-public ones they may name."""

    seconds: Seconds = 30.0
    redirects: Annotated[Whole, Field(ge=0, le=10)] = 3
    networks: tuple[Network, ...] = ()


class FileSettings(Section):
    """What clients attach; sizes in bytes, `remember` in seconds since the upload."""

    max_size: Bytes = 100 * 2**20
    max_total: Bytes = 200 * 2**20
    max_count: Annotated[Whole, Field(ge=1)] = 50
    remember: Seconds = 604_800.0
    remote: RemoteSettings = RemoteSettings()


class FileStoreSettings(Section):
    """What clients may upload under /v1/files: sizes in bytes, `ttl` in seconds."""

    max_file: Bytes = 100 * 2**20
    max_total: Bytes = 2 * 2**30
    per_key: Bytes = 512 * 2**20
    ttl: Seconds = 30 * 86_400.0


class ResponsesSettings(Section):
    """Responses that stay: for `ttl` seconds, at most so many of one key."""

    ttl: Seconds = 30 * 86_400.0
    most: Annotated[Whole, Field(ge=1)] = 1000


class LogSettings(Section):
    """How much is logged."""

    level: Literal["debug", "info", "warning", "error"] = "info"


class PassThroughSettings(Section):
    """The provider whose own tokens clients may send as their bearer."""

    provider: Name


class RelaySettings(Section):
    """Who gets the calls besides chats that name no model or an unknown one."""

    provider: Name


class AdminSettings(Section):
    """The key of the admin pages."""

    key: HeaderSecret


class Settings(Section):
    """Everything that was configured, checked and with its secrets read.

    `load` is the way to one: validating a mapping alone leaves out the checks
    between sections and the rule that no keys means loopback only.
    """

    server: ServerSettings = ServerSettings()
    state: StateUrl = "sqlite:///data/kimi-proxy.db"
    keys: tuple[KeySettings, ...] = ()
    limits: LimitSettings = LimitSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    files: FileSettings = FileSettings()
    file_store: FileStoreSettings = FileStoreSettings()
    responses: ResponsesSettings = ResponsesSettings()
    log: LogSettings = LogSettings()
    providers: Annotated[
        Mapping[Name, ProviderSettings], AfterValidator(MappingProxyType)
    ]
    models: Annotated[
        Mapping[ModelName, ModelSettings], AfterValidator(MappingProxyType)
    ] = Field(default_factory=lambda: MappingProxyType({}))
    pass_through: PassThroughSettings | None = None
    relay: RelaySettings | None = None
    admin: AdminSettings | None = None
    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the operator should know and nothing refuses; never a secret."""
        return self._warnings

    def warned(self, *warnings: str) -> Settings:
        """Return these settings with further warnings."""
        copy = self.model_copy()
        copy._warnings = (*self._warnings, *warnings)
        return copy
