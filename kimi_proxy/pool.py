"""Who may use which account now: leases, a fair bounded queue, states and cool-downs.

All decisions are `pool_state`'s; this module makes them atomic, waits, and wakes. A
request that finds every account taken queues in the shared document, so the order
holds across workers; of those waiting in one worker only the first looks at the store.
"""

import math
import os
import threading
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from kimi_proxy import account_state, pool_state
from kimi_proxy.account_state import AccountState, Policy
from kimi_proxy.blame import Penalty
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    GatewayError,
    PoolBusy,
    PoolCooling,
    PoolEmpty,
    StateUnavailable,
    TokenDead,
)
from kimi_proxy.logs import logger
from kimi_proxy.pool_state import Document, Granted, Refused, Wish
from kimi_proxy.scope import Scope
from kimi_proxy.storage import Documents
from kimi_proxy.worker import Worker

_POLL_SECONDS = 0.025
_LONG_WAIT = 1.0
_MOST_GUESTS = 1000

_Change = Callable[[Document], None]


@dataclass(frozen=True, slots=True)
class Slot:
    """A place on an account; give it back with `Pool.finish`, exactly once."""

    id: str
    account: str
    model: str
    blemished: bool


class _Waiter:
    def __init__(self, wish: Wish, ends: float, patient: bool) -> None:
        self.wish = wish
        self.ends = ends
        self.patient = patient
        self.turn = threading.Event()

    def rest(self, now: float) -> float:
        """How many seconds of a cool-down it may wait for, at `now` (monotonic)."""
        return max(0.0, self.ends - now) if self.patient else 0.0


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
        self._owed: list[_Change] = []
        self._paying = threading.Lock()
        self._lock = threading.Lock()

    def lease(
        self,
        model: str,
        scope: Scope,
        *,
        exclude: Collection[str] = (),
        prefer: str | None = None,
        names: Sequence[str] | None = None,
        patient: bool = True,
    ) -> Slot:
        """Wait, fairly and at most `policy.wait` seconds, for a place on an account.

        Who is not `patient` waits for others to finish, but for no account to recover.
        Raises `PoolEmpty`, `PoolCooling` or `PoolBusy`, or what ended the scope.
        """
        scope.check()
        chosen = [n for n in (names or self.names) if n not in exclude]
        now, ends = self._clock.now(), self._clock.monotonic() + self.policy.wait
        if not patient:
            chosen = pool_state.steady(self._settled(), chosen, self.policy, now)
        wish = Wish(os.urandom(16).hex(), self._worker.id, chosen, model, prefer)
        waiter = _Waiter(wish, ends, patient)
        if slot := self._lease_unlimited(wish) or self._try(waiter):
            return slot
        with self._queued(waiter, scope):
            return self._wait(waiter, scope)

    def _try(self, waiter: _Waiter) -> Slot | None:
        """One atomic step: take a place, or stand in the queue."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        wish, ends = waiter.wish, now + waiter.ends - monotonic

        def change(found: Document | None) -> tuple[Document, Slot | None]:
            document = found or pool_state.empty()
            pool_state.settle(document, now, self._worker.alive)
            decision = pool_state.decide(document, wish, self.policy, now)
            if isinstance(decision, Granted):
                pool_state.grant(document, wish, decision.account, now)
                return document, self._slot(document, wish, decision.account)
            if isinstance(decision, Refused):
                left = waiter.rest(monotonic)
                self._refuse_hopeless(document, wish, decision, now, left)
            self._refuse_when_full(document, wish)
            pool_state.enqueue(document, wish, ends, now)
            return document, None

        return self._documents.update(self._key, change)

    def _refuse_hopeless(
        self, document: Document, wish: Wish, refused: Refused, now: float, left: float
    ) -> None:
        """Raise when waiting `left` seconds cannot help."""
        if refused.ready_at is None:
            raise self._empty(document, wish)
        pause = max(0.0, refused.ready_at - now)
        if pause > left:
            raise PoolCooling(
                f"every account of {self.provider} is cooling down; the first "
                f"is ready in {math.ceil(pause)} s",
                retry_after=pause,
            )

    def _refuse_when_full(self, document: Document, wish: Wish) -> None:
        waiting = {waiter["id"] for waiter in document["waiters"]}
        if len(waiting) >= self.policy.queue and wish.id not in waiting:
            raise self._busy(f"{len(waiting)} requests wait already")

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
    def _queued(self, waiter: _Waiter, scope: Scope) -> Iterator[None]:
        with self._lock:
            self._queue.append(waiter)
        forget = scope.on_cancel(waiter.turn.set)
        granted = False
        try:
            yield
            granted = True
        finally:
            forget()
            with self._lock:
                self._queue.remove(waiter)
            if not granted:
                ticket = waiter.wish.id
                self._owe(lambda document: pool_state.leave_queue(document, ticket))
            self._wake_first()

    def _wait(self, waiter: _Waiter, scope: Scope) -> Slot:
        while True:
            left = waiter.ends - self._clock.monotonic()
            if left <= 0:
                raise self._busy(f"none came free within {self.policy.wait:g} s")
            first = self._queue[:1] == [waiter]
            pause = _POLL_SECONDS if first else _LONG_WAIT
            if waiter.turn.wait(scope.limit(min(pause, left))):
                waiter.turn.clear()
                scope.check()
                slot = self._try(waiter)
                if slot is not None:
                    return slot
            elif first:
                self._wake_winners()

    def _wake_winners(self) -> None:
        """Look at the document once for all who wait in this process.

        Whoever has waited in vain is woken too, to be told so.
        """
        with self._lock:
            queue = list(self._queue)
        document = self._settled()
        now, monotonic = self._clock.now(), self._clock.monotonic()
        winners = pool_state.assign(document, document["waiters"], self.policy, now)
        standing = {waiter["id"] for waiter in document["waiters"]}
        for waiter in queue:
            ready_at = pool_state.ready_at(document, waiter.wish, now)
            hopeless = ready_at is None or ready_at - now > waiter.rest(monotonic)
            lost = waiter.wish.id not in standing
            if waiter.wish.id in winners or hopeless or lost:
                waiter.turn.set()

    def _wake_if_possible(self) -> None:
        try:
            self._wake_winners()
        except StateUnavailable as exc:
            # Not the business of who gives back; the first in line looks again.
            logger.warning("the pool of %s: %s", self.provider, exc.message)

    def _wake_first(self) -> None:
        with self._lock:
            if self._queue:
                self._queue[0].turn.set()

    def _settled(self) -> Document:
        """The document as it stands; cool-downs that have passed are over."""
        document = self._documents.get(self._key) or pool_state.empty()
        pool_state.settle(document, self._clock.now(), self._worker.alive)
        return document

    def _slot(self, document: Document, wish: Wish, account: str) -> Slot:
        record = document["accounts"].get(account, {})
        blemished = bool(record.get("failures") or record.get("strikes"))
        return Slot(wish.id, account, wish.model, blemished)

    def _lease_unlimited(self, wish: Wish) -> Slot | None:
        """Without a limit nothing is shared per request but the states.

        None when the places are limited, or when no account is above suspicion: one
        on probation is for one request at a time, over all workers.
        """
        if self.policy.concurrency is not None:
            return None
        now = self._clock.now()
        document = self._documents.get(self._key) or pool_state.empty()
        pool_state.end_rests(document, now)
        accounts = document["accounts"]
        sound = [n for n in wish.names if not accounts.get(n, {}).get("strikes")]
        wish = replace(wish, names=sound)
        with self._lock:
            document["leases"], document["waiters"] = self._local, []
            for name in sound:
                pool_state.account_of(document, name)["used"] = self._used[name]
            decision = pool_state.decide(document, wish, self.policy, now)
            if not isinstance(decision, Granted):
                return None
            account = decision.account
            self._used[account] = max(self._used.values(), default=0) + 1
            self._local[wish.id] = {"account": account, "worker": wish.worker}
        return self._slot(document, wish, account)

    def finish(self, slot: Slot, error: GatewayError | None, *, proven: bool) -> None:
        """Give the place back; `error` is held against the account as it says.

        `proven` says that the upstream answered well: it ends an account's probation.
        """
        with self._lock:
            shared = self._local.pop(slot.id, None) is None
        harmless = error is None or error.penalty is Penalty.NONE
        if shared or not harmless or (proven and slot.blemished):
            self._owe(self._finishing(slot, error, proven))
        if self._queue:
            self._wake_if_possible()

    def _finishing(
        self, slot: Slot, error: GatewayError | None, proven: bool
    ) -> _Change:
        def change(document: Document) -> None:
            now = self._clock.now()
            document["leases"].pop(slot.id, None)
            pool_state.settle(document, now, self._worker.alive)
            record = pool_state.account_of(document, slot.account)
            if error is not None:
                # A guest has no others; they belong to the house.
                last = slot.account not in self.names or not pool_state.others_usable(
                    document, slot.account, self.names, slot.model, now
                )
                account_state.punish(
                    record, error, slot.model, self.policy, now, last=last
                )
            elif proven:
                account_state.praise(record)

        return change

    def bury(self, account: str, error: TokenDead) -> None:
        """The account needs a new log-in."""
        now = self._clock.now()

        def change(document: Document) -> None:
            record = pool_state.account_of(document, account)
            account_state.put_aside(record, "dead", error, now, None)

        self._edit(change)

    def revive(self, account: str) -> None:
        """Forget all that is held against the account."""
        self._edit(lambda d: account_state.revive(pool_state.account_of(d, account)))

    def mark_renewing(self, account: str, renewing: bool) -> None:
        """Show, or no longer show, that this worker renews the account's token."""
        worker = self._worker.id if renewing else None

        def change(document: Document) -> None:
            pool_state.account_of(document, account)["renewing"] = worker

        self._owe(change)

    def beat(self) -> None:
        """Tell the other workers that this one lives; bury those that do not."""
        now = self._clock.now()

        def change(document: Document) -> None:
            document["workers"][self._worker.id] = now
            pool_state.settle(document, now, self._worker.alive)
            pool_state.forget_guests(document, self.names, now)

        self._pay()
        self._edit(change)
        with self._lock:
            if len(self._used) > len(self.names) + _MOST_GUESTS:
                self._used = Counter({n: self._used[n] for n in self.names})

    def _edit(self, edit: _Change) -> None:
        def change(found: Document | None) -> tuple[Document, None]:
            document = found or pool_state.empty()
            edit(document)
            return document, None

        self._documents.update(self._key, change)

    def _owe(self, edit: _Change) -> None:
        """Make a change that must not get lost, now or as soon as the store can."""
        with self._lock:
            self._owed.append(edit)
        try:
            self._pay()
        except StateUnavailable as exc:
            logger.warning("the pool of %s: %s", self.provider, exc.detail)

    def _pay(self) -> None:
        """Write what is owed; what the store refuses now stays owed."""
        with self._paying:
            with self._lock:
                due, self._owed = self._owed, []
            if not due:
                return

            def pay(document: Document) -> None:
                for edit in due:
                    edit(document)

            try:
                self._edit(pay)
            except StateUnavailable:
                with self._lock:
                    self._owed[:0] = due
                raise

    def states(self) -> list[AccountState]:
        """Every account as it stands; cool-downs that have passed are over."""
        return self._states(self.names)

    def state(self, account: str) -> AccountState:
        """One account, a guest's too; one never heard of is fresh."""
        return self._states([account])[0]

    def _states(self, names: Sequence[str]) -> list[AccountState]:
        document = self._settled()
        in_flight = Counter(v["account"] for v in document["leases"].values())
        with self._lock:
            in_flight.update(v["account"] for v in self._local.values())
        return [
            account_state.show(
                name, document["accounts"].get(name, {}), in_flight[name]
            )
            for name in names
        ]
