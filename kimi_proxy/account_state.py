"""One account's record in the pool's document: what is held against it, and until when.

    state      one of `State`; `reason`, `code`, `since`, `until` go with it
    models     model -> [since, until]: cool-downs of single models
    failures   when it failed lately
    strikes    how often it was put aside since it last succeeded; an account with any
               is on probation: it gets one request at a time until one succeeds
    used       the turn of its latest lease, `leased` the time
    renewing   the worker that renews its token now

Times are epoch seconds.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

from kimi_proxy.blame import Penalty
from kimi_proxy.errors import GatewayError

Record = dict[str, Any]
State = Literal["ok", "refreshing", "cooling", "exhausted", "disabled", "dead"]
Strategy = Literal["least-loaded", "round-robin", "in-order"]

_BUSY_SECONDS = 3.0
_SET_BACK = 5.0  # less is the skew between two machines' clocks
_ASIDE = frozenset({"cooling", "exhausted"})


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
class AccountState:
    """What the world is told of an account; times are epoch seconds."""

    name: str
    state: State
    reason: str | None
    code: str | None
    since: float | None
    until: float | None
    in_flight: int

    @property
    def usable(self) -> bool:
        """Whether it may be asked, busy or not; single models may rest all the same."""
        return self.state in {"ok", "refreshing"}


def show(name: str, record: Record, in_flight: int) -> AccountState:
    """The account as it stands; one that is fresh has an empty record."""
    state: State = record.get("state", "ok")
    return AccountState(
        name=name,
        state="refreshing" if state == "ok" and record.get("renewing") else state,
        reason=record.get("reason"),
        code=record.get("code"),
        since=record.get("since"),
        until=record.get("until"),
        in_flight=in_flight,
    )


def settle(record: Record, now: float) -> None:
    """Let passed cool-downs end; a clock that was set back does not prolong any."""
    until = record.get("until")
    if record["state"] in _ASIDE and until is not None:
        since, until = _rebased(record["since"], until, now)
        record.update(since=since, until=until)
        if until <= now:
            record.update(state="ok", reason=None, code=None, since=now, until=None)
    if models := record.get("models"):
        rebased = {m: _rebased(s, u, now) for m, (s, u) in models.items()}
        record["models"] = {m: span for m, span in rebased.items() if span[1] > now}


def _rebased(since: float, until: float, now: float) -> tuple[float, float]:
    set_back = since > now + _SET_BACK
    return (now, now + until - since) if set_back else (since, until)


def rests_until(record: Record, model: str, now: float) -> float:
    """When the account may next be asked for `model`; infinity for never."""
    ready = now
    if record["state"] in _ASIDE and record.get("until") is not None:
        ready = record["until"]
    elif record["state"] != "ok":
        return math.inf
    _, model_ready = record.get("models", {}).get(model, (now, now))
    return max(ready, float(model_ready))


def latest(record: Record) -> float:
    """When something last happened to the account; 0 if that is not known."""
    failed = record.get("failures") or [0.0]
    return float(max(record.get("leased", 0.0), record.get("since") or 0.0, *failed))


def praise(record: Record) -> None:
    """A request succeeded: earlier failures no longer count.

    Not when the account has been put aside since: that request is older news.
    """
    if record["state"] == "ok":
        record.update(failures=[], strikes=0)


def punish(
    record: Record,
    error: GatewayError,
    model: str,
    policy: Policy,
    now: float,
    *,
    last: bool,
) -> None:
    """Apply what `error` means for the account it happened on.

    `last` says that no other account is usable. Then a transient failure does not put
    it aside, since that would turn a hiccup into an outage, and a model that it lacks
    does not rest, since that would hide why it cannot be asked.
    """
    match error.penalty:
        case Penalty.FAILURE:
            _count_failure(record, error, policy, now, last=last)
        case Penalty.BUSY:
            pause = _clamped(error.retry_after, _BUSY_SECONDS, policy)
            put_aside(record, "cooling", error, now, now + pause)
        case Penalty.COOL | Penalty.REFRESH:
            _cool(record, error, policy, now)
        case Penalty.COOL_MODEL | Penalty.LACKS_MODEL:
            if not last or error.penalty is Penalty.COOL_MODEL:
                _cool_model(record, error, model, policy, now)
        case Penalty.EXHAUSTED:
            pause = _clamped(error.retry_after, policy.max_cooldown, policy)
            record["strikes"] = max(1, record.get("strikes", 0))
            put_aside(record, "exhausted", error, now, now + pause)
        case Penalty.DEAD:
            put_aside(record, "dead", error, now, None)
        case Penalty.DISABLED:
            put_aside(record, "disabled", error, now, None)


def is_failing(record: Record, policy: Policy, now: float) -> bool:
    """Whether it failed so often lately that it would be put aside, were it not the
    last one."""
    failures = record.get("failures", [])
    recent = [t for t in failures if now - policy.failure_window < t <= now]
    return len(recent) >= policy.failure_threshold


def _count_failure(
    record: Record, error: GatewayError, policy: Policy, now: float, *, last: bool
) -> None:
    since = now - policy.failure_window
    failures = [t for t in record.get("failures", []) if since < t <= now] + [now]
    record["failures"] = failures[-policy.failure_threshold :]
    on_probation = bool(record.get("strikes"))
    if (len(failures) >= policy.failure_threshold or on_probation) and not last:
        _cool(record, error, policy, now)


def _cool(record: Record, error: GatewayError, policy: Policy, now: float) -> None:
    """Each cool-down is twice as long as the last, until a request succeeds.

    Of several requests that fail together the first counts: the account was put aside
    only once.
    """
    strikes = record.get("strikes", 0) + (record["state"] == "ok")
    growth = 2 ** min(max(strikes - 1, 0), 10)
    asked = error.retry_after
    if asked is not None and error.guessed:
        asked *= growth
    pause = _clamped(asked, policy.cooldown * growth, policy)
    record["strikes"] = max(1, strikes)
    put_aside(record, "cooling", error, now, now + pause)


def _cool_model(
    record: Record, error: GatewayError, model: str, policy: Policy, now: float
) -> None:
    until = now + _clamped(error.retry_after, policy.cooldown, policy)
    models = record.setdefault("models", {})
    if until > models.get(model, (now, now))[1]:
        models[model] = [now, until]


def _clamped(asked: float | None, otherwise: float, policy: Policy) -> float:
    """Seconds to rest; "retry after 0 s" names no time."""
    wanted = asked if asked is not None and asked > 0 else otherwise
    return min(wanted, policy.max_cooldown)


def put_aside(
    record: Record,
    state: State,
    error: GatewayError,
    now: float,
    until: float | None,
) -> None:
    """Change the state with its reason; a dead or disabled account stays that way.

    A rest that was going to last longer stands: nothing shortens a cool-down.
    """
    if record["state"] in {"dead", "disabled"}:
        return
    held = record.get("until") if record["state"] in _ASIDE else None
    if until is not None and held is not None and held >= until:
        return
    record.update(
        state=state, reason=error.message, code=error.code, since=now, until=until
    )


def revive(record: Record) -> None:
    """Back to a clean slate, after a new token or by hand."""
    record.clear()
    record["state"] = "ok"
