"""The pool as a value: pure decisions over one small JSON document per provider.

The document lives in the state store and is only ever changed inside one atomic
update, which makes it exact across threads, workers and machines:

    accounts   name -> state, reason, until, models, failures, strikes, used
    leases     lease id -> {account, worker}
    waiters    [{id, worker, names, model, prefer}], in the order of arrival
    workers    worker id -> epoch seconds of its last sign of life

Times are epoch seconds. An account that the document does not name is fresh.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from kimi_proxy.errors import GatewayError, Penalty

Document = dict[str, Any]
State = Literal["ok", "refreshing", "cooling", "exhausted", "disabled", "dead"]
Strategy = Literal["least-loaded", "round-robin", "in-order"]

_BUSY_SECONDS = 3.0
_WORKER_SILENCE = 15.0


@dataclass(frozen=True, slots=True)
class Policy:
    """How a pool behaves; times in seconds, `concurrency` None means no limit."""

    strategy: Strategy = "least-loaded"
    concurrency: int | None = 1
    cooldown: float = 60
    max_cooldown: float = 1800
    wait: float = 30
    queue: int = 100
    failure_threshold: int = 3
    failure_window: float = 60


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
    account: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """All usable accounts are taken; `queued` counts those who wait already."""

    queued: int


@dataclass(frozen=True, slots=True)
class Refused:
    """No account is usable; `ready_at` is when the first will be, None for never."""

    ready_at: float | None


Decision = Granted | Waiting | Refused


def empty() -> Document:
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
    for record in document["accounts"].values():
        until = record.get("until")
        if record["state"] in {"cooling", "exhausted"} and until and until <= now:
            record.update(state="ok", reason=None, code=None, until=None)
        models = record.get("models")
        if models:
            record["models"] = {m: t for m, t in models.items() if t > now}
    _bury(document, now, alive)


def _bury(document: Document, now: float, alive: Callable[[str, float], bool]) -> None:
    seen = document["workers"]
    holders = {lease["worker"] for lease in document["leases"].values()}
    holders |= {waiter["worker"] for waiter in document["waiters"]} | set(seen)
    gone = {w for w in holders if not alive(w, now - seen.get(w, now))}
    if not gone:
        return
    for worker in gone:
        seen.pop(worker, None)
    leases = document["leases"]
    document["leases"] = {k: v for k, v in leases.items() if v["worker"] not in gone}
    waiters = document["waiters"]
    document["waiters"] = [w for w in waiters if w["worker"] not in gone]


def presumed_alive(silence: float) -> bool:
    """Whether a worker that cannot be asked counts as alive after this silence."""
    return silence < _WORKER_SILENCE


def decide(document: Document, wish: Wish, policy: Policy, now: float) -> Decision:
    """What the pool says to one request now; changes nothing.

    Waiters are served in order of arrival: an account that an earlier waiter could
    take is kept for it.
    """
    if not any(is_usable(document, n, wish.model, now) for n in wish.names):
        return Refused(_ready_at(document, wish, now))
    waiters = document["waiters"]
    if all(waiter["id"] != wish.id for waiter in waiters):
        waiters = [*waiters, _as_waiter(wish)]
    account = assign(document, waiters, policy, now).get(wish.id)
    return Waiting(len(document["waiters"])) if account is None else Granted(account)


def assign(
    document: Document, waiters: Sequence[Document], policy: Policy, now: float
) -> dict[str, str]:
    """Which account each waiter gets now, by wish id, the first come first served."""
    free = _Slots(document, policy.concurrency)
    winners: dict[str, str] = {}
    for waiter in waiters:
        names, model = waiter["names"], waiter["model"]
        open_now = [
            n for n in names if free(n) > 0 and is_usable(document, n, model, now)
        ]
        if open_now:
            best = min(open_now, key=_preference(document, waiter, policy, free))
            winners[waiter["id"]] = best
            free.take(best)
    return winners


def is_usable(document: Document, name: str, model: str, now: float) -> bool:
    """Whether the account may be asked for `model` at all, busy or not."""
    record = document["accounts"].get(name)
    if record is None:
        return True
    if record["state"] != "ok":
        until = record.get("until")
        passed = until is not None and until <= now
        return passed and record["state"] in {"cooling", "exhausted"}
    return bool(record.get("models", {}).get(model, 0) <= now)


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


def _ready_at(document: Document, wish: Wish, now: float) -> float | None:
    times = []
    for name in wish.names:
        record = document["accounts"].get(name, {})
        if record.get("state") in {"cooling", "exhausted"} and record.get("until"):
            times.append(record["until"])
        elif record.get("state") == "ok":
            times.append(record.get("models", {}).get(wish.model, now))
    return min(times, default=None)


def grant(document: Document, wish: Wish, account: str, now: float) -> None:
    """Write the lease down and take the request out of the queue."""
    account_of(document, account)["used"] = now
    document["leases"][wish.id] = {"account": account, "worker": wish.worker}
    leave_queue(document, wish.id)


def enqueue(document: Document, wish: Wish) -> None:
    """Put the request at the end of the queue unless it stands there already."""
    if all(waiter["id"] != wish.id for waiter in document["waiters"]):
        document["waiters"].append(_as_waiter(wish))


def _as_waiter(wish: Wish) -> Document:
    return {
        "id": wish.id,
        "worker": wish.worker,
        "names": list(wish.names),
        "model": wish.model,
        "prefer": wish.prefer,
    }


def leave_queue(document: Document, wish_id: str) -> None:
    waiters = document["waiters"]
    document["waiters"] = [w for w in waiters if w["id"] != wish_id]


def praise(record: Document) -> None:
    """A request succeeded: earlier failures no longer count."""
    record.update(failures=[], strikes=0)


def punish(
    record: Document,
    error: GatewayError,
    model: str,
    policy: Policy,
    now: float,
    *,
    last: bool,
) -> None:
    """Apply what `error` means for the account it happened on.

    `last` says that no other account is usable: then a transient failure does not
    put it aside, since that would turn a hiccup into an outage.
    """
    match error.penalty:
        case Penalty.NONE:
            return
        case Penalty.FAILURE:
            _count_failure(record, error, policy, now, last=last)
        case Penalty.BUSY:
            pause = _clamped(error.retry_after, _BUSY_SECONDS, policy)
            put_aside(record, "cooling", error, now, now + pause)
        case Penalty.COOL | Penalty.REFRESH:
            _cool(record, error, policy, now)
        case Penalty.COOL_MODEL:
            pause = _clamped(error.retry_after, policy.cooldown, policy)
            record.setdefault("models", {})[model] = now + pause
        case Penalty.EXHAUSTED:
            pause = _clamped(error.retry_after, policy.max_cooldown, policy)
            put_aside(record, "exhausted", error, now, now + pause)
        case Penalty.DEAD:
            put_aside(record, "dead", error, now, None)


def _count_failure(
    record: Document, error: GatewayError, policy: Policy, now: float, *, last: bool
) -> None:
    since = now - policy.failure_window
    failures = [t for t in record.get("failures", []) if t > since] + [now]
    record["failures"] = failures[-policy.failure_threshold :]
    on_probation = bool(record.get("strikes"))
    if (len(failures) >= policy.failure_threshold or on_probation) and not last:
        _cool(record, error, policy, now)


def _cool(record: Document, error: GatewayError, policy: Policy, now: float) -> None:
    strikes = record.get("strikes", 0)
    backoff = policy.cooldown * 2 ** min(strikes, 10)
    pause = _clamped(error.retry_after, backoff, policy)
    record["strikes"] = strikes + 1
    put_aside(record, "cooling", error, now, now + pause)


def _clamped(asked: float | None, otherwise: float, policy: Policy) -> float:
    wanted = otherwise if asked is None else asked
    return max(0.0, min(wanted, policy.max_cooldown))


def put_aside(
    record: Document,
    state: State,
    error: GatewayError,
    now: float,
    until: float | None,
) -> None:
    """Change the state with its reason; a dead or disabled account stays that way."""
    if record["state"] in {"dead", "disabled"}:
        return
    record.update(
        state=state, reason=error.message, code=error.code, since=now, until=until
    )


def revive(record: Document) -> None:
    """Back to a clean slate, after a new token or by hand."""
    record.clear()
    record["state"] = "ok"


def fingerprint(secret: str) -> str:
    """A short name for a secret that does not give it away."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


def others_usable(
    document: Document, name: str, names: Collection[str], model: str, now: float
) -> bool:
    """Whether any account but `name` could take a request for `model`."""
    return any(is_usable(document, n, model, now) for n in names if n != name)
