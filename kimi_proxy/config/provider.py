"""The providers' sections: accounts, pool and wire of every kind of upstream."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from kimi_proxy.config.quantity import Bytes, Patience, Seconds, Whole
from kimi_proxy.config.section import Section
from kimi_proxy.config.text import (
    CaBundle,
    HeaderSecret,
    HostUrl,
    Name,
    PastedToken,
    ProxyUrl,
)


class PoolSettings(Section):
    """How a provider's accounts share the work; times in seconds."""

    strategy: Literal["least-loaded", "round-robin", "in-order"] = "least-loaded"
    concurrency: Annotated[Whole, Field(ge=1)] | None = 1
    cooldown: Seconds = 60.0
    max_cooldown: Seconds = 1800.0
    wait: Patience = 30.0
    queue: Annotated[Whole, Field(ge=0)] = 100
    failure_threshold: Annotated[Whole, Field(ge=1)] = 3
    failure_window: Seconds = 60.0


class OpenAIPoolSettings(PoolSettings):
    """As every pool, but with no limit of its own on an account's streams."""

    concurrency: Annotated[Whole, Field(ge=1)] | None = None


class KimiTokenSettings(Section):
    """A Kimi account: any form of credential named in the connect sheet §2.4."""

    name: Name
    token: PastedToken
    region: Literal["cn", "intl"] | None = None


class OpenAITokenSettings(Section):
    """An API key of an OpenAI-compatible upstream."""

    name: Name
    token: HeaderSecret


class ConversationSettings(Section):
    """What becomes of the upstream's chats.

    `ttl` in seconds without use; `most` is how many chats of one account are kept.
    """

    mode: Literal["stateless", "auto", "user"] = "stateless"
    ttl: Seconds = 3600.0
    most: Annotated[Whole, Field(ge=1)] = 500


CitationMode = Literal["none", "annotations", "footnotes", "inline"]
EffortLevel = Literal["none", "low", "medium", "high", "max"]
ReasoningMode = Literal["shown", "hidden"]


class SearchSettings(Section):
    """Whether the upstream searches the web unasked, and how sources are shown."""

    default: bool = False
    citations: CitationMode = "annotations"


class KimiHosts(Section):
    """Origins of the Kimi services; None: by the region of the token."""

    api: HostUrl | None = None
    auth: HostUrl | None = None
    legacy: HostUrl | None = None


def token_entry(index: int, entry: object) -> object:
    """Give an entry of `tokens` its name: the place in the list, counted from 1."""
    if isinstance(entry, str):
        return {"name": str(index + 1), "token": entry}
    if isinstance(entry, dict) and not entry.get("name"):
        return {**entry, "name": str(index + 1)}
    return entry


class WithTokens(Section):
    """A section whose `tokens` get their names from their places."""

    @field_validator("tokens", mode="before", check_fields=False)
    @classmethod
    def _named(cls, value: Any) -> Any:
        if not isinstance(value, list | tuple):
            return value
        return [token_entry(index, entry) for index, entry in enumerate(value)]


class KimiSettings(WithTokens):
    """Kimi web accounts."""

    type: Literal["kimi"]
    wire: Literal["auto", "connect", "legacy"] = "auto"
    tokens: tuple[KimiTokenSettings, ...] = ()
    pool: PoolSettings = PoolSettings()
    conversations: ConversationSettings = ConversationSettings()
    search: SearchSettings = SearchSettings()
    reasoning: ReasoningMode = "shown"
    long_prompt: Bytes = 450_000
    strict_params: bool = False
    proxy: ProxyUrl | None = None
    ca_bundle: CaBundle | None = None
    hosts: KimiHosts = KimiHosts()


class EchoSettings(Section):
    """No account at all: answers with the user's own words, offline."""

    type: Literal["echo"]
