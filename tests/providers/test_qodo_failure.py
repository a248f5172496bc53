"""Every refusal of Qodo, on both wires: its class, its status, what it costs."""

import time
from dataclasses import replace
from typing import Any

import pytest

from kimi_proxy.blame import Penalty
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import (
    AccountExhausted,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    TokenDead,
    TokenRejected,
    UpstreamBlocked,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
)
from tests.providers import qodo_wire
from tests.providers.qodo_wire import QodoWire

NEEDS_BEARER = {"detail": "Bearer authentication is needed"}
Row = tuple[int, type[GatewayError], int, Penalty, bool]
# Status -> class, status for the client, penalty, whether another account may help.
BOTH: list[Row] = [
    (400, UpstreamRejected, 400, Penalty.NONE, False),
    (402, AccountExhausted, 429, Penalty.EXHAUSTED, True),
    (404, UpstreamNotFound, 404, Penalty.NONE, False),
    (413, ContextTooLong, 400, Penalty.NONE, False),
    (422, UpstreamRejected, 400, Penalty.NONE, False),
    (429, UpstreamRateLimited, 429, Penalty.COOL, True),
    (500, UpstreamFailed, 503, Penalty.FAILURE, True),
    (502, UpstreamFailed, 503, Penalty.FAILURE, True),
    (503, UpstreamOverloaded, 503, Penalty.FAILURE, True),
]
ROWS = [
    *((kind, row) for kind in ("cli", "ide") for row in BOTH),
    ("cli", (401, TokenDead, 503, Penalty.DEAD, True)),
    ("cli", (403, UpstreamForbidden, 403, Penalty.NONE, True)),
    ("ide", (401, TokenRejected, 503, Penalty.REFRESH, True)),
    ("ide", (403, TokenRejected, 503, Penalty.REFRESH, True)),
]
BODIES: list[Any] = [
    {"detail": "made up"},
    {"error": {"message": "made up"}},
    {"detail": [{"msg": "made up"}]},
    {},
    "made up",
    "",
]


def failure(wire: QodoWire, text: str = "hi") -> GatewayError:
    seen, error = wire.account.outcome(
        ChatRequest(wire.model, (Message("user", text),))
    )
    assert seen == [] and error is not None
    return error


@pytest.mark.parametrize(("kind", "row"), ROWS)
def test_a_status_is_its_row_whatever_the_body(kind: str, row: Row) -> None:
    status, expected, shown, penalty, another = row
    with qodo_wire.opened(kind) as wire:
        for body in BODIES:
            wire.emulator.faults.add("refuse", on=wire.stream, status=status, body=body)
            error = failure(wire)
            assert type(error) is expected, body
            assert (error.status, error.penalty, error.another_token) == (
                *(shown, penalty, another),
            )
            assert error.upstream_code == f"http_{status}"


@pytest.mark.parametrize("kind", ["cli", "ide"])
def test_the_services_words_are_told_without_a_token(kind: str) -> None:
    with qodo_wire.opened(kind) as wire:
        body = {"detail": "the quota of sk-made-up-123456 is over"}
        wire.emulator.faults.add("refuse", on=wire.stream, status=429, body=body)
        message = failure(wire).message
    assert "quota" in message and "made-up" not in message


@pytest.mark.parametrize(
    ("kind", "expected"), [("cli", TokenDead), ("ide", TokenRejected)]
)
@pytest.mark.parametrize("status", [200, 401, 403])
def test_a_needed_bearer_is_a_refused_token(
    kind: str, expected: type[GatewayError], status: int
) -> None:
    with qodo_wire.opened(kind) as wire:
        wire.emulator.faults.add(
            "refuse", on=wire.stream, status=status, body=NEEDS_BEARER
        )
        assert type(failure(wire)) is expected


@pytest.mark.parametrize("kind", ["cli", "ide"])
def test_of_a_chinese_prompt_with_a_good_token_it_is_the_prompt(kind: str) -> None:
    with qodo_wire.opened(kind) as wire:
        wire.emulator.knobs.refuses_chinese = True
        error = failure(wire, "冷的")
        assert isinstance(error, ContentRefused) and "Chinese" in error.message
        assert error.penalty is Penalty.NONE
        assert wire.account.outcome(_english(wire))[1] is None


def _english(wire: QodoWire) -> ChatRequest:
    return ChatRequest(wire.model, (Message("user", "cold"),))


def test_of_a_chinese_prompt_with_a_token_that_ends_it_may_be_the_token() -> None:
    with qodo_wire.opened("ide") as wire:
        wire.emulator.knobs.refuses_chinese = True
        held = wire.account.credential
        wire.account.credential = replace(held, access_expires=time.time())
        assert isinstance(failure(wire, "冷的"), TokenRejected)


@pytest.mark.parametrize("kind", ["cli", "ide"])
@pytest.mark.parametrize(
    "line",
    [
        {"error": "made up"},
        {"error": {"message": "made up", "code": 500}},
        {"type": "error", "data": {"content": "made up"}},
        {"detail": "made up"},
    ],
)
def test_an_error_among_the_lines_is_an_error_and_no_text(
    kind: str, line: dict[str, Any]
) -> None:
    with qodo_wire.opened(kind) as wire:
        wire.emulator.faults.add("error_line", at=0, line=line)
        error = failure(wire)
    assert type(error) is UpstreamFailed and "made up" in error.message


def test_a_key_that_is_refused_for_the_session_is_not_asked_with() -> None:
    with qodo_wire.opened("cli") as wire:
        wire.revoke("access")
        assert isinstance(failure(wire), TokenDead)
        assert [entry.name for entry in wire.emulator.log.all()] == ["things"]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [("challenge", UpstreamBlocked), ("redirect", UpstreamMoved)],
)
def test_a_wall_before_the_session_ends_the_attempt(
    fault: str, expected: type[GatewayError]
) -> None:
    with qodo_wire.opened("cli") as wire:
        wire.emulator.faults.add(fault, on="things")
        assert type(failure(wire)) is expected
        assert wire.emulator.log.of("start") == ()


def test_a_session_is_continued_once_only() -> None:
    with qodo_wire.opened("cli") as wire:
        body = "Internal server error, session ID: 20251101-made-up"
        for call in ("start", "continue"):
            wire.emulator.faults.add("refuse", on=call, status=500, body=body)
        assert isinstance(failure(wire), UpstreamFailed)
        assert len(wire.emulator.log.of("continue")) == 1
