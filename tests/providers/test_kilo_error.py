"""Kilo's refusals, row by row (kilo sheet §2, §5, §7), before an answer and within."""

from collections.abc import Iterator

import pytest

from kimi_proxy.blame import Penalty
from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    GatewayError,
    TokenDead,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnsupported,
)
from kimi_proxy.events import Finished
from tests.providers import kilo_wire
from tests.providers.connect_account import words
from tests.providers.kilo_wire import KiloWire, asking, failure


@pytest.fixture
def wire() -> Iterator[KiloWire]:
    with kilo_wire.opened() as running:
        yield running


Row = tuple[int, type[GatewayError], int, Penalty]
ROWS: list[Row] = [
    (400, UpstreamRejected, 400, Penalty.NONE),
    (401, TokenDead, 503, Penalty.DEAD),
    (402, AccountExhausted, 429, Penalty.EXHAUSTED),
    (404, UpstreamNotFound, 404, Penalty.NONE),
    (405, UpstreamUnsupported, 501, Penalty.NONE),
    (429, UpstreamRateLimited, 429, Penalty.COOL),
    (456, AccountExhausted, 429, Penalty.EXHAUSTED),
    (500, UpstreamFailed, 503, Penalty.FAILURE),
    (502, UpstreamFailed, 503, Penalty.FAILURE),
    (503, UpstreamFailed, 503, Penalty.FAILURE),
]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("stream", [True, False])
def test_a_status_is_its_row(wire: KiloWire, row: Row, stream: bool) -> None:
    status, kind, shown, penalty = row
    wire.emulator.faults.add("refuse", on="chat", status=status, message="made up")
    error = failure(wire, asking(stream=stream))
    assert (type(error), error.status, error.penalty) == (kind, shown, penalty)
    assert "made up" in error.message and error.upstream_code == str(status)


LATER = "Please try again later."
# What the service said in 2025 (kilo sheet §7), under statuses that fit.
OLD: list[tuple[int, str, str, type[GatewayError]]] = [
    (
        429,
        "Too many concurrent requests",
        f"You have reached your maximum concurrent request limit. {LATER}",
        UpstreamRateLimited,
    ),
    (
        403,
        "Too many concurrent requests",
        f"You have reached your maximum concurrent request limit. {LATER}",
        UpstreamRateLimited,
    ),
    (
        403,
        "Usage limit exceeded",
        "You have reached your Kilo Code usage limit.",
        AccountExhausted,
    ),
    (
        429,
        "Usage limit exceeded",
        "You have reached your Kilo Code usage limit.",
        AccountExhausted,
    ),
    (401, "Invalid token", "", TokenDead),
    (
        503,
        "Service Unavailable",
        f"The service is unavailable. {LATER}",
        UpstreamFailed,
    ),
    (503, "", "", UpstreamFailed),
]


@pytest.mark.parametrize(("status", "word", "message", "kind"), OLD)
def test_the_older_services_words_are_understood(
    wire: KiloWire, status: int, word: str, message: str, kind: type[GatewayError]
) -> None:
    said = {"error": word, "message": message}
    body = {name: text for name, text in said.items() if text}
    wire.emulator.faults.add("status", on="chat", status=status, body=body)
    assert type(failure(wire)) is kind


def test_a_policy_of_the_organization_lets_another_account_try(wire: KiloWire) -> None:
    wire.emulator.faults.add("refuse", on="chat", status=403)
    error = failure(wire)
    assert isinstance(error, UpstreamForbidden) and error.another_token
    assert [entry.name for entry in wire.emulator.log.all()] == ["chat", "profile"]


@pytest.mark.parametrize("stream", [True, False])
def test_an_account_that_may_not_see_itself_is_shut_out(
    wire: KiloWire, stream: bool
) -> None:
    wire.emulator.accounts.get("alice").blocked = True
    error = failure(wire, asking(stream=stream))
    assert isinstance(error, AccountSuspended) and error.another_token
    assert (error.penalty, error.upstream_code) == (Penalty.DISABLED, "403")


def test_a_profile_that_cannot_be_asked_for_shuts_nobody_out(wire: KiloWire) -> None:
    wire.emulator.faults.add("refuse", on="chat", status=403)
    wire.emulator.faults.add("status", on="profile", status=500)
    assert isinstance(failure(wire), UpstreamForbidden)


@pytest.mark.parametrize("told", ["42", "Sat, 01 Jan 2000 00:00:00 GMT"])
def test_a_rate_limit_tells_when_to_come_back(wire: KiloWire, told: str) -> None:
    headers = {"Retry-After": told}
    wire.emulator.faults.add("refuse", on="chat", headers=headers)
    assert failure(wire).retry_after == (42 if told == "42" else 0)


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (502, UpstreamFailed),
        (429, UpstreamRateLimited),
        (402, AccountExhausted),
        (401, TokenDead),
    ],
)
def test_an_error_within_the_stream_is_that_of_its_code(
    wire: KiloWire, at: int, code: int, kind: type[GatewayError]
) -> None:
    wire.say("Hi ", "there")
    wire.emulator.faults.add("broken_off", at=at, code=code)
    seen, error = wire.account.outcome(asking())
    assert type(error) is kind
    assert words(seen) == "".join(("Hi ", "there")[:at])
    assert not any(isinstance(event, Finished) for event in seen)
