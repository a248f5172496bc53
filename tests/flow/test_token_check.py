"""/token/check: the truth about a token, asked for at most once in ten minutes."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

import pytest

from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    GatewayError,
    InvalidRequest,
    TokenDead,
    TokenRejected,
    Unsupported,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from kimi_proxy.pool import Pool
from kimi_proxy.providers.base import Credential
from kimi_proxy.storage import Store
from kimi_proxy.token_check import Checked, TokenChecker
from kimi_proxy.vault import Vault
from kimi_proxy.worker import Worker
from tests.fakes import FakeProvider, HandClock, make_scope
from tests.flow.pools import make_pool
from tests.flow.waiting import Caller, until

OWN = Credential(access="fake-access-own", refresh="fake-refresh-own")
FOREIGN = "fake-refresh-foreign"


@dataclass(slots=True)
class Desk:
    hand: HandClock
    store: Store
    provider: FakeProvider
    pool: Pool
    vault: Vault
    checker: TokenChecker

    def report(self, text: str = FOREIGN) -> Any:
        return self.checker.report(text)


def open_desk(hand: HandClock, store: Store, *names: str, **seeds: Credential) -> Desk:
    """A checker over providers of these names; the first one has the accounts."""
    checked = []
    for name in names or ("fake",):
        provider = FakeProvider(name, hand.now)
        own = (seeds or {"a": OWN}) if not checked else {"z": Credential(access="z")}
        pool = Pool(
            provider=name,
            names=tuple(own),
            policy=make_pool(store).policy,
            documents=store.live,
            worker=Worker(),
            clock=hand.clock,
        )
        vault = Vault(
            provider=name, seeds=own, documents=store.durable, clock=hand.clock
        )
        checked.append(Checked(name, provider, pool, vault))
    first = checked[-1] if names else checked[0]
    provider: Any = first.provider
    checker = TokenChecker(checked, store.live, Worker(), hand.clock)
    return Desk(hand, store, provider, checked[0].pool, checked[0].vault, checker)


@pytest.fixture
def desk(hand: HandClock, hand_store: Store) -> Desk:
    return open_desk(hand, hand_store)


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (None, (True, "ok", None)),
        (TokenRejected("refused"), (False, "dead", "refused")),
        (TokenDead("log in again"), (False, "dead", "log in again")),
        (AccountExhausted("no money"), (False, "exhausted", "no money")),
        (AccountSuspended("banned"), (False, "disabled", "banned")),
        (UpstreamUnreachable("no route"), (False, "unknown", "no route")),
        (UpstreamRateLimited("slow"), (False, "unknown", "slow")),
    ],
)
def test_a_verdict_says_what_and_why_and_stands_for_ten_minutes(
    desk: Desk, fault: GatewayError | None, expected: tuple[Any, ...]
) -> None:
    desk.provider.faults["check_token"] = [fault] if fault else []
    asked_at = desk.hand.now()
    for _ in range(2):
        report = desk.report()
        assert (report["live"], report["state"], report["reason"]) == expected
        assert report["checked_at"] == asked_at
        desk.hand.advance(599)
    assert len(desk.provider.checks) == 1
    desk.hand.advance(2)
    assert desk.report()["live"]
    assert len(desk.provider.checks) == 2


@pytest.mark.parametrize(
    ("text", "kind", "renewable"),
    [
        ("fake-access-x", "access", False),
        ("fake-refresh-x", "refresh", True),
        ("fake-access-x,fake-refresh-x", "access+refresh", True),
    ],
)
def test_a_report_describes_what_was_pasted(
    desk: Desk, text: str, kind: str, renewable: bool
) -> None:
    report = desk.report(text)
    assert (report["kind"], report["renewable"]) == (kind, renewable)
    assert report["account"] is None
    assert "fake-" not in str(report)


def test_one_token_is_asked_about_once_in_whatever_company_it_comes(
    desk: Desk,
) -> None:
    assert desk.report("fake-access-x,fake-refresh-x")["live"]
    assert desk.report("fake-access-x")["live"]
    assert desk.report("fake-refresh-x,fake-access-x")["live"]
    assert len(desk.provider.checks) == 1


def test_different_tokens_have_verdicts_of_their_own(desk: Desk) -> None:
    desk.provider.faults["check_token"] = [TokenDead("log in")]
    assert not desk.report("fake-refresh-x")["live"]
    assert desk.report("fake-refresh-y")["live"]


def test_many_threads_and_workers_ask_once(desk: Desk) -> None:
    other = TokenChecker(
        desk.checker._checked, desk.store.live, Worker(), desk.hand.clock
    )
    gate = threading.Event()
    check = desk.provider.check_token

    def held(credential: Credential, scope: Any) -> None:
        check(credential, scope)
        gate.wait(20)

    desk.provider.check_token = held  # type: ignore[method-assign]
    callers = [
        Caller(lambda c=c: c.report(FOREIGN)) for c in [desk.checker, other] * 10
    ]
    until(lambda: desk.provider.checks)
    gate.set()
    assert all(caller.result()["live"] for caller in callers)
    assert len(desk.provider.checks) == 1


def test_two_stores_on_one_file_ask_once(store: Store, hand: HandClock) -> None:
    first, second = open_desk(hand, store), open_desk(hand, store)
    assert first.report()["live"]
    assert second.report()["live"]
    assert second.provider.checks == []


def test_a_worker_that_died_over_it_may_have_asked_so_nobody_asks_again(
    desk: Desk,
) -> None:
    key = _key_of_the_check(desk)
    host = Worker().id.rsplit(":", 2)[0]
    dead = f"{host}:{2**22 + 1}:5.0123abcd"
    desk.store.live.put(key, {"asking": dead, "since": 1.0}, ttl=600)
    report = desk.report()
    assert (report["live"], report["state"]) == (False, "unknown")
    assert "not finished" in report["reason"]
    assert len(desk.provider.checks) == 1


def _key_of_the_check(desk: Desk) -> str:
    desk.report()
    ((key, _),) = desk.store.live.scan("check/")
    return key


def test_one_who_takes_too_long_is_not_waited_for_forever(desk: Desk) -> None:
    key = _key_of_the_check(desk)
    asking = {"asking": Worker().id, "since": desk.hand.now()}
    desk.store.live.put(key, asking, ttl=600)
    looks: list[str] = []
    get = desk.store.live.get

    def look(key: str) -> Any:
        looks.append(key)
        return get(key)

    desk.store.live.get = look  # type: ignore[method-assign]
    caller = Caller(desk.report)
    until(lambda: key in looks)
    desk.hand.advance(21)
    assert caller.result()["state"] == "unknown"


def test_a_defect_is_raised_once_and_then_unknown(desk: Desk) -> None:
    desk.provider.faults["check_token"] = [KeyError("a defect")]
    with pytest.raises(KeyError):
        desk.report()
    report = desk.report()
    assert (report["state"], report["reason"]) == (
        "unknown",
        "the check failed by a defect",
    )


def test_an_expired_token_that_cannot_be_renewed_is_dead_without_asking(
    desk: Desk,
) -> None:
    _expire(desk, desk.hand.now())
    report = desk.report("fake-access-x")
    assert (report["live"], report["state"]) == (False, "dead")
    assert "expired" in report["reason"]
    assert desk.provider.checks == []


def test_of_an_expired_pair_the_refresh_token_counts(desk: Desk) -> None:
    _expire(desk, desk.hand.now())
    assert desk.report("fake-access-x,fake-refresh-x")["live"]
    (asked,) = desk.provider.checks
    assert (asked.access, asked.refresh) == (None, "fake-refresh-x")


def _expire(desk: Desk, at: float) -> None:
    read = desk.provider.read_token

    def expiring(text: str) -> Credential:
        return replace(read(text), access_expires=at)

    desk.provider.read_token = expiring  # type: ignore[method-assign]


def rest(desk: Desk, error: GatewayError) -> None:
    slot = desk.pool.lease("m", make_scope(desk.hand.clock))
    desk.pool.finish(slot, error, proven=False)


@pytest.mark.parametrize(
    ("error", "live", "state"),
    [
        (None, True, "ok"),
        (UpstreamRateLimited("slow", retry_after=60), True, "cooling"),
        (TokenDead("log in again"), False, "dead"),
    ],
)
def test_an_own_account_is_answered_from_the_pool(
    desk: Desk, error: GatewayError | None, live: bool, state: str
) -> None:
    if error is not None:
        rest(desk, error)
    report = desk.report("fake-refresh-own")
    assert (report["account"], report["live"], report["state"]) == ("a", live, state)
    assert report["reason"] == (error.message if error else None)
    assert report["until"] == (desk.hand.now() + 60 if state == "cooling" else None)
    assert desk.provider.checks == []


def test_an_own_account_is_known_by_a_token_it_no_longer_has(desk: Desk) -> None:
    for number in range(5):
        desk.vault.save("a", Credential(refresh=f"fake-refresh-{number}"))
    assert desk.report("fake-refresh-1")["account"] == "a"
    assert desk.provider.checks == []


def test_an_own_token_that_ran_out_for_good_is_dead_before_anybody_tries_it(
    hand: HandClock, hand_store: Store
) -> None:
    own = Credential(access="fake-access-own", access_expires=hand.now() + 10)
    desk = open_desk(hand, hand_store, a=own)
    assert desk.report("fake-access-own")["live"]
    hand.advance(10)
    report = desk.report("fake-access-own")
    assert (report["live"], report["state"]) == (False, "dead")
    assert report["expires_at"] == hand.now()


def test_the_provider_whose_account_it_is_answers_for_a_token(
    hand: HandClock, hand_store: Store
) -> None:
    desk = open_desk(hand, hand_store, "one", "two")
    desk.checker = TokenChecker(
        desk.checker._checked[::-1], hand_store.live, Worker(), hand.clock
    )
    report = desk.report("fake-refresh-own")
    assert report["account"] == "a"
    assert desk.provider.checks == []


def test_text_that_is_no_token_is_refused_without_being_repeated(desk: Desk) -> None:
    with pytest.raises(InvalidRequest) as caught:
        desk.report("some secret that is no token")
    assert caught.value.param == "token"
    assert "secret" not in str(caught.value)


def test_without_a_provider_that_has_tokens_nothing_can_be_checked(
    hand: HandClock, hand_store: Store
) -> None:
    checker = TokenChecker([], hand_store.live, Worker(), hand.clock)
    with pytest.raises(Unsupported):
        checker.report("fake-access-x")


def test_no_token_lies_about_in_the_cache(desk: Desk) -> None:
    desk.report("fake-access-x,fake-refresh-x")
    assert "fake-" not in str(desk.store.live.scan(""))


class OtherProvider(FakeProvider):
    """Of another kind, though it understands the same texts."""


def test_a_token_that_several_kinds_may_have_issued_is_shown_to_none(
    hand: HandClock, hand_store: Store
) -> None:
    desk = open_desk(hand, hand_store, "one", "two")
    first, second = desk.checker._checked
    other = OtherProvider("two", hand.now)
    desk.checker._checked = (first, replace(second, provider=other))
    with pytest.raises(InvalidRequest, match="name one of one, two") as caught:
        desk.report()
    assert caught.value.param == "provider"
    assert desk.checker.report(FOREIGN, "two")["live"] is True
    assert desk.checker.report("fake-access-own")["account"] == "a"
    with pytest.raises(InvalidRequest, match="no provider"):
        desk.checker.report(FOREIGN, "three")


class Hasty(FakeProvider):
    """Reads no token, for a reason of its own."""

    def read_token(self, text: str) -> Credential:
        raise ValueError("this is no key of mine")


def test_each_provider_says_why_a_text_is_no_token_of_its_own(
    hand: HandClock, hand_store: Store
) -> None:
    desk = open_desk(hand, hand_store, "one", "two")
    first, second = desk.checker._checked
    hasty = replace(second, provider=Hasty("two", hand.now))
    desk.checker._checked = (first, hasty)
    with pytest.raises(InvalidRequest, match=r"one: .+; two: this is no"):
        desk.report("some secret that is no token")
    desk.checker._checked = (hasty, hasty)
    with pytest.raises(InvalidRequest, match=r"\Athis is no key of mine\Z"):
        desk.report("some secret that is no token")
