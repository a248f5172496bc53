"""The composition root: settings in, every part built and wired; nothing runs yet."""

import os
import threading
from collections.abc import Iterator, Mapping
from functools import partial
from ipaddress import ip_network
from typing import Any

from kimi_proxy import discovery, logs
from kimi_proxy.account_state import Policy
from kimi_proxy.backend import Backend
from kimi_proxy.chat import Defaults
from kimi_proxy.clock import Clock
from kimi_proxy.concurrency import KeyConcurrency
from kimi_proxy.config import (
    ConversationSettings,
    KeySettings,
    KiloTokenSettings,
    KimiSettings,
    ModelSettings,
    ProviderSettings,
    QodoTokenSettings,
    Settings,
    metrics_directory,
)
from kimi_proxy.conversations import ChatPolicy, Conversations
from kimi_proxy.desk import Desk
from kimi_proxy.errors import GatewayError
from kimi_proxy.file_store import Caps, FileStore
from kimi_proxy.files import FileLimits, Loader
from kimi_proxy.gateway import Gateway
from kimi_proxy.journal import Journal
from kimi_proxy.keys import ClientKey, KeyRing, digest
from kimi_proxy.metrics import Metrics
from kimi_proxy.periodic import Periodic
from kimi_proxy.pool import Pool
from kimi_proxy.providers import registry
from kimi_proxy.providers.base import (
    ChecksTokens,
    KeepsChats,
    RefreshesTokens,
    Remembers,
)
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.relay.home import Homes
from kimi_proxy.relay.relay import Relay
from kimi_proxy.remote import RemoteFiles
from kimi_proxy.response_store import ResponseStore
from kimi_proxy.retry import Opener
from kimi_proxy.router import Route, Router, route_to
from kimi_proxy.scope import Timeouts
from kimi_proxy.storage import StorageUnavailable, Store, open_contents, open_store
from kimi_proxy.storage.limits import DocumentLimits
from kimi_proxy.sweeper import Keeper, Sweeper
from kimi_proxy.telemetry import Observers
from kimi_proxy.token_check import Checked, TokenChecker
from kimi_proxy.vault import Vault
from kimi_proxy.visitors import Visitors
from kimi_proxy.worker import Worker

_BALANCE_SECONDS = 300.0
_STORED_SECONDS = 60.0
_WINDING_DOWN = 3.0  # an upstream may still be told that nobody listens
_FAREWELL_SECONDS = 5.0  # gunicorn kills after 30 s, and chats are to be deleted


class Services:
    """Every part of a running gateway. Building it opens and starts nothing."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock | None = None,
        build: registry.Builder = registry.build,
    ) -> None:
        self.settings = settings
        self.clock = clock or Clock()
        self.worker = Worker()
        self.store: Store = open_store(settings.state, self.clock.now)
        self.timeouts = Timeouts(**settings.timeouts.model_dump())
        self.metrics = Metrics(self._account_counts, metrics_directory())
        self.observer = Observers((self.metrics, logs.RequestLog()))
        self.backends = self._backends(build)
        self.refresher = Refresher(
            locks=self.store.live,
            worker=self.worker,
            clock=self.clock,
            observer=self.observer,
        )
        self.journal = Journal(self.store.live, self.worker, self.clock)
        self.sweeper = Sweeper(self.journal, self._keepers(), self.refresher)
        self.router = Router(self._providers(), self._aliases())
        self.files = self._file_store()
        self.responses = ResponseStore(
            self.store.bulk, self.clock, **settings.responses.model_dump()
        )
        self.opener = Opener(
            backends=self.backends,
            refresher=self.refresher,
            journal=self.journal,
            clock=self.clock,
        )
        self.discovery = self._discovery()
        self.gateway = self._gateway()
        self.relay = self._relay()
        self.keys = KeyRing([_client_key(key) for key in settings.keys])
        self.concurrency = KeyConcurrency(self.store.live, self.worker, self.clock)
        self.tokens = TokenChecker(
            self._checked(), self.store.live, self.worker, self.clock
        )
        self.visitors = self._visitors()
        self._lock = threading.Lock()
        self._pid = 0
        self._revived = False
        self._periodics: tuple[Periodic, ...] = ()

    def limit_storage(self) -> tuple[str, dict[str, Any]]:
        """Where rate limits are counted: flask-limiter's storage URI and options."""
        options = {"documents": self.store.live, "clock": self.clock.now}
        return f"{DocumentLimits.STORAGE_SCHEME[0]}://", options

    def _file_store(self) -> FileStore:
        contents = open_contents(self.settings.state)
        caps = Caps(**self.settings.file_store.model_dump())
        return FileStore(contents, self.store.durable, self.clock, caps)

    def _gateway(self) -> Gateway:
        remember = self.settings.files.remember
        return Gateway(
            router=self.router,
            opener=self.opener,
            conversations=Conversations(self.journal, self.store.live),
            loader=self._loader(),
            desk=Desk(self.store.live, self.worker, self.clock, remember),
        )

    def _discovery(self) -> discovery.Discovery:
        return discovery.Discovery(
            backends=self.backends,
            refresher=self.refresher,
            stamps=self.store.live,
            lists=self.store.bulk,
            clock=self.clock,
        )

    def _relay(self) -> Relay:
        settings = self.settings.relay
        return Relay(
            router=self.router,
            opener=self.opener,
            homes=Homes(self.store.live),
            default=None if settings is None else settings.provider,
        )

    def _loader(self) -> Loader:
        files = self.settings.files
        remote = RemoteFiles(
            limit=files.max_size,
            seconds=files.remote.seconds,
            networks=[ip_network(text) for text in files.remote.networks],
            redirects=files.remote.redirects,
            monotonic=self.clock.monotonic,
        )
        limits = FileLimits(files.max_size, files.max_total, files.max_count)
        return Loader(remote, self.files, limits, self.clock.monotonic)

    def _backends(self, build: registry.Builder) -> dict[str, Backend]:
        backends = {}
        for name, settings in self.settings.providers.items():
            built = build(name, settings, self.clock)
            pool = Pool(
                provider=name,
                names=tuple(built.seeds),
                policy=Policy(**built.policy),
                documents=self.store.live,
                worker=self.worker,
                clock=self.clock,
            )
            vault = Vault(
                provider=name,
                seeds=built.seeds,
                documents=self.store.durable,
                clock=self.clock,
            )
            provider = built.provider
            if isinstance(provider, Remembers):
                provider.remember_in(self.store.live)
            renewer = provider if isinstance(provider, RefreshesTokens) else None
            accounts = {
                seed: Account(name, seed, vault, pool, renewer) for seed in built.seeds
            }
            backends[name] = Backend(
                provider,
                pool,
                vault,
                accounts,
                built.defaults,
                built.strict,
                _chats(settings),
            )
        return backends

    def _providers(self) -> dict[str, Any]:
        return {name: backend.provider for name, backend in self.backends.items()}

    def _aliases(self) -> dict[str, list[Route]]:
        return {
            name: [
                route_to(step.to, _defaults(model), step.weight) for step in model.route
            ]
            for name, model in self.settings.models.items()
        }

    def _keepers(self) -> dict[str, Keeper]:
        keepers = {}
        for name, backend in self.backends.items():
            settings = self.settings.providers[name]
            if not isinstance(backend.provider, KeepsChats):
                continue
            chats = getattr(settings, "conversations", ConversationSettings())
            keepers[name] = Keeper(
                backend.provider, backend.accounts, chats.ttl, chats.most
            )
        return keepers

    def _checked(self) -> list[Checked]:
        return [
            Checked(name, backend.provider, backend.pool, backend.vault)
            for name, backend in self.backends.items()
            if isinstance(backend.provider, ChecksTokens)
        ]

    def _visitors(self) -> Visitors | None:
        settings = self.settings.pass_through
        if settings is None:
            return None
        name = settings.provider
        backend = self.backends[name]
        provider = backend.provider
        if not isinstance(provider, ChecksTokens):
            return None
        renewer = provider if isinstance(provider, RefreshesTokens) else None
        return Visitors(
            reader=provider,
            sample=Account(name, "", backend.vault, backend.pool, renewer),
            accounts=backend.accounts,
            may_use=lambda model: self.router.leads_only_to(model, name),
        )

    def start(self) -> None:
        """Start the background threads of this process, once; safe to call often."""
        if self._pid == os.getpid():
            return
        with self._lock:
            if self._pid == os.getpid():
                return
            self._pid = os.getpid()
            self._revived = False
            try:
                self._revive_reseeded()
            except StorageUnavailable as exc:  # alive all the same; the beat goes on
                logs.logger.warning("the state store: %s", exc.message)
            self._periodics = tuple(self._make_periodics())
            for periodic in self._periodics:
                periodic.start()

    def _make_periodics(self) -> Iterator[Periodic]:
        yield Periodic("beat", 2.0, self._beat)
        yield Periodic("tidy", 5.0, self.store.tidy)
        own = [a for b in self.backends.values() for a in b.accounts.values()]
        yield Periodic("refresh", 1.0, partial(self.refresher.renew_due, *own))
        sweep = Periodic("sweep", 1.0, self.sweeper.sweep)
        self.journal.nudge = sweep.nudge
        yield sweep
        yield Periodic("files", _STORED_SECONDS, self.files.sweep)
        yield Periodic("responses", _STORED_SECONDS, self.responses.sweep)
        for name in self.discovery.names:  # one that hangs keeps no other waiting
            look = partial(self.discovery.look, name)
            yield Periodic(f"models of {name}", discovery.INTERVAL, look)
        yield Periodic("balance", _BALANCE_SECONDS, self.tokens.revive_topped_up)

    def _beat(self) -> None:
        self._revive_reseeded()
        self.journal.presence.beat()
        for backend in self.backends.values():
            backend.pool.beat()

    def _revive_reseeded(self) -> None:
        """A new token in the configuration clears what the old one was blamed for."""
        if self._revived:
            return
        for backend in self.backends.values():
            for account in backend.accounts.values():
                if account.vault.is_reseeded(account.name):
                    backend.pool.revive(account.name)
        self._revived = True

    def stop(self) -> None:
        """End the background threads, delete the last chats, close the store.

        A chat that cannot be deleted now stays in the journal for the next start.
        """
        for periodic in self._periodics:
            periodic.stop()
        patient_until = self.clock.monotonic() + _FAREWELL_SECONDS
        for periodic in self._periodics:
            periodic.join(max(0.0, patient_until - self.clock.monotonic()))
        self.journal.await_turns(_WINDING_DOWN)
        try:
            self.sweeper.give_up(everything=not self.store.shared)
            self.sweeper.sweep()
        except GatewayError as exc:
            logs.logger.warning("the last sweep: %s", exc.message)
        self.store.close()

    def readiness(self) -> Mapping[str, Any]:
        """Whether the store works and any provider has a usable account.

        Where clients bring their own tokens, none of ours is needed.
        """
        report: dict[str, Any] = {"ready": False, "store": "ok", "providers": {}}
        try:
            self.store.check()
            for name, backend in self.backends.items():
                states = backend.pool.states()
                usable = sum(state.usable for state in states)
                report["providers"][name] = {"accounts": len(states), "usable": usable}
        except StorageUnavailable as exc:
            return {**report, "store": str(exc)}
        found = report["providers"].values()
        usable = any(provider["usable"] for provider in found)
        return {**report, "ready": usable or self.visitors is not None}

    def _account_counts(self) -> Iterator[tuple[str, str, int]]:
        for name, backend in self.backends.items():
            for state in backend.pool.states():
                yield name, state.state, 1

    def secrets(self) -> Iterator[str]:
        """Every configured secret, for the log's redaction."""
        for key in self.settings.keys:
            yield key.key.get_secret_value()
        if self.settings.admin is not None:
            yield self.settings.admin.key.get_secret_value()
        for settings in self.settings.providers.values():
            for value in getattr(settings, "headers", {}).values():
                yield value.get_secret_value()
            for token in getattr(settings, "tokens", ()):
                yield from _secret_parts(token)


def _chats(settings: ProviderSettings) -> ChatPolicy | None:
    """How the provider's chats are gone on with, if it has any."""
    if not isinstance(settings, KimiSettings):
        return None
    return ChatPolicy(settings.conversations.mode, settings.conversations.ttl)


def _secret_parts(token: Any) -> Iterator[str]:
    """A token as it is configured, and the part of it that travels alone."""
    text = token.token.get_secret_value()
    yield text
    if isinstance(token, QodoTokenSettings):
        yield text.partition("=")[2]
    if isinstance(token, KiloTokenSettings):
        yield token.parts()[1]


def _defaults(model: ModelSettings) -> Defaults:
    return Defaults(
        search=model.search,
        effort=model.effort,
        citations=model.citations,
        show_reasoning=None if model.reasoning is None else model.reasoning == "shown",
        params=model.params.model_dump(exclude_none=True),
    )


def _client_key(settings: KeySettings) -> ClientKey:
    return ClientKey(
        name=settings.name,
        digest=digest(settings.key.get_secret_value()),
        models=tuple(settings.models),
        rate=settings.rate,
        concurrency=settings.concurrency,
    )
