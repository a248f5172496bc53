"""The pool as a value: pure decisions over one small JSON document per provider.

The document lives in the state store and is only ever changed inside one atomic
update, which makes it exact across threads, workers and machines:

    accounts   name -> its record, see `account_state`
    leases     lease id -> {account, worker}
    waiters    [{id, worker, names, model, prefer, ends}], in the order of arrival
    workers    worker id -> epoch seconds of its last sign of life
    turn       how many leases there were: `used` is the turn of an account's latest

Times are epoch seconds. An account that the document does not name is fresh.
"""

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_proxy import account_state
from kimi_proxy.account_state import Policy, rests_until

Document = dict[str, Any]

_GUEST_SECONDS = 86_400.0
_MOST_GUESTS = 1000
_GRACE = 5.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What one request asks of the pool: any of `names`, for `model`."""

    id: str
    worker: str
    names: Sequence[str]
    model: str
    prefer: str | None = None


@dataclass(frozen=True, slots=True)
class Granted:
    """There is a place on this account."""

    account: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """All usable accounts are taken, or kept for those who came first."""


@dataclass(frozen=True, slots=True)
class Refused:
    """No account is usable; `ready_at` is when the first will be, None for never."""

    ready_at: float | None


Decision = Granted | Waiting | Refused


def empty() -> Document:
    """The document of a pool of which nothing was ever written down."""
    return {"accounts": {}, "leases": {}, "waiters": [], "workers": {}}


def account_of(document: Document, name: str) -> Document:
    """The account's record, made on first use."""
    record: Document = document["accounts"].setdefault(name, {})
    record.setdefault("state", "ok")
    return record


def settle(document: Document, now: float, alive: Callable[[str, float], bool]) -> None:
    """Let passed cool-downs end and forget what dead workers held.

    `alive(worker, silence)` says whether a worker lives, given its silence in seconds.
    """
    end_rests(document, now)
    waiters = document["waiters"]
    document["waiters"] = [w for w in waiters if w["ends"] > now]
    _bury(document, now, alive)


def end_rests(document: Document, now: float) -> None:
    """Let passed cool-downs end."""
    for record in document["accounts"].values():
        account_state.settle(record, now)


def _bury(document: Document, now: float, alive: Callable[[str, float], bool]) -> None:
    seen, records = document["workers"], document["accounts"].values()
    holders = {lease["worker"] for lease in document["leases"].values()}
    holders |= {waiter["worker"] for waiter in document["waiters"]} | set(seen)
    holders |= {r["renewing"] for r in records if r.get("renewing")}
    gone = {w for w in holders if not alive(w, now - seen.get(w, now))}
    if not gone:
        return
    for worker in gone:
        seen.pop(worker, None)
    for record in records:
        if record.get("renewing") in gone:
            record["renewing"] = None
    leases = document["leases"]
    document["leases"] = {k: v for k, v in leases.items() if v["worker"] not in gone}
    waiters = document["waiters"]
    document["waiters"] = [w for w in waiters if w["worker"] not in gone]


def decide(document: Document, wish: Wish, policy: Policy, now: float) -> Decision:
    """What the pool says to one request now; changes nothing.

    Waiters are served in order of arrival: an account that an earlier waiter could
    take is kept for it.
    """
    if not any(is_usable(document, n, wish.model, now) for n in wish.names):
        return Refused(ready_at(document, wish, now))
    waiters = document["waiters"]
    if all(waiter["id"] != wish.id for waiter in waiters):
        waiters = [*waiters, _as_waiter(wish, now)]
    account = assign(document, waiters, policy, now).get(wish.id)
    return Waiting() if account is None else Granted(account)


def assign(
    document: Document, waiters: Sequence[Document], policy: Policy, now: float
) -> dict[str, str]:
    """Which account each waiter gets now, by wish id, the first come first served."""
    free = _Slots(document, policy.concurrency)
    winners: dict[str, str] = {}
    left = {n for waiter in waiters for n in waiter["names"] if free(n) > 0}
    for waiter in waiters:
        if not left:
            break
        model = waiter["model"]
        open_now = [
            n
            for n in waiter["names"]
            if n in left and is_usable(document, n, model, now)
        ]
        if open_now:
            best = min(open_now, key=_preference(document, waiter, policy, free))
            winners[waiter["id"]] = best
            free.take(best)
            if free(best) <= 0:
                left.remove(best)
    return winners


def is_usable(document: Document, name: str, model: str, now: float) -> bool:
    """Whether the account may be asked for `model` at all, busy or not."""
    record = document["accounts"].get(name)
    return record is None or rests_until(record, model, now) <= now


def steady(
    document: Document, names: Sequence[str], policy: Policy, now: float
) -> list[str]:
    """The accounts that did not fail again and again just now.

    The last one of all is not put aside for that; who has another way passes it over.
    """
    accounts = document["accounts"]
    return [
        name
        for name in names
        if not account_state.is_failing(accounts.get(name, {}), policy, now)
    ]


class _Slots:
    """Free places per account; an account on probation has one."""

    def __init__(self, document: Document, concurrency: int | None) -> None:
        self._accounts: Mapping[str, Document] = document["accounts"]
        self._limit = concurrency
        self._taken = Counter(v["account"] for v in document["leases"].values())

    def __call__(self, name: str) -> float:
        record = self._accounts.get(name, {})
        limit = 1 if record.get("strikes") else self._limit
        return float("inf") if limit is None else limit - self._taken[name]

    def take(self, name: str) -> None:
        self._taken[name] += 1

    def load(self, name: str) -> int:
        return self._taken[name]


def _preference(
    document: Document, waiter: Document, policy: Policy, free: _Slots
) -> Callable[[str], tuple[Any, ...]]:
    accounts = document["accounts"]
    order = {name: i for i, name in enumerate(waiter["names"])}

    def rank(name: str) -> tuple[Any, ...]:
        record = accounts.get(name, {})
        healthy = (bool(record.get("strikes")), name != waiter["prefer"])
        used = record.get("used", 0)
        match policy.strategy:
            case "least-loaded":
                return (*healthy, free.load(name), used, order[name])
            case "round-robin":
                return (*healthy, used, order[name])
            case "in-order":
                return (*healthy, order[name])

    return rank


def ready_at(document: Document, wish: Wish, now: float) -> float | None:
    """When the first account is usable, busy or not; None for never."""
    records = [document["accounts"].get(n, {"state": "ok"}) for n in wish.names]
    times = [rests_until(record, wish.model, now) for record in records]
    ready = min(times, default=math.inf)
    return None if ready == math.inf else ready


def grant(document: Document, wish: Wish, account: str, now: float) -> None:
    """Write the lease down and take the request out of the queue."""
    document["turn"] = document.get("turn", 0) + 1
    account_of(document, account).update(used=document["turn"], leased=now)
    document["leases"][wish.id] = {"account": account, "worker": wish.worker}
    document["workers"].setdefault(wish.worker, now)
    leave_queue(document, wish.id)


def enqueue(document: Document, wish: Wish, ends: float, now: float) -> None:
    """Put the request at the end of the queue unless it stands there already.

    `ends` is when its patience is over: a ticket that nobody took back is void soon
    after.
    """
    if all(waiter["id"] != wish.id for waiter in document["waiters"]):
        document["waiters"].append(_as_waiter(wish, ends + _GRACE))
        document["workers"].setdefault(wish.worker, now)


def _as_waiter(wish: Wish, ends: float) -> Document:
    return {
        "id": wish.id,
        "worker": wish.worker,
        "names": list(wish.names),
        "model": wish.model,
        "prefer": wish.prefer,
        "ends": ends,
    }


def leave_queue(document: Document, wish_id: str) -> None:
    """Take the request out of the queue, if it stands there."""
    waiters = document["waiters"]
    document["waiters"] = [w for w in waiters if w["id"] != wish_id]


def fingerprint(secret: str) -> str:
    """A short name for a secret that does not give it away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def forget_guests(document: Document, known: Collection[str], now: float) -> None:
    """Drop accounts that are not configured and were not heard of for a day.

    Of more than a thousand the latest stay: the document is read with every request.
    """
    accounts = document["accounts"]
    heard = {n: account_state.latest(r) for n, r in accounts.items() if n not in known}
    latest = sorted(heard, key=heard.__getitem__)[-_MOST_GUESTS:]
    gone = heard.keys() - {n for n in latest if heard[n] > now - _GUEST_SECONDS}
    document["accounts"] = {n: r for n, r in accounts.items() if n not in gone}


def others_usable(
    document: Document, name: str, names: Collection[str], model: str, now: float
) -> bool:
    """Whether any account but `name` could take a request for `model`."""
    return any(is_usable(document, n, model, now) for n in names if n != name)
