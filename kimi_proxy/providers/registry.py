"""Which configuration makes which provider: the one list of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kimi_proxy.clock import Clock
from kimi_proxy.config import EchoSettings, KimiSettings, ProviderSettings
from kimi_proxy.providers.base import Credential, Provider
from kimi_proxy.providers.echo import Echo


@dataclass(frozen=True, slots=True)
class Built:
    """A provider, its accounts' configured credentials, and its pool's policy."""

    provider: Provider
    seeds: Mapping[str, Credential]
    policy: Mapping[str, Any]


def build(name: str, settings: ProviderSettings, clock: Clock) -> Built:
    """Make the provider; raises ValueError for a token that cannot be understood."""
    builder: Callable[[str, Any, Clock], Built] = _BUILDERS[settings.type]
    return builder(name, settings, clock)


def chat_ttl(settings: ProviderSettings) -> float:
    """Seconds for which a chat that cannot be deleted is tried again."""
    return settings.conversations.ttl if isinstance(settings, KimiSettings) else 0.0


def _echo(name: str, settings: EchoSettings, clock: Clock) -> Built:
    return Built(Echo(name), {"local": Credential(access="-")}, {"concurrency": None})


_BUILDERS: dict[str, Callable[[str, Any, Clock], Built]] = {
    "echo": _echo,
}
