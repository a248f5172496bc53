"""Whatever goes wrong on the Connect wire is an error of the right kind, never text."""

import random
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from kimi_proxy import errors
from kimi_proxy.errors import GatewayError, UpstreamCut, UpstreamGarbled
from kimi_proxy.events import Finished
from kimi_proxy.providers.base import Credential, Lease
from tests.providers.connect_account import Account, until, words
from tests.providers.legacy_account import asking, hang_up, scope

PIECES = ("It is ", "冷的 ", "🌍", " done.")

# Every row of connect sheet §8, by the emulator's names.
ROWS: list[tuple[str, type[GatewayError]]] = [
    ("unauthenticated", errors.TokenRejected),
    ("unauthenticated_plain", errors.TokenRejected),
    ("session_in_progress", errors.AccountBusy),
    ("concurrency", errors.UpstreamRateLimited),
    ("overloaded_free", errors.UpstreamOverloaded),
    ("overloaded", errors.UpstreamOverloaded),
    ("model_rate_limit", errors.ModelRateLimited),
    ("invalid_argument", errors.UpstreamRejected),
    ("permission_denied", errors.UpstreamForbidden),
    ("not_found", errors.UpstreamNotFound),
    ("unimplemented", errors.UpstreamUnsupported),
    ("unavailable", errors.UpstreamFailed),
    ("deadline_exceeded", errors.UpstreamTimeout),
    ("internal", errors.UpstreamFailed),
]
STATUSES: list[tuple[int, type[GatewayError]]] = [
    (400, errors.UpstreamRejected),
    (401, errors.TokenRejected),
    (403, errors.UpstreamForbidden),
    (404, errors.UpstreamNotFound),
    (429, errors.UpstreamRateLimited),
    (500, errors.UpstreamFailed),
    (501, errors.UpstreamUnsupported),
    (503, errors.UpstreamFailed),
    (504, errors.UpstreamTimeout),
]
# Where in the stream an error may come, and the text that was told by then.
PLACES: dict[str, tuple[dict[str, Any], str]] = {
    "before the chat": ({"before_chat": True}, ""),
    "before content": ({"after_content": 0}, ""),
    "after content": ({"after_content": 2}, "It is 冷的 "),
    "after done": ({"after_done": True}, "".join(PIECES)),
}


@pytest.fixture
def emulator() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as running:
        running.answer = Answer("".join(PIECES), pieces=PIECES)
        running.knobs.texts = "append"
        yield running


@pytest.fixture
def account(emulator: KimiConnectEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()


@pytest.mark.parametrize(("row", "kind"), ROWS)
@pytest.mark.parametrize("where", ["trailer", "frame"])
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_an_error_under_status_200_is_raised_wherever_it_comes(
    account: Account, row: str, kind: type[GatewayError], where: str, place: str
) -> None:
    params, told = PLACES[place]
    account.emulator.faults.add("error", error=row, where=where, **params)
    seen, error = account.outcome()
    assert (words(seen), type(error)) == (told, kind)
    assert not any(isinstance(event, Finished) for event in seen)


@pytest.mark.parametrize(("row", "kind"), ROWS)
def test_an_error_instead_of_a_stream_is_its_row(
    account: Account, row: str, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add(
        "error", error=row, where="http", empty_message=True, retry_after=42
    )
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)
    assert error is not None and error.message and error.retry_after == 42


@pytest.mark.parametrize(("status", "kind"), STATUSES)
@pytest.mark.parametrize("body", [{}, [], {"hello": 1}])
def test_a_bare_status_is_an_error_of_its_kind(
    account: Account, status: int, kind: type[GatewayError], body: object
) -> None:
    account.emulator.faults.add("status", on="Chat", status=status, body=body)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ({"code": "resource_exhausted", "message": "x"}, errors.UpstreamRateLimited),
        ({"error": {"code": "unauthenticated"}}, errors.TokenRejected),
        ({}, UpstreamGarbled),
        ([], UpstreamGarbled),
    ],
)
def test_plain_json_under_status_200_is_no_answer(
    account: Account, body: object, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("status", on="Chat", status=200, body=body)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize("in_trailer", [False, True])
def test_a_dead_access_token_is_rejected_however_it_is_said(
    account: Account, in_trailer: bool
) -> None:
    account.emulator.knobs.expired_in_trailer = in_trailer
    account.emulator.revoke("alice", "access")
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], errors.TokenRejected)
    assert error is not None and error.upstream_code == "REASON_INVALID_AUTH_TOKEN"


def test_no_access_token_is_rejected_without_a_call(account: Account) -> None:
    lease = Lease("alice", Credential(refresh="made-up"), scope(), account.notes)
    with pytest.raises(errors.TokenRejected):
        next(account.provider.stream(asking(model="k2d6-chat"), lease))
    assert account.emulator.log.all() == ()


def test_a_busy_account_is_to_be_left_alone_for_three_seconds(account: Account) -> None:
    account.emulator.faults.add("silence", after_content=1)
    running = account.ask()
    next(running)
    seen, error = account.outcome()
    hang_up(running)
    assert seen == []
    assert isinstance(error, errors.AccountBusy) and error.retry_after == 3


def test_the_wait_asked_for_beside_a_trailer_is_told(account: Account) -> None:
    account.emulator.faults.add("error", error="concurrency", retry_after=42)
    error = account.outcome()[1]
    assert isinstance(error, errors.UpstreamRateLimited) and error.retry_after == 42


def test_a_rejected_request_names_the_field(account: Account) -> None:
    account.emulator.faults.add("error", error="invalid_argument")
    error = account.outcome()[1]
    assert error is not None
    assert error.message == "validation error (message.blocks: value is required)"


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize(
    ("params", "kind"),
    [
        ({"reason": "REASON_COMPLETION_OVERLOADED"}, errors.UpstreamOverloaded),
        ({"reason": "REASON_X"}, errors.UpstreamFailed),
        (
            {"reason": "REASON_X", "severity": "SEVERITY_BLOCK_RETRACT"},
            errors.ContentRefused,
        ),
    ],
)
def test_an_exception_in_the_answer_ends_it(
    account: Account, after: int, params: dict[str, Any], kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("exception", after_content=after, **params)
    seen, error = account.outcome()
    assert (words(seen), type(error)) == ("".join(PIECES[:after]), kind)


@pytest.mark.parametrize("after", [0, 2])
@pytest.mark.parametrize("kind", ["text", "utf8", "cut_json", "list"])
def test_garbage_in_a_frame_is_an_error(
    account: Account, kind: str, after: int
) -> None:
    account.emulator.faults.add("garbage", kind=kind, after_content=after)
    seen, error = account.outcome()
    assert (words(seen), type(error)) == ("".join(PIECES[:after]), UpstreamGarbled)


@pytest.mark.parametrize(
    ("length", "kind"),
    [(0xFFFF_FFF0, UpstreamGarbled), (16 * 1024 * 1024, UpstreamCut)],
)
def test_a_frame_that_lies_about_its_length_is_an_error(
    account: Account, length: int, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("oversize", length=length, after_content=1)
    seen, error = account.outcome()
    assert (words(seen), type(error)) == (PIECES[0], kind)


def test_an_answer_that_was_stopped_elsewhere_is_no_success(account: Account) -> None:
    account.emulator.faults.add("ended_as", status="MESSAGE_STATUS_CANCELLED")
    seen, error = account.outcome()
    assert (words(seen), type(error)) == ("".join(PIECES), UpstreamCut)
    assert not any(isinstance(event, Finished) for event in seen)


def whole_answer(account: Account) -> tuple[int, int]:
    """How many frames and bytes an answer has, its trailer included."""
    seen, error = account.outcome()
    assert error is None and words(seen) == "".join(PIECES)
    log = account.emulator.log
    log.wait_for(lambda _: log.of("Chat")[-1].outcome == "complete")
    entry = log.of("Chat")[-1]
    log.clear()
    return entry.frames, entry.sent


def assert_cut(account: Account) -> None:
    seen, error = account.outcome()
    assert isinstance(error, UpstreamCut), error
    assert not any(isinstance(event, Finished) for event in seen)
    assert "".join(PIECES).startswith(words(seen))
    until(lambda: not account.emulator.running())  # a turn may outlive its connection


@pytest.mark.parametrize("rst", [False, True])
def test_cut_before_any_frame_it_never_looks_like_success(
    account: Account, rst: bool
) -> None:
    frames, _ = whole_answer(account)
    for count in range(frames):
        account.emulator.faults.add("cut", after_frames=count, rst=rst)
        assert_cut(account)


def test_cut_at_any_byte_it_never_looks_like_success(account: Account) -> None:
    _, size = whole_answer(account)
    for at in sorted(random.Random(20260920).sample(range(size), 60)):
        account.emulator.faults.add("cut", at_byte=at)
        assert_cut(account)


def test_a_close_is_an_end_only_after_completed_or_done(account: Account) -> None:
    frames, _ = whole_answer(account)
    for count in range(frames):
        account.emulator.faults.add("close_delimited")
        account.emulator.faults.add("cut", after_frames=count)
        if count < frames - 2:  # the last two are `done` and the trailer
            assert_cut(account)
        else:
            seen, error = account.outcome()
            assert error is None and isinstance(seen[-1], Finished)


def test_bytes_left_over_are_a_cut_even_after_done(account: Account) -> None:
    _, size = whole_answer(account)
    for missing in range(1, 7):  # inside the trailer, which has seven bytes
        account.emulator.faults.add("close_delimited")
        account.emulator.faults.add("cut", at_byte=size - missing)
        assert_cut(account)


@pytest.mark.parametrize(
    ("faults", "whole"),
    [
        (["no_trailer"], True),
        (["no_done"], True),
        (["no_done", "no_trailer"], True),
        (["no_end"], False),
    ],
)
@pytest.mark.parametrize("delimited", [[], ["close_delimited"]])
def test_an_answer_is_whole_with_any_one_of_its_ends(
    account: Account, faults: list[str], whole: bool, delimited: list[str]
) -> None:
    for fault in (*faults, *delimited):
        account.emulator.faults.add(fault)
    seen, error = account.outcome()
    assert words(seen) == "".join(PIECES)
    assert isinstance(seen[-1], Finished) is whole
    assert (error is None) is whole


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("challenge", errors.UpstreamBlocked),
        ("redirect", errors.UpstreamMoved),
        ("reset", UpstreamCut),
    ],
)
def test_what_is_no_service_is_told_apart(
    account: Account, fault: str, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add(fault, on="Chat")
    assert isinstance(account.outcome()[1], kind)
    assert account.emulator.log.of("Trap") == ()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, errors.TokenRejected),
        (413, errors.ContextTooLong),
        (429, errors.UpstreamRateLimited),
    ],
)
def test_a_page_is_taken_for_what_its_status_says(
    account: Account, status: int, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("challenge", on="Chat", status=status)
    assert type(account.outcome()[1]) is kind


def test_no_token_is_in_any_error(account: Account) -> None:
    credential = account.credential
    for token in (credential.access, credential.refresh):
        text = f"invalid token Bearer {token}"
        account.emulator.faults.add("error", message=text, reason=str(token))
        error = account.outcome()[1]
        assert error is not None
        assert str(token)[:40] not in f"{error!r} {vars(error)}"
