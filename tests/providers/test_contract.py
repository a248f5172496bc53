"""What every upstream with accounts promises (providers/base.py), over real sockets."""

import random
import time
from collections.abc import Iterator, Sequence

import pytest

from kimi_proxy.config.provider_type import PROVIDER_TYPES
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    TokenDead,
    TokenRejected,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from kimi_proxy.events import Event, Finished, TextDelta, Usage
from tests.providers import wire as wires
from tests.providers.connect_account import until, words
from tests.providers.legacy_account import hang_up, scope
from tests.providers.wire import Wire, ask, question

PIECES = ("It is ", "冷的 ", "🌍 👩‍👩‍👧", "\n\n“quoted” \\ {}", " done.")
WHOLE = "".join(PIECES)


@pytest.fixture(params=wires.ALL)
def wire(request: pytest.FixtureRequest) -> Iterator[Wire]:
    with wires.opened(request.param) as running:
        running.say(*PIECES)
        yield running


def only(names: Sequence[str]) -> pytest.MarkDecorator:
    """The test is about what only these upstreams can do."""
    return pytest.mark.parametrize("wire", names, indirect=True)


def outcome(wire: Wire) -> tuple[list[Event], GatewayError | None]:
    return wire.account.outcome(question(wire))


def test_no_kind_of_provider_is_left_out() -> None:
    """But for echo, which has no wire and no account: `test_echo.py`."""
    assert {wires.KINDS[name] for name in wires.ALL} == set(PROVIDER_TYPES) - {"echo"}


def test_nothing_happens_before_the_first_event_is_asked_for(wire: Wire) -> None:
    events = ask(wire)
    assert (wire.emulator.log.all(), wire.account.notes.said) == ((), [])
    hang_up(events)
    assert wire.emulator.log.all() == ()


def test_an_answer_is_its_deltas_and_one_finished_last(wire: Wire) -> None:
    seen, error = outcome(wire)
    assert error is None
    assert words(seen) == WHOLE
    told = [event for event in seen[:-1] if not isinstance(event, Usage)]
    assert all(isinstance(event, TextDelta) and event.text for event in told)
    assert isinstance(seen[-1], Finished)
    assert seen[-1].conversation == next(iter(wire.account.chat_ids()), None)


@pytest.mark.parametrize("sizes", [(1,), (3, 1, 4), (64,)])
def test_bytes_may_arrive_in_any_pieces(wire: Wire, sizes: tuple[int, ...]) -> None:
    wire.split(*sizes)
    seen, error = outcome(wire)
    assert (words(seen), error) == (WHOLE, None)


@only(wires.STREAMING)
def test_text_arrives_while_it_is_written(wire: Wire) -> None:
    wire.stall(2)
    events = ask(wire)
    assert words([next(events), next(events)]) == "".join(PIECES[:2])
    hang_up(events)


@only(wires.KEEPING)
def test_the_chat_is_announced_before_it_exists_and_named_before_its_text(
    wire: Wire,
) -> None:
    wire.stall(1)
    events = ask(wire)
    next(events)
    (sending, fingerprint), opened = wire.account.notes.said
    assert (sending, opened) == ("sending", ("opened", wire.account.chat_ids()[0]))
    assert fingerprint
    hang_up(events)


def test_cut_at_any_byte_it_never_looks_like_success(wire: Wire) -> None:
    outcome(wire)
    log = wire.emulator.log
    log.wait_for(lambda _: log.of(wire.stream)[0].closed_at is not None)
    size = log.of(wire.stream)[0].sent
    for at in sorted(random.Random(1).sample(range(size), 40)):
        until(lambda: not wire.writes())  # a turn may outlive its connection
        wire.cut(at)
        seen, error = outcome(wire)
        assert isinstance(error, UpstreamCut), (at, error)
        assert not any(isinstance(event, Finished) for event in seen)
        assert WHOLE.startswith(words(seen))


@only(wires.STREAMING)
@pytest.mark.parametrize("after", range(len(PIECES)))
def test_an_error_is_raised_wherever_it_comes_and_never_text(
    wire: Wire, after: int
) -> None:
    wire.fail(after)
    seen, error = outcome(wire)
    assert isinstance(error, UpstreamFailed)
    assert words(seen) == "".join(PIECES[:after])
    assert len(seen) == after


@only(wires.STREAMING)
@pytest.mark.parametrize("after", range(len(PIECES)))
def test_garbage_is_raised_wherever_it_comes(wire: Wire, after: int) -> None:
    wire.garble(after)
    seen, error = outcome(wire)
    assert isinstance(error, UpstreamGarbled)
    assert words(seen) == "".join(PIECES[:after])


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ("reset", UpstreamCut),
        ("challenge", UpstreamBlocked),
        ("redirect", UpstreamMoved),
    ],
)
def test_what_is_no_answer_is_told_apart(
    wire: Wire, fault: str, kind: type[GatewayError]
) -> None:
    wire.emulator.faults.add(fault, on=wire.stream)
    seen, error = outcome(wire)
    assert (seen, type(error)) == ([], kind)
    assert wire.emulator.log.of("Trap") == ()


def test_a_rate_limit_says_how_long_it_lasts(wire: Wire) -> None:
    wire.emulator.faults.add("status", on=wire.stream, status=429, retry_after=42)
    error = outcome(wire)[1]
    assert isinstance(error, UpstreamRateLimited) and error.retry_after == 42


@only(wires.STREAMING)
def test_silence_is_a_timeout(wire: Wire) -> None:
    wire.stall(1)
    events = ask(wire, within=scope(idle=0.2))
    next(events)
    with pytest.raises(UpstreamTimeout):
        next(events)


@only(wires.STREAMING)
def test_hanging_up_frees_the_socket_at_once(wire: Wire) -> None:
    wire.stall(1)
    events = ask(wire)
    next(events)
    hang_up(events)
    log = wire.emulator.log
    log.wait_for(lambda _: log.of(wire.stream)[0].outcome == "aborted")


@only(wires.STREAMING)
def test_a_cancelled_scope_ends_the_answer_with_its_reason(wire: Wire) -> None:
    wire.stall(1)
    within = scope()
    events = ask(wire, within=within)
    next(events)
    reason = ClientGone("the client left")
    within.cancel(reason)
    with pytest.raises(ClientGone) as caught:
        next(events)
    assert caught.value is reason
    log = wire.emulator.log
    log.wait_for(lambda _: log.of(wire.stream)[0].closed_at is not None)


@only(wires.STREAMING)
def test_an_account_answers_again_after_every_kind_of_failure(wire: Wire) -> None:
    """No failure may leave a turn running that locks the account."""
    for mishap in ("fail", "garble", "stall"):
        getattr(wire, mishap)(1)
        events = ask(wire)
        next(events)
        if mishap == "stall":
            hang_up(events)
        else:
            with pytest.raises(GatewayError):
                list(events)
        for chat_id in wire.account.chat_ids():
            wire.account.provider.delete_chat(wire.account.credential, chat_id, scope())
        until(lambda: not wire.writes())
        assert words(outcome(wire)[0]) == WHOLE


@only(wires.RENEWING)
def test_a_dead_access_token_is_rejected_and_can_be_renewed(wire: Wire) -> None:
    wire.revoke("access")
    assert isinstance(outcome(wire)[1], TokenRejected)
    account = wire.account
    fresh = account.provider.refresh(account.credential, scope())
    assert fresh.access != account.credential.access
    account.credential = fresh
    assert outcome(wire)[1] is None


@only(wires.RENEWING)
def test_a_dead_refresh_token_is_dead(wire: Wire) -> None:
    wire.revoke("refresh")
    with pytest.raises(TokenDead):
        wire.account.provider.refresh(wire.account.credential, scope())


@only(wires.RENEWING)
@pytest.mark.parametrize("body", [{}, {"nothing": "here"}])
def test_a_refresh_without_tokens_is_no_verdict(wire: Wire, body: object) -> None:
    wire.emulator.faults.add("status", on=wire.refresh, status=200, body=body)
    with pytest.raises(UpstreamGarbled):
        wire.account.provider.refresh(wire.account.credential, scope())


@only(wires.CHECKING)
def test_a_token_is_checked_in_one_call(wire: Wire) -> None:
    check = wire.account.provider.check_token
    check(wire.account.credential, scope())
    assert len(wire.emulator.log.all()) == 1
    wire.revoke("access")
    wire.revoke("refresh")
    with pytest.raises(TokenRejected):
        check(wire.account.credential, scope())


@only(wires.CHECKING)
def test_a_pasted_token_becomes_a_credential(wire: Wire) -> None:
    read = wire.account.provider.read_token
    held = wire.account.credential
    found = read(f"Bearer {held.refresh or held.access}")
    assert (found.refresh, found.access or held.access) == (held.refresh, held.access)
    with pytest.raises(ValueError, match=r"no ([A-Z][a-z]+ token|API key)"):
        read("made up")


@only(wires.KEEPING)
def test_a_chat_is_found_again_and_deleted_twice(wire: Wire) -> None:
    started = time.time() - 60
    outcome(wire)
    account, (chat_id,) = wire.account, wire.account.chat_ids()
    fingerprint = account.notes.said[0][1]
    find = account.provider.find_chats
    assert find(account.credential, fingerprint, started, scope()) == [chat_id]
    assert find(account.credential, "0" * 64, started, scope()) == []
    for _ in range(2):
        account.provider.delete_chat(account.credential, chat_id, scope())
    assert account.chat_ids() == []
    assert find(account.credential, fingerprint, started, scope()) == []


@only(wires.LISTED)
def test_models_are_known_without_asking(wire: Wire) -> None:
    known = wire.account.provider.known_models()
    assert wire.model in [model.id for model in known]
    assert wire.emulator.log.all() == ()


@only(wires.CHECKING)
def test_no_token_is_in_the_log_of_any_failure(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    for break_it in (wire.fail, wire.garble):
        break_it(1)
        error = outcome(wire)[1]
        credential = wire.account.credential
        for token in filter(None, (credential.access, credential.refresh)):
            assert token not in caplog.text
            assert token not in f"{error!r} {vars(error) if error else ''}"
