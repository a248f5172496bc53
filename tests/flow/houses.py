"""One account with all that renews it, and one worker's journal and sweeper."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from kimi_proxy.journal import Entry, Journal
from kimi_proxy.pool import Pool
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.storage import Store
from kimi_proxy.sweeper import Keeper, Sweeper
from kimi_proxy.vault import Vault
from kimi_proxy.worker import Worker
from tests.fakes import Chat, FakeProvider, HandClock, Notes, make_scope
from tests.flow.pools import make_pool

SEED = Credential(refresh="fake-refresh-0")
TTL = 3600.0


@dataclass(slots=True)
class House:
    """One account with all that renews it."""

    hand: HandClock
    store: Store
    provider: FakeProvider
    pool: Pool
    vault: Vault
    account: Account
    refresher: Refresher
    notes: Notes

    def ready(self) -> Credential:
        return self.refresher.ready(self.account, make_scope(self.hand.clock))

    def lock(self) -> Any:
        return self.store.live.get("refresh/fake/a")


def build(
    hand: HandClock,
    store: Store,
    seed: Credential = SEED,
    provider: FakeProvider | None = None,
) -> House:
    provider = provider or FakeProvider(now=hand.now)
    worker, notes = Worker(), Notes()
    pool = make_pool(store, clock=hand.clock, names=("a",), worker=worker)
    vault = Vault(
        provider="fake", seeds={"a": seed}, documents=store.durable, clock=hand.clock
    )
    vault.is_reseeded("a")
    account = Account("fake", "a", vault, pool, provider)
    refresher = Refresher(
        locks=store.live, worker=worker, clock=hand.clock, observer=notes
    )
    return House(hand, store, provider, pool, vault, account, refresher, notes)


@dataclass(slots=True)
class Household:
    """One worker's journal and sweeper."""

    house: House
    journal: Journal
    sweeper: Sweeper

    @property
    def provider(self) -> FakeProvider:
        return self.house.provider

    def entries(self) -> list[dict[str, Any]]:
        return [document for _, document in self.house.store.live.scan("chat/")]

    def begin(self, fingerprint: str = "question", chat: str | None = None) -> Entry:
        """A request that has sent its question; the chat exists upstream."""
        entry = self.journal.open("fake", "a")
        entry.sending(fingerprint)
        name = chat or f"lost-{len(self.provider.chats)}"
        self.provider.chats[name] = Chat(fingerprint, self.house.hand.now())
        if chat is not None:
            entry.opened(chat)
        return entry

    def sweep_for(self, seconds: float, step: float = 1.0) -> None:
        end = self.house.hand.now() + seconds
        while self.house.hand.now() < end:
            self.sweeper.sweep()
            self.house.hand.advance(step)
        self.sweeper.sweep()


def household(
    hand: HandClock, store: Store, provider: FakeProvider | None = None
) -> Household:
    seed = Credential(access="fake-access-0", refresh="fake-refresh-0")
    house = build(hand, store, seed, provider)
    journal = Journal(store.live, Worker(), hand.clock)
    keeper = Keeper(house.provider, {"a": house.account}, TTL, most=1000)
    sweeper = Sweeper(journal, {"fake": keeper}, house.refresher)
    return Household(house, journal, sweeper)
