"""Whatever goes wrong on the legacy wire is an error of the right kind, never text."""

import random
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson
import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator, SearchHit
from kimi_proxy.errors import (
    AccountBusy,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    ModelNotFound,
    TokenRejected,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_legacy_model import new_chat, question, switches
from kimi_proxy.upstream import Reply
from tests.providers.legacy_account import Account, asking, hang_up, scope

PIECES = ("It is ", "冷的 ", "🌍", " done.")
HIT = SearchHit("Oslo", "https://example.org/oslo")
CALLS = ("create", "completion")

# Every row of legacy sheet §6, and the rest of what may come as JSON.
REFUSALS: list[tuple[dict[str, Any], type[GatewayError]]] = [
    ({"error_type": "auth.token.invalid"}, TokenRejected),
    ({"error_type": "chat.user_stream_pushing"}, AccountBusy),
    ({"error_type": "chat.forbidden"}, ContentRefused),
    ({"error_type": "openai.completion.stream"}, ContentRefused),
    ({"error_type": "openai.completion.token_length_too_long"}, ContextTooLong),
    ({"message": "chat not found"}, UpstreamNotFound),
    ({"message": "Kimi+ not found"}, ModelNotFound),
    ({"error_type": "made.up", "message": "made up"}, UpstreamFailed),
]
STATUSES: list[tuple[int, type[GatewayError]]] = [
    (400, UpstreamFailed),
    (401, TokenRejected),
    (403, UpstreamForbidden),
    (404, UpstreamNotFound),
    (413, ContextTooLong),
    (429, UpstreamRateLimited),
    (500, UpstreamFailed),
    (503, UpstreamFailed),
]


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        running.answer = Answer(pieces=PIECES, search=(HIT,))
        yield running


@pytest.fixture
def account(emulator: KimiLegacyEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize(("refusal", "kind"), REFUSALS)
def test_json_instead_of_an_answer_is_its_row(
    account: Account,
    call: str,
    status: int,
    refusal: dict[str, Any],
    kind: type[GatewayError],
) -> None:
    account.emulator.faults.add("refuse", on=call, status=status, **refusal)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_bare_status_is_an_error_of_its_kind(
    account: Account, call: str, status: int, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("status", on=call, status=status)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize(("status", "kind"), STATUSES)
def test_a_refusing_status_counts_though_it_claims_to_be_a_stream(
    account: Account, status: int, kind: type[GatewayError]
) -> None:
    claim = {"Content-Type": "text/event-stream"}
    body = {"event": "cmpl", "text": "no answer"}
    account.emulator.faults.add(
        "status", on="completion", status=status, headers=claim, body=body
    )
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize("style", ["bare-401", "json-401", "json-200"])
def test_a_dead_access_token_is_rejected_however_it_is_said(
    account: Account, style: str
) -> None:
    account.emulator.knobs.auth_refusal = style
    account.emulator.revoke("alice", "access")
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], TokenRejected)


def test_no_access_token_is_rejected_without_a_call(account: Account) -> None:
    lease = Lease("alice", Credential(refresh="made-up"), scope(), account.notes)
    with pytest.raises(TokenRejected):
        next(account.provider.stream(asking(), lease))
    assert account.emulator.log.all() == ()


def test_a_busy_account_is_to_be_left_alone_for_three_seconds(account: Account) -> None:
    account.emulator.faults.add("stall", at=1)
    running = account.ask()
    next(running)
    seen, error = account.outcome()
    hang_up(running)
    assert seen == []
    assert isinstance(error, AccountBusy) and error.retry_after == 3


def test_the_wait_a_rate_limit_asks_for_is_told(account: Account) -> None:
    account.emulator.faults.add("status", on="create", status=429, retry_after=42)
    error = account.outcome()[1]
    assert isinstance(error, UpstreamRateLimited) and error.retry_after == 42


def test_the_upstreams_own_word_is_kept(account: Account) -> None:
    account.emulator.faults.add("error_event", at=0)
    error = account.outcome()[1]
    assert error is not None and error.upstream_code == "openai.completion.stream"


@pytest.mark.parametrize("end", ["close", "all_done"])
@pytest.mark.parametrize("at", range(len(PIECES) + 1))
@pytest.mark.parametrize(("refusal", "kind"), REFUSALS)
def test_an_error_event_is_raised_wherever_it_comes(
    account: Account,
    end: str,
    at: int,
    refusal: dict[str, Any],
    kind: type[GatewayError],
) -> None:
    told = {"error_type": None, **refusal}
    account.emulator.faults.add("error_event", at=at, then=end, **told)
    seen, error = account.outcome()
    assert seen == [TextDelta(piece) for piece in PIECES[:at]]
    assert type(error) is kind


def test_a_chat_blocked_by_moderation_says_so_again(account: Account) -> None:
    account.emulator.faults.add("error_event", at=1, moderated=True)
    assert type(account.outcome()[1]) is ContentRefused


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["moved", "redirect"])
def test_a_redirect_names_the_setting_and_takes_no_token_along(
    account: Account, call: str, fault: str
) -> None:
    account.emulator.faults.add(fault, on=call)
    seen, error = account.outcome()
    assert seen == [] and isinstance(error, UpstreamMoved)
    assert "hosts.legacy" in error.message
    assert account.emulator.log.of("Trap") == ()


@pytest.mark.parametrize("call", CALLS)
def test_a_challenge_page_is_told_as_a_block(account: Account, call: str) -> None:
    account.emulator.faults.add("challenge", on=call)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], UpstreamBlocked)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, TokenRejected), (413, ContextTooLong), (429, UpstreamRateLimited)],
)
def test_a_page_is_taken_for_what_its_status_says(
    account: Account, call: str, status: int, kind: type[GatewayError]
) -> None:
    account.emulator.faults.add("challenge", on=call, status=status)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], kind)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("rst", [True, False])
def test_a_connection_cut_before_the_answer_is_a_cut(
    account: Account, call: str, rst: bool
) -> None:
    account.emulator.faults.add("reset", on=call, rst=rst)
    seen, error = account.outcome()
    assert (seen, type(error)) == ([], UpstreamCut)


def test_a_silent_upstream_times_out(account: Account) -> None:
    account.emulator.faults.add("hang", on="completion")
    with pytest.raises(UpstreamTimeout):
        list(account.provider.stream(asking(), account.lease(headers=0.1)))


@pytest.mark.parametrize("at", [-1, 2])
def test_an_answer_that_falls_silent_times_out(account: Account, at: int) -> None:
    account.emulator.faults.add("stall", at=at)
    with pytest.raises(UpstreamTimeout):
        list(account.provider.stream(asking(), account.lease(idle=0.1)))


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("clean", [True, False])
@pytest.mark.parametrize("chunked", [True, False])
def test_without_all_done_no_answer_is_whole(
    account: Account, done: bool, clean: bool, chunked: bool
) -> None:
    account.emulator.knobs.chunked = chunked
    account.emulator.faults.add("no_all_done", done=done, clean=clean)
    seen, error = account.outcome()
    assert seen == [TextDelta(piece) for piece in PIECES]
    assert type(error) is UpstreamCut


@pytest.mark.parametrize("at", range(len(PIECES)))
def test_a_broken_event_is_garbled(account: Account, at: int) -> None:
    account.emulator.faults.add("garbled", at=at)
    seen, error = account.outcome()
    assert seen == [TextDelta(piece) for piece in PIECES[:at]]
    assert type(error) is UpstreamGarbled


def raw_answer(account: Account) -> bytes:
    """The bytes of an answer; those of the next differ only in ids of equal length."""
    headers = {
        "Authorization": f"Bearer {account.credential.access}",
        "Content-Type": "application/json",
    }

    def post(path: str, body: Mapping[str, Any]) -> Reply:
        url = account.emulator.url + path
        return account.upstream.request(
            "POST", url, headers=headers, body=orjson.dumps(body), scope=scope()
        )

    row = switches("kimi")
    chat_id = post("/api/chat", new_chat("made-up", row)).json()["id"]
    body = question(asking().messages, row, search=True)
    return post(f"/api/chat/{chat_id}/completion/stream", body).body


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("form", ["plain", "crlf", "event_lines"])
def test_an_answer_cut_anywhere_never_looks_whole(
    account: Account, form: str, chunked: bool
) -> None:
    emulator = account.emulator
    emulator.knobs.chunked = chunked
    emulator.knobs.crlf = form == "crlf"
    emulator.knobs.event_lines = form == "event_lines"
    whole, _ = account.outcome(asking(search=True))
    assert isinstance(whole[-1], Finished)
    body = raw_answer(account)
    # Without the LF of the last CR LF the stream is whole: the CR ends the line.
    last = len(body) - (2 if form == "crlf" else 1)
    ends = [found.end() for found in re.finditer(rb"\r?\n\r?\n", body)][:-1]
    anywhere = random.Random(form).sample(range(last), 12)
    for place in (0, last, *ends, *anywhere):
        emulator.faults.add("cut", at_byte=place, rst=form == "event_lines")
        seen, error = account.outcome(asking(search=True))
        assert (seen, type(error)) == (whole[: len(seen)], UpstreamCut), place
        assert len(seen) < len(whole)


def test_an_answer_cut_after_its_end_is_whole(account: Account) -> None:
    whole, _ = account.outcome()
    account.emulator.faults.add("cut", at_byte=len(raw_answer(account)))
    seen, error = account.outcome()
    assert seen[:-1] == whole[:-1] and error is None


def test_no_failure_quotes_a_token(account: Account) -> None:
    secret = account.credential.access
    assert secret is not None
    said = f"bad token {secret} and {'x' * 60} in https://example.org"
    for error_type in ("made.up", secret, None):
        account.emulator.faults.add("refuse", message=said, error_type=error_type)
        error = account.outcome()[1]
        assert error is not None
        told = f"{error!r} {error} {error.upstream_code}"
        assert "eyJ" not in told and "xxxx" not in told
        assert "bad token [redacted] and [redacted] in" in told


def test_an_endless_text_of_the_upstream_is_cut_short(account: Account) -> None:
    account.emulator.faults.add("refuse", error_type="made.up", message="ab " * 5000)
    error = account.outcome()[1]
    assert error is not None and len(error.message) < 400
