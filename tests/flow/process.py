"""What the other processes of these tests do; light, as each one imports it."""

from __future__ import annotations

import os
import time
from contextlib import closing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import gevent
import gevent.monkey

from kimi_proxy.clock import Clock
from kimi_proxy.concurrency import KeyConcurrency
from kimi_proxy.errors import ClientGone, GatewayError
from kimi_proxy.journal import Journal
from kimi_proxy.keys import ClientKey, digest
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.storage import Store, open_store
from kimi_proxy.vault import Vault
from kimi_proxy.worker import Worker
from tests.fakes import FakeProvider, Notes
from tests.flow.pools import Ledger, give_back, make_pool, new_scope
from tests.flow.waiting import Caller, until

SEED = Credential(refresh="fake-refresh-0")
KEY = ClientKey("laptop", digest("fake-key"), concurrency=2)


def hear(pipe: Connection, timeout: float = 30.0) -> Any:
    assert pipe.poll(timeout), "the other process said nothing"
    return pipe.recv()


def open_at(path: Path) -> Store:
    return open_store(f"sqlite:///{path}", time.time)


def crowd(pipe: Connection, path: Path, marks: Path, threads: int) -> None:
    """Many threads, each with one short lease; an account in use is a file."""
    with closing(open_at(path)) as store:
        pool = make_pool(store, wait=60)
        pipe.send("ready")
        pipe.recv()

        def work() -> None:
            slot = pool.lease("m", new_scope())
            mark = marks / slot.account
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
            mark.unlink()
            give_back(pool, slot)

        for caller in [Caller(work) for _ in range(threads)]:
            caller.result(60)
        pipe.send("done")


def hold_a_lease(pipe: Connection, path: Path) -> None:
    """Lease the only account, stand in the queue for it too, then wait for death."""
    store = open_at(path)
    pool = make_pool(store, names=("a",), wait=3600)
    pool.lease("m", new_scope())
    Caller(lambda: pool.lease("m", new_scope()))
    until(lambda: (store.live.get("pool/fake") or {})["waiters"])
    pipe.send(os.getpid())
    pipe.recv()


def lease_when_free(pipe: Connection, path: Path) -> None:
    """Stand in the queue; say when the place is had, give it back when told."""
    with closing(open_at(path)) as store:
        pool = make_pool(store, names=("a",), wait=60)
        pipe.send("ready")
        slot = pool.lease("m", new_scope())
        pipe.send("leased")
        pipe.recv()
        give_back(pool, slot)


def renew(pipe: Connection, path: Path, bill: Path, slow: bool) -> None:
    """Fifty threads need a token; each purchase is a line on the bill."""
    with closing(open_at(path)) as store:
        provider = FakeProvider(now=time.time)
        refresher, account = renewal(store, provider)
        bought = provider.refresh

        def buy(credential: Credential, scope: Any) -> Credential:
            with bill.open("a") as file:
                file.write(f"{credential.refresh}\n")
            if slow:
                pipe.send("buying")
                pipe.recv()
            return bought(credential, scope)

        provider.refresh = buy  # type: ignore[method-assign]
        pipe.send("ready")
        pipe.recv()
        callers = [
            Caller(lambda: refresher.ready(account, new_scope())) for _ in range(50)
        ]
        pipe.send(sorted({caller.result(60).access for caller in callers}))


def renewal(store: Store, provider: FakeProvider) -> tuple[Refresher, Account]:
    worker, clock = Worker(), Clock()
    vault = Vault(
        provider="fake", seeds={"a": SEED}, documents=store.durable, clock=clock
    )
    pool = make_pool(store, names=("a",), worker=worker)
    refresher = Refresher(
        locks=store.live, worker=worker, clock=clock, observer=Notes()
    )
    return refresher, Account("fake", "a", vault, pool, provider)


def leave_a_chat(pipe: Connection, path: Path, named: bool) -> None:
    """Make a chat upstream and die over it."""
    store = open_at(path)
    entry = Journal(store.live, Worker(), Clock()).open("fake", "a")
    entry.sending("question")
    if named:
        entry.opened("chat-1")
    pipe.send(os.getpid())
    pipe.recv()


def use_a_key(pipe: Connection, path: Path) -> None:
    """Enter with the key as often as told; say whether that was allowed."""
    with closing(open_at(path)) as store:
        places = KeyConcurrency(store.live, Worker(), Clock())
        leave = []
        pipe.send("ready")
        while (told := pipe.recv()) != "end":
            if told == "leave":
                leave.pop()()
                pipe.send(True)
                continue
            try:
                leave.append(places.enter(KEY))
                pipe.send(True)
            except GatewayError:
                pipe.send(False)


def work_in_greenlets(pipe: Connection, path: Path) -> None:
    """Sixty greenlets share two accounts and one renewal; one of them leaves."""
    gevent.monkey.patch_all()
    with closing(open_at(path)) as store:
        provider = FakeProvider(now=time.time)
        refresher, account = renewal(store, provider)
        pool, ledger = make_pool(store, names=("a", "b"), wait=60), Ledger()

        def work() -> str | None:
            slot = pool.lease("m", new_scope())
            ledger.begin(slot.account)
            credential = refresher.ready(account, new_scope())
            gevent.sleep(0)
            ledger.end(slot.account)
            give_back(pool, slot)
            return credential.access

        held = [pool.lease("m", new_scope()) for _ in "ab"]
        scope = new_scope()
        leaving = gevent.spawn(pool.lease, "m", scope)
        working = [gevent.spawn(work) for _ in range(60)]
        until(lambda: len((store.live.get("pool/fake") or {})["waiters"]) == 61)
        scope.cancel(ClientGone("left"))
        leaving.join()
        for slot in held:
            give_back(pool, slot)
        gevent.joinall(working, raise_error=True)
        accesses = sorted({greenlet.value for greenlet in working})
        told = type(leaving.exception).__name__, ledger.worst, accesses
        pipe.send((told, len(provider.renewals), store.live.get("pool/fake")))
