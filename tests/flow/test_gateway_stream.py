"""An opened answer: whole, broken, closed at any moment; everything is given back."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from kimi_proxy.attempt import Trace
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    StateUnavailable,
    TokenRejected,
    UpstreamCut,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from kimi_proxy.events import Event, Finished, TextDelta, Usage, collect
from kimi_proxy.storage import Store
from tests.fakes import WHOLE, HandClock, Hold, MakeChat, Step
from tests.flow.stage import Stage, build_stage
from tests.flow.waiting import Caller, until

DELTAS = [TextDelta(text) for text in ("one ", "two ", "three")]
ANSWER: list[Event] = [*DELTAS, Usage(3, 3), Finished("stop")]
PLAY: Sequence[Step] = [MakeChat(), *ANSWER]


@pytest.fixture
def stage(hand: HandClock, hand_store: Store) -> Stage:
    stage = build_stage(hand.clock, hand_store, accounts={"fake": ("a",)})
    stage.provider.script = lambda call: PLAY
    return stage


def swept(stage: Stage, hand: HandClock) -> bool:
    """No chat is left once the sweeper had its time."""
    for _ in range(10):
        stage.sweeper.sweep()
        hand.advance(1)
    return not stage.provider.chats and not stage.store.live.scan("chat/")


def test_an_answer_comes_whole_and_in_order_and_all_is_given_back(
    stage: Stage, hand: HandClock
) -> None:
    trace = Trace()
    stream = stage.open(trace=trace)
    assert (stream.route.model, stream.account) == ("model", "a")
    assert list(stream) == ANSWER
    assert [a.outcome for a in trace.attempts] == ["ok"]
    assert stage.is_clean()
    assert swept(stage, hand)


def test_the_account_is_given_back_with_the_last_event_not_later(stage: Stage) -> None:
    stream = stage.open()
    for event in stream:
        if isinstance(event, Finished):
            assert stage.is_clean()


def test_what_comes_after_the_end_is_not_read(stage: Stage) -> None:
    stage.provider.script = lambda call: [*PLAY, TextDelta("too much")]
    assert list(stage.open()) == ANSWER


def test_an_iterator_that_goes_on_after_its_end_is_not_read_either(
    stage: Stage,
) -> None:
    more: Iterator[Event] = iter([*ANSWER, TextDelta("too much")])
    stage.provider.stream = lambda request, lease: more  # type: ignore[method-assign]
    assert list(stage.open()) == ANSWER
    assert stage.is_clean()


@pytest.mark.parametrize("events", range(1, len(ANSWER)))
def test_a_provider_that_ends_without_finishing_is_a_cut(
    stage: Stage, hand: HandClock, events: int
) -> None:
    stage.provider.script = lambda call: PLAY[: events + 1]
    stream = stage.open()
    with pytest.raises(UpstreamCut):
        collect(stream)
    assert list(stream) == []
    assert stage.is_clean()
    assert swept(stage, hand)


def test_a_provider_that_says_nothing_at_all_is_a_cut(stage: Stage) -> None:
    stage.provider.script = lambda call: []
    with pytest.raises(UpstreamCut, match="without an answer"):
        stage.open()
    assert stage.is_clean()


@pytest.mark.parametrize("read", range(len(ANSWER) + 1))
def test_closing_at_any_moment_gives_everything_back(
    stage: Stage, hand: HandClock, read: int
) -> None:
    trace = Trace()
    stream = stage.open(trace=trace)
    assert [next(stream) for _ in range(read)] == ANSWER[:read]
    stream.close()
    stream.close()
    assert list(stream) == []
    assert stage.is_clean()
    assert stage.states() == {"a": "ok"}
    outcome = "ok" if read == len(ANSWER) else "client_gone"
    assert [a.outcome for a in trace.attempts] == [outcome]
    assert swept(stage, hand)


def test_closing_for_a_reason_holds_the_reason_against_the_account(
    stage: Stage,
) -> None:
    trace = Trace()
    stream = stage.open(trace=trace)
    stream.close(UpstreamRateLimited("slow down"))
    assert stage.states() == {"a": "cooling"}
    assert [a.outcome for a in trace.attempts] == ["upstream_rate_limited"]


def test_closing_after_the_time_is_up_says_so(stage: Stage, hand: HandClock) -> None:
    trace = Trace()
    stream = stage.open(scope=stage.scope(total=60), trace=trace)
    hand.advance(61)
    stream.close()
    assert [a.outcome for a in trace.attempts] == ["upstream_timeout"]


def test_a_cancelled_scope_is_the_reason_whatever_breaks_by_it(
    stage: Stage,
) -> None:
    scope, trace = stage.scope(), Trace()

    def break_off(call: Any) -> Iterator[Step]:
        yield from PLAY[:2]
        scope.cancel(ClientGone("left"))
        raise UpstreamCut("a socket was shut under it")

    stage.provider.script = break_off
    stream = stage.open(scope=scope, trace=trace)
    next(stream)
    with pytest.raises(GatewayError):
        next(stream)
    assert [a.outcome for a in trace.attempts] == ["client_gone"]
    record = stage.store.live.get("pool/fake")["accounts"]["a"]  # type: ignore[index]
    assert not record.get("failures")


@pytest.mark.parametrize("before", [0, 1])
def test_a_defect_frees_the_slot_and_costs_the_account_nothing(
    stage: Stage, hand: HandClock, before: int
) -> None:
    stage.provider.script = lambda call: [*PLAY[: before + 1], KeyError("a defect")]
    trace = Trace()
    with pytest.raises(KeyError):
        collect(stage.open(trace=trace))
    assert stage.is_clean()
    assert stage.states() == {"a": "ok"}
    assert [a.outcome for a in trace.attempts] == ["internal_error"]
    assert swept(stage, hand)


@pytest.mark.parametrize("error", [UpstreamTimeout("slow"), ValueError("a defect")])
@pytest.mark.parametrize("whole", [True, False])
def test_a_provider_that_fails_at_cleaning_up_keeps_no_slot(
    stage: Stage, error: BaseException, whole: bool
) -> None:
    stage.provider.faults["close"] = [error]
    stream = stage.open()
    is_defect = isinstance(error, ValueError)
    try:
        list(stream) if whole else stream.close()
    except ValueError:
        assert is_defect
    else:
        assert not is_defect, "an upstream's error is not the client's business"
    assert stage.is_clean()


def test_a_store_that_fails_at_the_end_spoils_no_answer(
    stage: Stage, hand: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    stream = stage.open()
    with monkeypatch.context() as patched:
        for method in ("update", "put"):
            patched.setattr(stage.store.live, method, fail)
        assert list(stream) == ANSWER
    stage.pool.beat()
    assert stage.is_clean()
    assert swept(stage, hand)


def test_an_answer_nobody_ever_read_is_given_back_when_closed(stage: Stage) -> None:
    stream = stage.open()
    assert not stage.is_clean()
    stream.close()
    assert stage.is_clean()


def test_a_second_start_after_a_renewal_leaves_no_chat_of_the_first(
    stage: Stage, hand: HandClock
) -> None:
    plays = [[MakeChat(), TokenRejected("refused")], PLAY]
    stage.provider.script = lambda call: plays.pop(0)
    assert list(stage.open()) == ANSWER
    assert len(stage.provider.chats) == 2
    assert swept(stage, hand)


@pytest.fixture
def real(store: Store) -> Stage:
    """The real clock and either store, one account."""
    return build_stage(Clock(), store, accounts={"fake": ("a",)}, wait=60)


def leave(stage: Stage, scope: Any, caller: Caller) -> None:
    scope.cancel(ClientGone("left"))
    assert isinstance(caller.error(), ClientGone)
    until(stage.is_clean)
    assert stage.states()["a"] in {"ok", "refreshing"}


def test_leaving_the_queue_frees_everything(real: Stage) -> None:
    slot, scope = real.pool.lease("model", real.scope()), real.scope()
    caller = Caller(lambda: real.open(scope=scope))
    until(lambda: real.store.live.get("pool/fake")["waiters"])  # type: ignore[index]
    scope.cancel(ClientGone("left"))
    assert isinstance(caller.error(), ClientGone)
    real.pool.finish(slot, None, proven=False)
    assert real.is_clean()
    assert real.tried() == []


def test_leaving_during_a_renewal_frees_the_slot_and_the_renewal_goes_on(
    real: Stage,
) -> None:
    plays = [[TokenRejected("refused")], WHOLE]
    real.provider.script = lambda call: plays.pop(0)
    real.provider.renewing.clear()
    scope = real.scope()
    caller = Caller(lambda: real.open(scope=scope))
    until(lambda: real.provider.renewals)
    leave(real, scope, caller)
    real.provider.renewing.set()
    until(lambda: real.access_of("a") == "fake-access-1")
    assert collect(real.open()).text == "hello"
    assert real.provider.calls[-1].credential.access == "fake-access-1"


@pytest.mark.parametrize("heard", [0, 1])
def test_leaving_before_or_after_the_first_event_frees_everything(
    real: Stage, heard: int
) -> None:
    hold = Hold(threading.Event())
    real.provider.script = lambda call: [*PLAY[: heard + 1], hold, *ANSWER]
    scope = real.scope()
    caller = Caller(lambda: collect(real.open(scope=scope)))
    until(hold.reached.is_set)
    leave(real, scope, caller)


def test_the_next_in_line_gets_the_account_of_who_left(real: Stage) -> None:
    hold = Hold(threading.Event())
    plays = [[hold], WHOLE]
    real.provider.script = lambda call: plays.pop(0)
    scope = real.scope()
    first = Caller(lambda: real.open(scope=scope))
    until(hold.reached.is_set)
    second = Caller(lambda: collect(real.open()).text)
    until(lambda: real.store.live.get("pool/fake")["waiters"])  # type: ignore[index]
    scope.cancel(ClientGone("left"))
    assert isinstance(first.error(), ClientGone)
    assert second.result() == "hello"
    assert real.is_clean()


def test_forty_requests_at_once_share_three_accounts(store: Store) -> None:
    stage = build_stage(Clock(), store, wait=60)
    callers = [Caller(lambda: collect(stage.open()).text) for _ in range(40)]
    assert {caller.result() for caller in callers} == {"hello"}
    assert len(stage.tried()) == 40
    assert stage.is_clean()
    stage.sweeper.sweep()
    assert stage.provider.chats == {}


def test_a_stream_that_is_dropped_unclosed_at_least_stops_its_upstream(
    stage: Stage,
) -> None:
    stream = stage.open()
    next(stream)
    del stream
    gc.collect()
    assert stage.provider.running == 0
