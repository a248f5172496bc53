"""Any order of requests, ends, failures, deaths and time: the pool's laws hold."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from kimi_proxy import account_state, pool_state
from kimi_proxy.account_state import Policy
from kimi_proxy.errors import (
    AccountBusy,
    AccountExhausted,
    ModelRateLimited,
    TokenDead,
    UpstreamCut,
    UpstreamRateLimited,
)
from kimi_proxy.pool_state import Granted, Refused, Wish

NAMES = ("a", "b", "c")
MODELS = ("m", "n")
WORKERS = ("one", "two")
ERRORS = (
    lambda: None,
    lambda: UpstreamCut("cut"),
    lambda: UpstreamRateLimited("slow down"),
    lambda: UpstreamRateLimited("slow down", retry_after=5000),
    lambda: ModelRateLimited("slow down", retry_after=20),
    lambda: AccountBusy("busy"),
    lambda: AccountExhausted("quota"),
    lambda: TokenDead("log in"),
)
some_names = st.lists(st.sampled_from(NAMES), min_size=1, unique=True)


class PoolLaws(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.document = pool_state.empty()
        self.now = 1_700_000_000.0
        self.wishes: dict[str, Wish] = {}
        self.dead_workers: set[str] = set()
        self.counter = 0
        self.not_before: dict[tuple[str, str], float] = {}
        self.buried: set[str] = set()

    @initialize(
        strategy=st.sampled_from(["least-loaded", "round-robin", "in-order"]),
        concurrency=st.integers(1, 3),
    )
    def configure(self, strategy: Any, concurrency: int) -> None:
        self.policy = Policy(strategy=strategy, concurrency=concurrency, wait=1e9)

    def settle(self) -> None:
        alive = lambda worker, silence: worker not in self.dead_workers  # noqa: E731
        pool_state.settle(self.document, self.now, alive)

    @rule(
        names=some_names,
        model=st.sampled_from(MODELS),
        worker=st.sampled_from(WORKERS),
        prefer=st.none() | st.sampled_from(NAMES),
    )
    def request(
        self, names: list[str], model: str, worker: str, prefer: str | None
    ) -> None:
        self.counter += 1
        self.dead_workers.discard(worker)
        wish = Wish(f"w{self.counter:04}", worker, names, model, prefer)
        self.wishes[wish.id] = wish
        self.attempt(wish)

    def attempt(self, wish: Wish) -> None:
        self.settle()
        decision = pool_state.decide(self.document, wish, self.policy, self.now)
        match decision:
            case Granted(account):
                self.check_grant(wish, account)
                pool_state.grant(self.document, wish, account, self.now)
            case Refused(None):
                assert set(wish.names) <= self.buried
                pool_state.leave_queue(self.document, wish.id)
            case _:
                pool_state.enqueue(self.document, wish, self.now + 1e9, self.now)

    def check_grant(self, wish: Wish, account: str) -> None:
        assert account in wish.names
        assert account not in self.buried
        for model in (wish.model, "*"):
            assert self.now >= self.not_before.get((account, model), 0), "too early"
        for waiter in self.document["waiters"]:
            if waiter["id"] == wish.id:
                break
            assert not self.could_use(waiter, account), "somebody was overtaken"

    def could_use(self, waiter: dict[str, Any], account: str) -> bool:
        """Whether a place on the account is all an earlier waiter lacks."""
        winners = pool_state.assign(
            self.document, self.document["waiters"], self.policy, self.now
        )
        served = waiter["id"] in winners
        usable = pool_state.is_usable(self.document, account, waiter["model"], self.now)
        return account in waiter["names"] and usable and not served

    @rule(data=st.data(), make=st.sampled_from(ERRORS))
    def finish(self, data: st.DataObject, make: Any) -> None:
        leases = self.document["leases"]
        if not leases:
            return
        lease_id = data.draw(st.sampled_from(sorted(leases)))
        account = leases.pop(lease_id)["account"]
        self.settle()
        record = pool_state.account_of(self.document, account)
        model, error = self.wishes[lease_id].model, make()
        if error is None:
            account_state.praise(record)
            return
        last = not pool_state.others_usable(
            self.document, account, NAMES, model, self.now
        )
        account_state.punish(record, error, model, self.policy, self.now, last=last)
        self.remember(account, model, error, record)

    def remember(
        self, account: str, model: str, error: Any, record: dict[str, Any]
    ) -> None:
        longest = self.policy.max_cooldown
        match error:
            case TokenDead():
                self.buried.add(account)
            case ModelRateLimited(retry_after=asked):
                self.hold_until(account, model, asked)
            case UpstreamRateLimited(retry_after=asked):
                self.hold_until(account, "*", min(asked or 60, longest))
            case AccountBusy():
                self.hold_until(account, "*", 3)
            case AccountExhausted():
                self.hold_until(account, "*", longest)
        if record.get("until"):
            assert record["until"] <= self.now + longest, "too long a rest"

    def hold_until(self, account: str, model: str, seconds: float) -> None:
        known = self.not_before.get((account, model), 0)
        self.not_before[account, model] = max(known, self.now + seconds)

    @rule(data=st.data())
    def try_again(self, data: st.DataObject) -> None:
        waiting = [waiter["id"] for waiter in self.document["waiters"]]
        if waiting:
            self.attempt(self.wishes[data.draw(st.sampled_from(waiting))])

    @rule(data=st.data())
    def give_up(self, data: st.DataObject) -> None:
        waiting = [waiter["id"] for waiter in self.document["waiters"]]
        if waiting:
            pool_state.leave_queue(self.document, data.draw(st.sampled_from(waiting)))

    @rule(seconds=st.sampled_from([0.5, 3, 20, 60, 1800]))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(worker=st.sampled_from(WORKERS))
    def die(self, worker: str) -> None:
        self.dead_workers.add(worker)
        self.settle()
        held = self.document["leases"].values()
        assert worker not in {lease["worker"] for lease in held}
        assert worker not in {w["worker"] for w in self.document["waiters"]}

    @rule()
    def everybody_is_served_in_the_end(self) -> None:
        """When all leases end and all cool-downs pass, the queue drains in order."""
        self.document["leases"].clear()
        self.now += self.policy.max_cooldown
        self.settle()
        for _ in range(len(self.document["waiters"])):
            first = self.document["waiters"][0]
            self.attempt(self.wishes[first["id"]])
            assert first not in self.document["waiters"], "starved"
            self.document["leases"].clear()

    @invariant()
    def never_more_leases_than_places(self) -> None:
        taken = Counter(v["account"] for v in self.document["leases"].values())
        assert all(n <= self.policy.concurrency for n in taken.values())  # type: ignore[operator]


PoolLaws.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)
TestPoolLaws = PoolLaws.TestCase
