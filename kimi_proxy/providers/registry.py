"""Which configuration makes which provider: the one list of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from kimi_proxy.chat import NO_DEFAULTS, Defaults
from kimi_proxy.clock import Clock
from kimi_proxy.config import (
    ConfigError,
    EchoSettings,
    KiloSettings,
    KimiAiChatSettings,
    KimiSettings,
    OpenAISettings,
    Problem,
    ProviderSettings,
    QodoSettings,
)
from kimi_proxy.providers import (
    kimi_connect_call,
    kimi_legacy_call,
    kimi_token,
    qodo_token,
)
from kimi_proxy.providers.base import Credential, Provider
from kimi_proxy.providers.echo import Echo
from kimi_proxy.providers.kilo import Kilo
from kimi_proxy.providers.kimi import Kimi
from kimi_proxy.providers.kimi_ai_chat import KimiAiChat
from kimi_proxy.providers.kimi_connect import KimiConnect
from kimi_proxy.providers.kimi_legacy import KimiLegacy
from kimi_proxy.providers.openai_compatible import NO_KEY, OpenAICompatible
from kimi_proxy.providers.openai_quirk import Quirks
from kimi_proxy.providers.qodo import Hosts, Qodo
from kimi_proxy.upstream import Upstream

_Remote = (
    KimiSettings | OpenAISettings | KiloSettings | QodoSettings | KimiAiChatSettings
)
_REGIONS = {"cn": "cn", "intl": "overseas", None: None}


@dataclass(frozen=True, slots=True)
class Built:
    """A provider, its accounts' configured credentials, and its pool's policy.

    `strict` as in `backend.Backend`.
    """

    provider: Provider
    seeds: Mapping[str, Credential]
    policy: Mapping[str, Any]
    defaults: Defaults = NO_DEFAULTS
    strict: bool = False


Builder = Callable[[str, ProviderSettings, Clock], Built]


def build(name: str, settings: ProviderSettings, clock: Clock) -> Built:
    """Make the provider; raises `ConfigError` for a token that is none."""
    builder: Callable[[str, Any, Clock], Built] = _BUILDERS[settings.type]
    return builder(name, settings, clock)


def _upstream(settings: _Remote, origins: Iterable[str]) -> Upstream:
    """The way to these hosts, as the section has it."""
    proxy = None if settings.proxy is None else settings.proxy.get_secret_value()
    return Upstream(origins, proxy, settings.ca_bundle)


def _echo(name: str, settings: EchoSettings, clock: Clock) -> Built:
    return Built(Echo(name), {"local": Credential(access="-")}, {"concurrency": None})


def _kimi(name: str, settings: KimiSettings, clock: Clock) -> Built:
    hosts = settings.hosts
    by_region = kimi_connect_call.hosts(hosts.api, hosts.auth)
    legacy_host = hosts.legacy or hosts.api  # one service: legacy sheet §1
    legacy_hosts = [legacy_host] if legacy_host else kimi_legacy_call.HOSTS.values()
    origins = [*kimi_connect_call.origins(by_region), *legacy_hosts]
    upstream = _upstream(settings, origins)
    connect = KimiConnect(
        name,
        upstream,
        hosts=by_region,
        now=clock.now,
        monotonic=clock.monotonic,
        long_prompt=settings.long_prompt,
    )
    legacy = KimiLegacy(
        name,
        upstream,
        now=clock.now,
        monotonic=clock.monotonic,
        host=legacy_host,
    )
    provider = Kimi(
        name,
        connect=connect,
        legacy=legacy,
        monotonic=clock.monotonic,
        wire=settings.wire,
    )
    defaults = Defaults(
        search=settings.search.default,
        citations=settings.search.citations,
        show_reasoning=settings.reasoning == "shown",
    )
    return Built(
        provider,
        _kimi_seeds(name, settings),
        settings.pool.model_dump(),
        defaults,
        settings.strict_params,
    )


def _kimi_seeds(name: str, settings: KimiSettings) -> dict[str, Credential]:
    seeds = {}
    for at, token in enumerate(settings.tokens):
        try:
            region = _REGIONS[token.region]
            seeds[token.name] = kimi_token.read(token.token.get_secret_value(), region)
        except ValueError as exc:
            path = f"providers.{name}.tokens[{at}].token"
            raise ConfigError("configuration", [Problem(path, None, str(exc))]) from exc
    return seeds


def _openai(name: str, settings: OpenAISettings, clock: Clock) -> Built:
    parts = urlsplit(settings.base_url)
    origin = f"{parts.scheme}://{parts.netloc}"
    upstream = _upstream(settings, [origin])
    provider = OpenAICompatible(
        name,
        upstream,
        settings.base_url,
        clock.now,
        quirks=Quirks(**settings.differences),
        headers={k: v.get_secret_value() for k, v in settings.headers.items()},
        models=settings.models or settings.known.models,
    )
    seeds = {
        token.name: Credential(access=token.token.get_secret_value())
        for token in settings.tokens
    }
    policy = settings.pool.model_dump()
    return Built(
        provider, seeds or {"local": NO_KEY}, policy, strict=settings.strict_params
    )


def _qodo(name: str, settings: QodoSettings, clock: Clock) -> Built:
    hosts = Hosts(**settings.hosts.model_dump())
    origins = [hosts.cli, hosts.ide, hosts.firebase]
    upstream = _upstream(settings, origins)
    seeds = {
        token.name: qodo_token.read(token.token.get_secret_value())
        for token in settings.tokens
    }
    wires = {seed.region or "cli" for seed in seeds.values()}
    provider = Qodo(name, upstream, hosts=hosts, now=clock.now, wires=wires)
    policy = settings.pool.model_dump()
    return Built(provider, seeds, policy, strict=settings.strict_params)


def _kilo(name: str, settings: KiloSettings, clock: Clock) -> Built:
    provider = Kilo(
        name,
        _upstream(settings, settings.origins),
        base=settings.base,
        api=settings.hosts.api,
        origins=frozenset(settings.origins),
        now=clock.now,
    )
    seeds = {}
    for token in settings.tokens:
        base, access = token.parts()
        seeds[token.name] = Credential(
            access=access, region=base, subject=token.organization
        )
    policy = settings.pool.model_dump()
    return Built(provider, seeds, policy, strict=settings.strict_params)


def _kimi_ai_chat(name: str, settings: KimiAiChatSettings, clock: Clock) -> Built:
    site = settings.hosts.site
    provider = KimiAiChat(
        name,
        _upstream(settings, [site]),
        site=site,
        limit=settings.max_prompt,
        overlong=settings.overlong,
        now=clock.now,
    )
    seeds = {"visitor": Credential(access="-")}  # the site knows no accounts
    policy = {"concurrency": settings.concurrency}
    return Built(provider, seeds, policy, strict=settings.strict_params)


_BUILDERS: dict[str, Callable[[str, Any, Clock], Built]] = {
    "echo": _echo,
    "kilo": _kilo,
    "kimi": _kimi,
    "kimi-ai-chat": _kimi_ai_chat,
    "openai": _openai,
    "qodo": _qodo,
}
