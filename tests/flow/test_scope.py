"""One request's life: its deadlines and its end."""

from __future__ import annotations

import threading
import time

import pytest

from kimi_proxy.errors import ClientGone, UpstreamCut, UpstreamTimeout
from kimi_proxy.scope import Scope, Timeouts
from tests.fakes import HandClock, make_scope
from tests.flow.waiting import Caller


@pytest.fixture
def scope(hand: HandClock) -> Scope:
    return make_scope(hand.clock, total=100, first_content=30)


def test_a_fresh_scope_lets_everything_pass(scope: Scope) -> None:
    scope.check()
    assert not scope.cancelled
    assert scope.reason is None
    assert scope.remaining() == 100


def test_the_first_reason_is_the_one_that_counts(scope: Scope) -> None:
    scope.cancel(ClientGone("left"))
    scope.cancel(UpstreamCut("later"))
    assert scope.cancelled
    assert isinstance(scope.reason, ClientGone)
    for call in (scope.check, lambda: scope.limit(1)):
        with pytest.raises(ClientGone):
            call()
    assert scope.overdue("x") is scope.reason


def test_a_pause_is_cut_short_by_the_end() -> None:
    within = Scope(Timeouts(total=60), time.monotonic)
    within.pause(0.001)
    threading.Timer(0.02, within.cancel, [ClientGone("left")]).start()
    started = time.monotonic()
    with pytest.raises(ClientGone):
        within.pause(50)
    assert time.monotonic() - started < 40


def test_a_pause_does_not_outlast_the_deadline() -> None:
    within = Scope(Timeouts(total=0.02), time.monotonic)
    with pytest.raises(UpstreamTimeout):
        within.pause(50)


def test_who_registered_is_woken_once_and_others_are_not_woken_again(
    scope: Scope,
) -> None:
    woken: list[str] = []
    scope.on_cancel(lambda: woken.append("a"))
    forget = scope.on_cancel(lambda: woken.append("b"))
    forget()
    forget()
    scope.cancel(ClientGone("left"))
    scope.cancel(ClientGone("again"))
    assert woken == ["a"]


def test_who_registers_too_late_is_woken_at_once(scope: Scope) -> None:
    scope.cancel(ClientGone("left"))
    woken: list[str] = []
    forget = scope.on_cancel(lambda: woken.append("late"))
    forget()
    assert woken == ["late"]


def test_nobody_is_missed_however_cancelling_and_registering_meet(
    hand: HandClock,
) -> None:
    for _ in range(200):
        scope, bell = make_scope(hand.clock), threading.Event()
        caller = Caller(lambda scope=scope: scope.cancel(ClientGone("left")))
        scope.on_cancel(bell.set)
        caller.result()
        assert bell.is_set()


def test_the_whole_request_has_a_deadline(scope: Scope, hand: HandClock) -> None:
    hand.advance(99)
    assert scope.limit(10) == 1
    hand.advance(1)
    with pytest.raises(UpstreamTimeout, match="longer than 100 s"):
        scope.check()
    with pytest.raises(UpstreamTimeout):
        scope.limit(10)


def test_the_first_content_has_a_deadline_of_its_own_for_each_attempt(
    scope: Scope, hand: HandClock
) -> None:
    scope.expect_content()
    hand.advance(29)
    assert scope.limit(60) == 1
    scope.expect_content()
    assert scope.limit(60) == 30
    hand.advance(31)
    with pytest.raises(UpstreamTimeout, match="no content within 30 s"):
        scope.check()


def test_once_there_is_content_only_the_whole_counts(
    scope: Scope, hand: HandClock
) -> None:
    scope.expect_content()
    scope.content_seen()
    hand.advance(31)
    scope.check()
    assert scope.remaining() == 69


def test_a_limit_is_what_the_deadlines_leave_and_never_nothing(
    scope: Scope, hand: HandClock
) -> None:
    assert scope.limit(5) == 5
    assert scope.limit(0) > 0
    hand.advance(99.9999)
    assert scope.limit(5) > 0


def test_a_wait_that_ran_out_names_the_deadline_that_passed(
    scope: Scope, hand: HandClock
) -> None:
    assert scope.overdue("silent").message == "silent"
    scope.expect_content()
    hand.advance(30)
    assert "no content within 30 s" in scope.overdue("silent").message
    hand.advance(71)
    assert isinstance(scope.overdue("silent"), UpstreamTimeout)


def test_the_sooner_of_two_deadlines_is_named(hand: HandClock) -> None:
    scope = make_scope(hand.clock, total=10, first_content=30)
    scope.expect_content()
    hand.advance(10)
    with pytest.raises(UpstreamTimeout, match="longer than 10 s"):
        scope.check()


def test_the_usual_timeouts_are_those_of_the_documentation() -> None:
    usual = Timeouts()
    assert (usual.connect, usual.headers, usual.first_content) == (10, 60, 120)
    assert (usual.idle, usual.total, usual.hold) == (60, 1800, 15)
