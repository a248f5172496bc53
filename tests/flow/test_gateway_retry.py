"""The retry law: who is tried after which error, and who is not."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from kimi_proxy import errors
from kimi_proxy.attempt import Trace
from kimi_proxy.errors import (
    AccountBusy,
    ClientGone,
    ContentRefused,
    GatewayError,
    ModelNotFound,
    ModelRateLimited,
    PoolCooling,
    StateUnavailable,
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamRateLimited,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.storage import Store
from tests.fakes import WHOLE, HandClock, MakeChat
from tests.flow.stage import Stage, build_stage, by_account, failing, in_turn, said

ANSWER = [TextDelta("hello"), Finished("stop")]
PARTIAL = [TextDelta("hel")]

ANOTHER_ACCOUNT = """
    UpstreamError UpstreamUnreachable UpstreamTimeout UpstreamFailed UpstreamCut
    UpstreamGarbled UpstreamBlocked UpstreamOverloaded UpstreamRateLimited
    ModelRateLimited AccountBusy AccountExhausted ModelExhausted StorageFull FileLost
    UpstreamForbidden ModelForbidden ModelUnavailable AccountSuspended TokenDead
""".split()
RENEWED = ["TokenRejected"]
NEXT_ROUTE = """
    Unsupported ContextTooLong ModelNotFound InvalidAnswer UpstreamMoved
    UpstreamNotFound UpstreamUnsupported GatewayForbidden GatewayError
    PoolError PoolBusy PoolCooling PoolEmpty
""".split()
RAISED = """
    ClientError InvalidRequest ContentRefused InvalidKey Forbidden NotFound
    MethodNotAllowed RequestTimeout ConversationBusy PayloadTooLarge
    UnsupportedMediaType
    RateLimited ClientGone UpstreamRejected InternalError StateUnavailable
    OutOfMemory ShuttingDown
""".split()
KINDS = {
    name: kind
    for name, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GatewayError)
}


@pytest.fixture
def stage(hand: HandClock, hand_store: Store) -> Stage:
    return build_stage(hand.clock, hand_store)


@pytest.fixture
def routes(hand: HandClock, hand_store: Store) -> Stage:
    """Two upstreams of two accounts each, one behind the other."""
    return build_stage(
        hand.clock,
        hand_store,
        accounts={"fake": ("a", "b"), "spare": ("x", "y")},
        aliases={"best": ("fake/model", "spare/model")},
    )


def test_the_table_names_every_error_once() -> None:
    named = ANOTHER_ACCOUNT + RENEWED + NEXT_ROUTE + RAISED
    assert sorted(named) == sorted(KINDS)


@pytest.mark.parametrize("kind", ANOTHER_ACCOUNT)
def test_before_the_first_event_another_account_is_tried(
    stage: Stage, kind: str
) -> None:
    stage.provider.script = in_turn(failing(KINDS[kind]("why")), WHOLE)
    trace = Trace()
    assert stage.answer(trace=trace) == ANSWER
    first, second = stage.tried()
    assert first != second
    assert [a.outcome for a in trace.attempts] == [KINDS[kind].code, "ok"]
    assert stage.is_clean()


@pytest.mark.parametrize("kind", RENEWED)
def test_a_refused_access_token_is_renewed_and_the_same_account_asked_again(
    stage: Stage, kind: str
) -> None:
    stage.provider.script = in_turn(failing(KINDS[kind]("refused")), WHOLE)
    trace = Trace()
    assert stage.answer(trace=trace) == ANSWER
    asked = [said(call) for call in stage.provider.calls]
    assert asked == ["a:fake-access-a", "a:fake-access-1"]
    assert [a.outcome for a in trace.attempts] == ["ok"]
    assert stage.states()["a"] == "ok"


@pytest.mark.parametrize("kind", NEXT_ROUTE)
def test_what_no_account_of_an_upstream_can_do_goes_to_the_next_route(
    routes: Stage, kind: str
) -> None:
    routes.provider.script = lambda call: [KINDS[kind]("why")]
    assert routes.answer("best") == ANSWER
    assert routes.tried() == ["a"]
    assert routes.tried("spare") == ["x"]
    assert routes.is_clean()


@pytest.mark.parametrize("kind", RAISED)
def test_what_nobody_else_could_do_better_is_raised_at_once(
    routes: Stage, kind: str
) -> None:
    routes.provider.script = lambda call: [KINDS[kind]("why")]
    with pytest.raises(KINDS[kind], match="why"):
        routes.open("best")
    assert routes.tried() == ["a"]
    assert routes.tried("spare") == []
    assert routes.states() == {"a": "ok", "b": "ok"}
    assert routes.is_clean()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_after_the_first_event_nothing_is_ever_tried_again(
    routes: Stage, kind: str
) -> None:
    routes.provider.script = lambda call: [MakeChat(), *PARTIAL, KINDS[kind]("why")]
    stream = routes.open("best")
    assert next(stream) == PARTIAL[0]
    with pytest.raises(KINDS[kind], match="why"):
        next(stream)
    assert routes.tried() == ["a"]
    assert routes.tried("spare") == []
    assert routes.is_clean()
    routes.sweeper.sweep()
    assert KINDS[kind].penalty != "none" or routes.states()["a"] == "ok"


def test_an_account_is_never_tried_twice(stage: Stage) -> None:
    stage.provider.script = lambda call: [UpstreamCut("cut")]
    with pytest.raises(UpstreamCut):
        stage.open()
    assert sorted(stage.tried()) == ["a", "b", "c"]


def test_an_account_that_was_busy_elsewhere_is_tried_again_after_a_pause(
    hand: HandClock, hand_store: Store
) -> None:
    stage = build_stage(hand.clock, hand_store, accounts={"fake": ("a",)}, wait=30)
    stage.provider.script = in_turn(
        failing(AccountBusy("busy", retry_after=0.001)), WHOLE
    )
    ticking = stage.pool._documents.get

    def tick(key: str) -> Any:
        hand.advance(0.001)
        return ticking(key)

    stage.pool._documents.get = tick  # type: ignore[method-assign]
    assert stage.answer() == ANSWER
    assert stage.tried() == ["a", "a"]


def test_a_refused_token_is_renewed_once_then_another_account_has_its_turn(
    stage: Stage,
) -> None:
    stage.provider.script = by_account(
        {"a": [TokenRejected("refused")], "b": WHOLE, "c": WHOLE}
    )
    assert stage.answer() == ANSWER
    asked = [said(call) for call in stage.provider.calls]
    assert asked == ["a:fake-access-a", "a:fake-access-1", "b:fake-access-b"]
    assert stage.states() == {"a": "cooling", "b": "ok", "c": "ok"}


def test_an_account_whose_log_in_is_over_is_buried_and_nobody_notices(
    stage: Stage,
) -> None:
    stage.provider.dead = {"fake-refresh-a"}
    stage.provider.script = by_account(
        {"a": [TokenRejected("refused")], "b": WHOLE, "c": WHOLE}
    )
    for _ in range(4):
        assert stage.answer() == ANSWER
    assert stage.tried().count("a") == 1
    assert stage.pool.state("a").reason == "log in again"


def test_an_account_without_a_way_to_renew_is_passed_over(stage: Stage) -> None:
    backend = stage.gateway._backends["fake"]
    for name, account in backend.accounts.items():
        backend.accounts[name] = type(account)(  # type: ignore[index]
            "fake", name, account.vault, account.pool, None
        )
    stage.provider.script = in_turn(failing(TokenRejected("refused")), WHOLE)
    assert stage.answer() == ANSWER
    assert stage.tried() == ["a", "b"]
    assert stage.provider.renewals == []


@pytest.mark.parametrize(("accounts", "attempts"), [(1, 1), (5, 5), (30, 10)])
def test_the_attempts_are_bounded(
    hand: HandClock, hand_store: Store, accounts: int, attempts: int
) -> None:
    names = [f"account-{number}" for number in range(accounts)]
    stage = build_stage(hand.clock, hand_store, accounts={"fake": names})
    stage.provider.script = lambda call: [UpstreamUnreachable("no route")]
    with pytest.raises(UpstreamUnreachable):
        stage.open()
    assert len(stage.tried()) == attempts


def test_routes_share_one_budget(hand: HandClock, hand_store: Store) -> None:
    many = [f"account-{number}" for number in range(20)]
    stage = build_stage(
        hand.clock,
        hand_store,
        accounts={"fake": many, "spare": many},
        aliases={"best": ("fake/model", "spare/model")},
    )
    for provider in stage.providers.values():
        provider.script = lambda call: [UpstreamUnreachable("no route")]
    with pytest.raises(UpstreamUnreachable):
        stage.open("best")
    assert len(stage.tried()) + len(stage.tried("spare")) == 10


def test_when_the_time_is_up_nobody_else_is_tried(
    stage: Stage, hand: HandClock
) -> None:
    def slow(call: Any) -> Any:
        hand.advance(40)
        yield UpstreamUnreachable("no route")

    stage.provider.script = slow
    with pytest.raises(UpstreamTimeout, match="longer than 60 s"):
        stage.open(scope=stage.scope(total=60))
    assert len(stage.tried()) == 2
    assert stage.states() == dict.fromkeys("abc", "ok")


def test_the_clock_of_the_first_content_does_not_run_in_the_queue(
    hand: HandClock, hand_store: Store
) -> None:
    stage = build_stage(hand.clock, hand_store, accounts={"fake": ("a",)}, wait=90)

    def slow(call: Any) -> Any:
        hand.advance(8)
        yield AccountBusy("busy", retry_after=60)

    stage.provider.script = lambda call: (
        slow(call) if len(stage.tried()) == 1 else WHOLE
    )
    documents = stage.pool._documents
    look = documents.get

    def tick(key: str) -> Any:
        hand.advance(5)
        return look(key)

    documents.get = tick  # type: ignore[method-assign]
    assert stage.answer(scope=stage.scope(first_content=10)) == ANSWER


def test_an_unknown_model_reaches_no_upstream(stage: Stage) -> None:
    with pytest.raises(ModelNotFound):
        stage.open("fake/unheard-of")
    assert stage.tried() == []


def test_a_store_that_fails_is_not_an_upstream_that_fails(
    routes: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    monkeypatch.setattr(routes.store.live, "update", fail)
    with pytest.raises(StateUnavailable):
        routes.open("best")
    assert routes.tried() == routes.tried("spare") == []


def test_a_refusal_of_the_content_is_not_taken_elsewhere(routes: Stage) -> None:
    routes.provider.script = lambda call: [ContentRefused("no")]
    with pytest.raises(ContentRefused):
        routes.open("best")
    assert routes.tried("spare") == []


def test_penalties_reach_the_pool(stage: Stage) -> None:
    stage.provider.script = by_account(
        {
            "a": [UpstreamRateLimited("slow", retry_after=300)],
            "b": [ModelRateLimited("slow", retry_after=300)],
            "c": [TokenDead("log in")],
        }
    )
    with pytest.raises(GatewayError):
        stage.open()
    assert stage.states() == {"a": "cooling", "b": "ok", "c": "dead"}
    with pytest.raises(PoolCooling):
        stage.open()
    assert len(stage.tried()) == 3, "a cooled account is not asked"


def test_a_client_that_left_before_the_first_event_is_held_against_nobody(
    stage: Stage,
) -> None:
    scope, gone = stage.scope(), ClientGone("left")

    def leave(call: Any) -> Any:
        scope.cancel(gone)
        yield UpstreamRateLimited("this only looks like a limit")

    stage.provider.script = leave
    with pytest.raises(GatewayError):
        stage.open(scope=scope)
    assert len(stage.tried()) == 1
    assert stage.states() == dict.fromkeys("abc", "ok")
    assert stage.is_clean()


def test_a_timeout_before_the_first_event_lets_another_account_try(
    stage: Stage, hand: HandClock
) -> None:
    def silent(call: Any) -> Any:
        hand.advance(11)
        yield TextDelta("too late")

    stage.provider.script = lambda call: silent(call) if call.account == "a" else WHOLE
    assert stage.answer(scope=stage.scope(first_content=10)) == ANSWER
    assert stage.tried() == ["a", "b"]


def test_what_the_upstream_does_not_honour_is_told(routes: Stage) -> None:
    trace = Trace()
    sampling = {"temperature": 1, "top_p": 1, "seed": 7}
    routes.answer("best", trace=trace, sampling=sampling)
    assert trace.ignored == ("seed", "top_p")
