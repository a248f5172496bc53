"""The section of a Kilo provider."""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, SecretStr, model_validator
from pydantic_core import PydanticCustomError

from kimi_proxy.config.provider import OpenAIPoolSettings, WithTokens
from kimi_proxy.config.section import Section
from kimi_proxy.config.text import (
    BaseUrl,
    CaBundle,
    HeaderSecret,
    HostUrl,
    Name,
    ProxyUrl,
)

# `https://host[/path]:TOKEN`, as the official client takes it (kilo sheet §1).
_PREFIXED = re.compile(
    r"(https?://[A-Za-z0-9.-]+(?::[0-9]{1,5}(?=[/:]))?(?:/[A-Za-z0-9._~/-]*)?)"
    r":([^:/\s]+)"
)
_GATEWAY = "/api/gateway"


def _kilo_token(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if "://" in text and not _PREFIXED.fullmatch(text):
        raise PydanticCustomError(
            "config", "must be a token, or an address and a token: https://host:TOKEN"
        )
    return value


def _organization(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,128}", value):
        raise PydanticCustomError("config", "must be the id of an organization")
    return value


class KiloTokenSettings(Section):
    """A Kilo account; `organization` is the id of the one that pays."""

    name: Name
    token: Annotated[HeaderSecret, AfterValidator(_kilo_token)]
    organization: Annotated[str, AfterValidator(_organization)] | None = None

    def parts(self) -> tuple[str | None, str]:
        """The base address that the token names, None if it names none, and the rest.

        One without a path means the documented one there.
        """
        text = self.token.get_secret_value()
        found = _PREFIXED.fullmatch(text)
        if found is None:
            return None, text
        base = found[1].rstrip("/")
        return (base if urlsplit(base).path else base + _GATEWAY), found[2]


class KiloHosts(Section):
    """Origin of the documented service, and further ones that tokens may name."""

    api: HostUrl = "https://api.kilo.ai"
    allowed: tuple[HostUrl, ...] = ()


class KiloSettings(WithTokens):
    """Kilo accounts at the documented gateway (kilo sheet §1)."""

    type: Literal["kilo"]
    base_url: BaseUrl | None = None
    tokens: tuple[KiloTokenSettings, ...] = ()
    pool: OpenAIPoolSettings = OpenAIPoolSettings()
    strict_params: bool = False
    proxy: ProxyUrl | None = None
    ca_bundle: CaBundle | None = None
    hosts: KiloHosts = KiloHosts()

    @property
    def base(self) -> str:
        """The gateway's base address."""
        return self.base_url or self.hosts.api + _GATEWAY

    @property
    def origins(self) -> tuple[str, ...]:
        """Where tokens may go."""
        return (self.hosts.api, _origin(self.base), *self.hosts.allowed)

    @model_validator(mode="after")
    def _only_allowed(self) -> Self:
        """A token never leads to a host that only it knows (kilo sheet §1)."""
        for token in self.tokens:
            base, _ = token.parts()
            if base is not None and _origin(base) not in self.origins:
                raise PydanticCustomError(
                    "config",
                    "token {name} names a host that is not allowed: add its origin to"
                    " hosts.allowed if you trust it with the token",
                    {"name": token.name},
                )
        return self


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
