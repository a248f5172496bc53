"""A gateway over scripted upstreams: everything between the routes and the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_proxy.account_state import Policy
from kimi_proxy.attempt import EventStream, Trace
from kimi_proxy.backend import Backend
from kimi_proxy.chat import NO_DEFAULTS, ChatRequest, Message
from kimi_proxy.clock import Clock
from kimi_proxy.conversations import ChatPolicy, Conversations
from kimi_proxy.desk import Desk
from kimi_proxy.errors import GatewayError, NotFound
from kimi_proxy.events import Event
from kimi_proxy.files import FileLimits, Loader
from kimi_proxy.gateway import Gateway
from kimi_proxy.journal import Journal
from kimi_proxy.pool import Pool
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.retry import Opener
from kimi_proxy.router import Route, Router, route_to
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Store
from kimi_proxy.sweeper import Keeper, Sweeper
from kimi_proxy.vault import Vault
from kimi_proxy.worker import Worker
from tests.fakes import Call, FakeProvider, Notes, Script, Step

TTL = 3600.0


def credential(account: str) -> Credential:
    return Credential(
        access=f"fake-access-{account}", refresh=f"fake-refresh-{account}"
    )


def by_account(plays: Mapping[str, Sequence[Step]]) -> Script:
    """Each account does what is written for it, every time."""
    return lambda call: plays[call.account]


def in_turn(*plays: Sequence[Step]) -> Script:
    """The first call gets the first play, and so on; the last one stays."""
    left = list(plays)
    return lambda call: left.pop(0) if len(left) > 1 else left[0]


class NoFiles:
    """Nothing is behind any URL, and nothing is stored."""

    def get(self, *_: object) -> Any:
        raise NotFound("nothing is there")


@dataclass(slots=True)
class Stage:
    clock: Clock
    store: Store
    providers: dict[str, FakeProvider]
    pools: dict[str, Pool]
    vault: Vault
    gateway: Gateway
    journal: Journal
    sweeper: Sweeper

    @property
    def provider(self) -> FakeProvider:
        return self.providers["fake"]

    @property
    def pool(self) -> Pool:
        return self.pools["fake"]

    def scope(self, **timeouts: float) -> Scope:
        return Scope(Timeouts(**timeouts), self.clock.monotonic)

    def open(
        self,
        model: str = "fake/model",
        scope: Scope | None = None,
        trace: Trace | None = None,
        **fields: Any,
    ) -> EventStream:
        # Streamed: nobody asks for token counts then.
        fields = {"stream": True, **fields}
        request = ChatRequest(model, (Message("user", "question"),), **fields)
        return self.gateway.open(request, scope or self.scope(), trace or Trace())

    def answer(self, model: str = "fake/model", **fields: Any) -> list[Event]:
        return list(self.open(model, **fields))

    def tried(self, provider: str = "fake") -> list[str]:
        return [call.account for call in self.providers[provider].calls]

    def states(self, provider: str = "fake") -> dict[str, str]:
        return {s.name: s.state for s in self.pools[provider].states()}

    def access_of(self, account: str) -> str | None:
        """The access token that is on disk."""
        return self.vault.load(account).credential.access

    def is_clean(self) -> bool:
        """No slot taken, no ticket, no stream open, no chat left when swept."""
        for name, pool in self.pools.items():
            document = self.store.live.get(f"pool/{name}") or {}
            if document.get("leases") or document.get("waiters"):
                return False
            if any(state.in_flight for state in pool.states()):
                return False
            if self.providers[name].running:
                return False
        return not self.journal.open_turns


def build_stage(
    clock: Clock,
    store: Store,
    accounts: Mapping[str, Sequence[str]] | None = None,
    aliases: Mapping[str, Sequence[str]] | None = None,
    make: Callable[[str], FakeProvider] | None = None,
    *,
    chats: ChatPolicy | None = None,
    most: int = 1000,
    **policy: Any,
) -> Stage:
    worker, notes = Worker(), Notes()
    journal = Journal(store.live, worker, clock)
    refresher = Refresher(locks=store.live, worker=worker, clock=clock, observer=notes)
    backends = {}
    for name, names in (accounts or {"fake": ("a", "b", "c")}).items():
        provider = make(name) if make else FakeProvider(name, clock.now)
        pool = Pool(
            provider=name,
            names=tuple(names),
            policy=Policy(**policy),
            documents=store.live,
            worker=worker,
            clock=clock,
        )
        backends[name] = _backend(provider, pool, clock, store, chats)
    providers: Any = {name: backend.provider for name, backend in backends.items()}
    gateway = Gateway(
        router=Router(providers, _routes(aliases or {})),
        opener=Opener(
            backends=backends, refresher=refresher, journal=journal, clock=clock
        ),
        conversations=Conversations(journal, store.live),
        loader=Loader(NoFiles(), NoFiles(), FileLimits(), clock.monotonic),
        desk=Desk(store.live, worker, clock, TTL),
    )
    keepers = {
        n: Keeper(providers[n], b.accounts, TTL, most) for n, b in backends.items()
    }
    return Stage(
        clock=clock,
        store=store,
        providers=providers,
        pools={name: backend.pool for name, backend in backends.items()},
        vault=next(iter(backends.values())).vault,
        gateway=gateway,
        journal=journal,
        sweeper=Sweeper(journal, keepers, refresher),
    )


def _routes(aliases: Mapping[str, Sequence[str]]) -> dict[str, list[Route]]:
    return {
        alias: [route_to(target, NO_DEFAULTS) for target in targets]
        for alias, targets in aliases.items()
    }


def _backend(
    provider: FakeProvider,
    pool: Pool,
    clock: Clock,
    store: Store,
    chats: ChatPolicy | None,
) -> Backend:
    vault = Vault(
        provider=pool.provider,
        seeds={name: credential(name) for name in pool.names},
        documents=store.durable,
        clock=clock,
    )
    accounts = {
        name: Account(pool.provider, name, vault, pool, provider) for name in pool.names
    }
    return Backend(provider, pool, vault, accounts, chats=chats)


def failing(error: GatewayError) -> Sequence[Step]:
    return [error]


def said(call: Call) -> str:
    """What an account was asked with, for a table of expectations."""
    return f"{call.account}:{call.credential.access}"
