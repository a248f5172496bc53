"""What an error costs an account, and when it is over."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy import account_state, errors
from kimi_proxy.account_state import Policy
from kimi_proxy.blame import Penalty
from kimi_proxy.errors import (
    AccountBusy,
    AccountExhausted,
    ClientGone,
    GatewayError,
    ModelForbidden,
    ModelRateLimited,
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamRateLimited,
)

NOW = 1_700_000_000.0
POLICY = Policy(cooldown=60, max_cooldown=1800, failure_threshold=3, failure_window=60)

Record = dict[str, Any]


def fresh() -> Record:
    return {"state": "ok"}


def punish(
    record: Record, error: GatewayError, now: float = NOW, *, last: bool = False
) -> Record:
    account_state.punish(record, error, "m", POLICY, now, last=last)
    return record


def rest(record: Record, model: str = "m", now: float = NOW) -> float:
    return account_state.rests_until(record, model, now) - now


@pytest.mark.parametrize(
    ("asked", "pause"),
    [
        (None, 60.0),
        (7.5, 7.5),
        (600_000.0, 1800.0),
        (float("inf"), 1800.0),
        (0.0, 60.0),
        (-5.0, 60.0),
        (float("nan"), 60.0),
    ],
)
def test_a_cool_down_is_retry_after_or_the_back_off_but_at_most_the_maximum(
    asked: float | None, pause: float
) -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down", retry_after=asked))
    assert rest(record) == pause
    assert record["state"] == "cooling"


def test_the_back_off_doubles_from_one_cool_down_to_the_next_until_a_success() -> None:
    record, now, pauses = fresh(), NOW, []
    for _ in range(8):
        punish(record, UpstreamRateLimited("slow down"), now)
        pauses.append(rest(record, now=now))
        now = record["until"]
        account_state.settle(record, now)
    assert pauses == [60, 120, 240, 480, 960, 1800, 1800, 1800]
    account_state.praise(record)
    assert rest(punish(record, UpstreamRateLimited("again"), now), now=now) == 60


def test_a_time_that_is_only_guessed_doubles_until_a_success() -> None:
    record, now, pauses = fresh(), NOW, []
    for _ in range(6):
        error = UpstreamRateLimited("slow down", retry_after=1, guessed=True)
        punish(record, error, now)
        pauses.append(rest(record, now=now))
        now = record["until"]
        account_state.settle(record, now)
    assert pauses == [1, 2, 4, 8, 16, 32]


@pytest.mark.parametrize(("last", "pause"), [(False, 60), (True, 0)])
def test_a_model_that_an_account_lacks_rests_there_while_another_may_have_it(
    last: bool, pause: float
) -> None:
    record = punish(fresh(), ModelForbidden("not yours"), last=last)
    assert rest(record, "m") == pause
    assert rest(record, "other") == 0


def test_requests_that_fail_together_count_as_one() -> None:
    record = fresh()
    for _ in range(5):
        punish(record, UpstreamRateLimited("slow down"))
    assert rest(record) == 60
    assert record["strikes"] == 1


@pytest.mark.parametrize(
    "error", [AccountBusy("busy"), UpstreamRateLimited("x", retry_after=1)]
)
def test_nothing_shortens_a_rest_that_lasts_longer(error: GatewayError) -> None:
    record = punish(fresh(), AccountExhausted("quota", retry_after=900))
    punish(record, error)
    assert rest(record) == 900
    assert (record["state"], record["reason"]) == ("exhausted", "quota")


def test_a_longer_rest_replaces_a_shorter_one() -> None:
    record = punish(fresh(), AccountBusy("busy"))
    punish(record, AccountExhausted("quota", retry_after=900))
    assert rest(record) == 900
    assert record["state"] == "exhausted"


def test_used_elsewhere_means_a_few_seconds_and_no_probation() -> None:
    record = punish(fresh(), AccountBusy("busy"))
    assert rest(record) == 3
    assert not record.get("strikes")


def test_a_used_up_account_is_probed_after_the_maximum_at_the_latest() -> None:
    record = punish(fresh(), AccountExhausted("quota", retry_after=5 * 3600))
    assert rest(record) == 1800
    account_state.settle(record, record["until"])
    assert record["state"] == "ok"
    assert record["strikes"] == 1, "one request at a time until one succeeds"


def test_the_threshold_counts_failures_within_the_window_only() -> None:
    record = fresh()
    for at in (0, 10, 61, 62):
        punish(record, UpstreamCut("cut"), NOW + at)
        expected = "cooling" if at == 62 else "ok"
        assert record["state"] == expected, at


def test_failures_from_before_the_clock_was_set_back_do_not_count() -> None:
    record = fresh()
    punish(record, UpstreamCut("cut"), NOW)
    punish(record, UpstreamCut("cut"), NOW)
    punish(record, UpstreamCut("cut"), NOW - 3600)
    assert record["state"] == "ok"


def test_a_success_forgets_failures() -> None:
    record = fresh()
    for _ in range(5):
        punish(record, UpstreamCut("cut"))
        punish(record, UpstreamCut("cut"))
        account_state.praise(record)
    assert record["state"] == "ok"


def test_on_probation_one_failure_is_enough() -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down"))
    account_state.settle(record, NOW + 60)
    punish(record, UpstreamCut("cut"), NOW + 60)
    assert rest(record, now=NOW + 60) == 120


def test_the_last_account_is_not_put_aside_for_transient_failures() -> None:
    record = fresh()
    for _ in range(10):
        punish(record, UpstreamCut("cut"), last=True)
    assert record["state"] == "ok"
    punish(record, UpstreamCut("cut"), last=False)
    assert record["state"] == "cooling", "they counted all the same"


def test_even_the_last_account_rests_when_the_upstream_says_so() -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down"), last=True)
    assert record["state"] == "cooling"


def test_a_limit_of_one_model_leaves_the_others_alone() -> None:
    record = punish(fresh(), ModelRateLimited("slow down", retry_after=30))
    assert (rest(record, "m"), rest(record, "other")) == (30, 0)
    punish(record, ModelRateLimited("slow down", retry_after=5))
    assert rest(record, "m") == 30, "nothing shortens a cool-down"
    account_state.settle(record, NOW + 30)
    assert record["models"] == {}


def test_of_account_and_model_the_longer_rest_counts() -> None:
    record = punish(fresh(), ModelRateLimited("slow down", retry_after=300))
    punish(record, UpstreamRateLimited("slow down", retry_after=10))
    assert rest(record) == 300


def test_a_success_that_began_before_the_cool_down_does_not_end_the_probation() -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down"))
    account_state.praise(record)
    assert record["strikes"] == 1


@pytest.mark.parametrize("state", ["dead", "disabled"])
def test_nothing_but_a_revival_wakes_the_dead_and_the_disabled(state: str) -> None:
    record = {"state": state, "reason": "why", "until": None}
    for error in (UpstreamRateLimited("x"), AccountBusy("x"), AccountExhausted("x")):
        punish(record, error)
    account_state.praise(record)
    account_state.settle(record, NOW + 1e9)
    assert (record["state"], record["reason"]) == (state, "why")
    assert rest(record) == float("inf")
    account_state.revive(record)
    assert record == {"state": "ok"}


def test_death_overrules_a_cool_down() -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down"))
    punish(record, TokenDead("log in again"))
    assert (record["state"], record["code"]) == ("dead", "upstream_auth")
    assert record["until"] is None


def test_a_token_refused_even_after_its_renewal_rests() -> None:
    assert punish(fresh(), TokenRejected("refused"))["state"] == "cooling"


@given(st.floats(6, 1e6), st.floats(0.001, 3600))
def test_a_clock_that_was_set_back_prolongs_no_cool_down(
    jump: float, asked: float
) -> None:
    record = punish(fresh(), UpstreamRateLimited("slow down", retry_after=asked))
    punish(record, ModelRateLimited("slow down", retry_after=asked))
    pause = min(asked, 1800)
    account_state.settle(record, NOW - jump)
    assert rest(record, now=NOW - jump) <= pause + 1e-3
    account_state.settle(record, NOW - jump + pause + 1e-3)
    assert record["state"] == "ok"


def _concrete() -> list[type[GatewayError]]:
    found = [c for _, c in inspect.getmembers(errors, inspect.isclass)]
    return [c for c in found if issubclass(c, GatewayError)]


@pytest.mark.parametrize("kind", _concrete(), ids=lambda kind: kind.__name__)
def test_every_error_of_the_tree_does_to_the_account_what_its_penalty_says(
    kind: type[GatewayError],
) -> None:
    expected = {
        Penalty.NONE: "ok",
        Penalty.FAILURE: "ok",
        Penalty.BUSY: "cooling",
        Penalty.COOL: "cooling",
        Penalty.COOL_MODEL: "ok",
        Penalty.EXHAUSTED: "exhausted",
        Penalty.REFRESH: "cooling",
        Penalty.LACKS_MODEL: "ok",
        Penalty.DEAD: "dead",
        Penalty.DISABLED: "disabled",
    }
    record = punish(fresh(), kind("why"))
    assert record["state"] == expected[kind.penalty]
    if record["state"] != "ok":
        assert (record["reason"], record["code"]) == ("why", kind.code)


def test_a_client_that_left_is_held_against_nobody() -> None:
    assert punish(fresh(), ClientGone("left")) == fresh()
