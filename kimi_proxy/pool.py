"""Who may use which account now: leases, a fair bounded queue, states and cool-downs.

All decisions are `pool_state`'s; this module makes them atomic, waits, and wakes. A
request that finds every account taken queues in the shared document, so the order
holds across workers; of those waiting in one worker only the first looks at the store.
"""

import os
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kimi_proxy import pool_state
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    GatewayError,
    Penalty,
    PoolBusy,
    PoolCooling,
    PoolEmpty,
    TokenDead,
)
from kimi_proxy.pool_state import Document, Granted, Policy, Refused, Waiting, Wish
from kimi_proxy.scope import Scope
from kimi_proxy.storage import Documents

_POLL_SECONDS = 0.025
_LONG_WAIT = 1.0


class Worker:
    """This process's name in shared documents, and whether another one still lives."""

    def __init__(self) -> None:
        self._host = socket.gethostname()
        self._pid = 0
        self._id = ""

    @property
    def id(self) -> str:
        """Unique per process; made anew after a fork."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._id = f"{self._host}:{self._pid}:{uuid.uuid4().hex[:8]}"
        return self._id

    def alive(self, worker: str, silence: float) -> bool:
        """On this machine ask the kernel, elsewhere go by the last sign of life."""
        host, pid, _ = worker.rsplit(":", 2)
        if worker == self.id:
            return True
        if host == self._host and not _runs(int(pid)):
            return False
        return pool_state.presumed_alive(silence)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


@dataclass(frozen=True, slots=True)
class Slot:
    """A place on an account; give it back with `Pool.finish`, exactly once."""

    id: str
    account: str
    model: str
    blemished: bool


@dataclass(frozen=True, slots=True)
class AccountState:
    """What the pool knows of an account; times are epoch seconds."""

    name: str
    state: pool_state.State
    reason: str | None
    code: str | None
    since: float | None
    until: float | None
    in_flight: int


class _Waiter:
    def __init__(self, wish: Wish) -> None:
        self.wish = wish
        self.turn = threading.Event()


class Pool:
    """The accounts of one provider, under one document in the shared store."""

    def __init__(
        self,
        *,
        provider: str,
        names: Sequence[str],
        policy: Policy,
        documents: Documents,
        worker: Worker,
        clock: Clock,
    ) -> None:
        self.provider = provider
        self.names = tuple(names)
        self.policy = policy
        self._key = f"pool/{provider}"
        self._documents = documents
        self._worker = worker
        self._clock = clock
        self._queue: list[_Waiter] = []
        self._local: dict[str, Document] = {}
        self._used: Counter[str] = Counter()
        self._lock = threading.Lock()

    def lease(
        self,
        model: str,
        scope: Scope,
        *,
        exclude: Collection[str] = (),
        prefer: str | None = None,
        names: Sequence[str] | None = None,
    ) -> Slot:
        """Wait, fairly and at most `policy.wait` seconds, for a place on an account.

        Raises `PoolEmpty`, `PoolCooling` or `PoolBusy`, or what ended the scope.
        """
        chosen = [n for n in (names or self.names) if n not in exclude]
        wish = Wish(uuid.uuid4().hex, self._worker.id, chosen, model, prefer)
        if self.policy.concurrency is None:
            return self._lease_unlimited(wish)
        slot = self._try(wish, self.policy.wait)
        if slot is not None:
            return slot
        with self._queued(wish, scope) as waiter:
            return self._wait(waiter, scope)

    def _try(self, wish: Wish, patience: float) -> Slot | None:
        """One atomic step: take a place, or stand in the queue."""
        now = self._clock.now()

        def change(found: Document | None) -> tuple[Document, Slot | None]:
            document = found or pool_state.empty()
            pool_state.settle(document, now, self._worker.alive)
            decision = pool_state.decide(document, wish, self.policy, now)
            if isinstance(decision, Granted):
                pool_state.grant(document, wish, decision.account, now)
                return document, self._slot(document, wish, decision.account)
            self._refuse_hopeless(document, wish, decision, patience)
            pool_state.enqueue(document, wish)
            return document, None

        return self._documents.update(self._key, change)

    def _refuse_hopeless(
        self, document: Document, wish: Wish, decision: Waiting | Refused, left: float
    ) -> None:
        """Raise when waiting `left` seconds cannot help or the queue is full."""
        match decision:
            case Refused(None):
                raise self._empty(document, wish)
            case Refused(float() | int() as ready_at):
                pause = max(0.0, ready_at - self._clock.now())
                if pause > left:
                    raise PoolCooling(
                        f"every account of {self.provider} is cooling down; the first "
                        f"is ready in {pause:.0f} s",
                        retry_after=pause,
                    )
            case Waiting(queued) if queued >= self.policy.queue:
                waiting = {waiter["id"] for waiter in document["waiters"]}
                if wish.id not in waiting:
                    raise self._busy(f"{queued} requests wait already")

    def _empty(self, document: Document, wish: Wish) -> PoolEmpty:
        if not wish.names:
            return PoolEmpty(f"{self.provider} has no further account to try")
        records = [document["accounts"].get(n, {}) for n in wish.names]
        states = Counter(str(record.get("state", "ok")) for record in records)
        summary = ", ".join(f"{count} {state}" for state, count in states.items())
        return PoolEmpty(
            f"{self.provider} has no usable account ({summary}); "
            "ask /token/check for the reason"
        )

    def _busy(self, why: str) -> PoolBusy:
        return PoolBusy(
            f"every account of {self.provider} is in use: {why}", retry_after=5
        )

    @contextmanager
    def _queued(self, wish: Wish, scope: Scope) -> Iterator[_Waiter]:
        waiter = _Waiter(wish)
        with self._lock:
            self._queue.append(waiter)
        forget = scope.on_cancel(waiter.turn.set)
        granted = False
        try:
            yield waiter
            granted = True
        finally:
            forget()
            with self._lock:
                self._queue.remove(waiter)
            if not granted:
                self._leave(wish)
            self._wake_first()

    def _wait(self, waiter: _Waiter, scope: Scope) -> Slot:
        monotonic = self._clock.monotonic
        ends = monotonic() + self.policy.wait
        while True:
            left = ends - monotonic()
            if left <= 0:
                raise self._busy(f"none came free within {self.policy.wait:g} s")
            first = self._queue[:1] == [waiter]
            pause = _POLL_SECONDS if first else _LONG_WAIT
            if waiter.turn.wait(scope.limit(min(pause, left))):
                waiter.turn.clear()
                scope.check()
                slot = self._try(waiter.wish, left)
                if slot is not None:
                    return slot
            elif first:
                self._wake_winners()

    def _wake_winners(self) -> None:
        """Look at the document once for all who wait in this process."""
        document = self._documents.get(self._key) or pool_state.empty()
        now = self._clock.now()
        pool_state.settle(document, now, self._worker.alive)
        winners = pool_state.assign(document, document["waiters"], self.policy, now)
        refused = all(
            not pool_state.is_usable(document, n, "", now) for n in self.names
        )
        with self._lock:
            queue = list(self._queue)
        for waiter in queue:
            if refused or waiter.wish.id in winners:
                waiter.turn.set()

    def _wake_first(self) -> None:
        with self._lock:
            if self._queue:
                self._queue[0].turn.set()

    def _leave(self, wish: Wish) -> None:
        def change(found: Document | None) -> tuple[Document | None, None]:
            if found is not None:
                pool_state.leave_queue(found, wish.id)
            return found, None

        self._documents.update(self._key, change)

    def _slot(self, document: Document, wish: Wish, account: str) -> Slot:
        record = document["accounts"].get(account, {})
        blemished = bool(record.get("failures") or record.get("strikes"))
        return Slot(wish.id, account, wish.model, blemished)

    def _lease_unlimited(self, wish: Wish) -> Slot:
        """Without a limit nothing has to be shared per request but the states."""
        document = self._documents.get(self._key) or pool_state.empty()
        now = self._clock.now()
        with self._lock:
            document["leases"], document["waiters"] = dict(self._local), []
            for name in wish.names:
                pool_state.account_of(document, name)["used"] = self._used[name]
            decision = pool_state.decide(document, wish, self.policy, now)
            if isinstance(decision, Granted):
                account = decision.account
                self._used[account] = max(self._used.values(), default=0) + 1
                self._local[wish.id] = {"account": account, "worker": wish.worker}
                return self._slot(document, wish, account)
        self._refuse_hopeless(document, wish, decision, 0)
        raise self._busy("an account on probation is being tried")

    def finish(self, slot: Slot, error: GatewayError | None, *, proven: bool) -> None:
        """Give the place back; `error` is held against the account as it says.

        `proven` says that the upstream answered well: it ends an account's probation.
        """
        with self._lock:
            shared = self._local.pop(slot.id, None) is None
        harmless = error is None or error.penalty is Penalty.NONE
        if shared or not harmless or (proven and slot.blemished):
            self._documents.update(self._key, self._finishing(slot, error, proven))
        self._wake_winners_of_local_queue()

    def _wake_winners_of_local_queue(self) -> None:
        if self._queue:
            self._wake_winners()

    def _finishing(
        self, slot: Slot, error: GatewayError | None, proven: bool
    ) -> Callable[[Document | None], tuple[Document, None]]:
        now = self._clock.now()

        def change(found: Document | None) -> tuple[Document, None]:
            document = found or pool_state.empty()
            document["leases"].pop(slot.id, None)
            record = pool_state.account_of(document, slot.account)
            if error is not None:
                last = not pool_state.others_usable(
                    document, slot.account, self.names, slot.model, now
                )
                pool_state.punish(
                    record, error, slot.model, self.policy, now, last=last
                )
            elif proven:
                pool_state.praise(record)
            return document, None

        return change

    def bury(self, account: str, error: TokenDead) -> None:
        """The account needs a new log-in."""
        now = self._clock.now()
        self._edit(account, lambda r: pool_state.put_aside(r, "dead", error, now, None))

    def revive(self, account: str) -> None:
        """Forget all that is held against the account."""
        self._edit(account, pool_state.revive)

    def _edit(self, account: str, edit: Callable[[Document], None]) -> None:
        def change(found: Document | None) -> tuple[Document, None]:
            document = found or pool_state.empty()
            edit(pool_state.account_of(document, account))
            return document, None

        self._documents.update(self._key, change)

    def beat(self) -> None:
        """Tell the other workers that this one lives; bury those that do not."""
        now = self._clock.now()

        def change(found: Document | None) -> tuple[Document, None]:
            document = found or pool_state.empty()
            document["workers"][self._worker.id] = now
            pool_state.settle(document, now, self._worker.alive)
            return document, None

        self._documents.update(self._key, change)

    def states(self) -> list[AccountState]:
        """Every account as it stands; cool-downs that have passed are over."""
        document = self._documents.get(self._key) or pool_state.empty()
        pool_state.settle(document, self._clock.now(), self._worker.alive)
        in_flight = Counter(v["account"] for v in document["leases"].values())
        with self._lock:
            in_flight.update(v["account"] for v in self._local.values())
        return [
            self._state(name, document["accounts"].get(name, {}), in_flight[name])
            for name in self.names
        ]

    def _state(self, name: str, record: Document, in_flight: int) -> AccountState:
        return AccountState(
            name=name,
            state=record.get("state", "ok"),
            reason=record.get("reason"),
            code=record.get("code"),
            since=record.get("since"),
            until=record.get("until"),
            in_flight=in_flight,
        )

    def state(self, account: str) -> AccountState:
        """One account; raises KeyError for a name the pool does not have."""
        for state in self.states():
            if state.name == account:
                return state
        raise KeyError(account)
