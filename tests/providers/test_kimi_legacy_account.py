"""Tokens and chats of the legacy wire: renewed, checked, found again, deleted."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator
from kimi_proxy.errors import (
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamUnsupported,
)
from kimi_proxy.providers.base import Credential
from tests.providers.legacy_account import Account, hang_up, scope


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        running.answer = Answer(pieces=("a", "b"))
        yield running


@pytest.fixture
def account(emulator: KimiLegacyEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()
    assert emulator.violations() == []


def test_refreshing_brings_a_new_pair_and_what_it_says_of_itself(
    account: Account,
) -> None:
    new = account.provider.refresh(account.credential, scope())
    old = account.credential
    assert new.access not in (None, old.access)
    assert new.refresh not in (None, old.refresh)
    assert new.access_expires and new.refresh_expires
    assert new.refresh_expires > new.access_expires
    assert new.region == "cn" and len(new.subject or "") == 20
    account.provider.check_token(new, scope())
    (sent,) = account.emulator.log.of("refresh")
    assert sent.token_kind == "refresh" and sent.method == "GET"


def test_a_renewed_credential_fills_the_headers(account: Account) -> None:
    new = account.provider.refresh(account.credential, scope())
    account.provider.check_token(new, scope())
    (sent,) = account.emulator.log.of("user")
    assert sent.headers["x-traffic-id"] == new.subject
    assert sent.headers["x-msh-device-id"] == new.device
    assert sent.headers["x-msh-session-id"] == new.session


def test_without_a_new_refresh_token_the_old_one_is_kept(account: Account) -> None:
    body = {"access_token": "made-up-access"}
    account.emulator.faults.add("status", status=200, body=body, on="refresh")
    new = account.provider.refresh(account.credential, scope())
    assert (new.access, new.refresh) == ("made-up-access", account.credential.refresh)


@pytest.mark.parametrize("style", ["bare-401", "json-401", "json-200"])
def test_a_refused_refresh_token_is_dead(account: Account, style: str) -> None:
    account.emulator.knobs.auth_refusal = style
    account.emulator.revoke("alice")
    with pytest.raises(TokenDead, match="log in"):
        account.provider.refresh(account.credential, scope())


def test_no_refresh_token_is_as_good_as_dead(account: Account) -> None:
    with pytest.raises(TokenDead):
        account.provider.refresh(Credential(access="made-up"), scope())
    assert account.emulator.log.all() == ()


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"name": "status", "status": 500}, UpstreamFailed),
        ({"name": "status", "status": 200, "body": {}}, UpstreamGarbled),
        ({"name": "status", "status": 200, "body": []}, UpstreamGarbled),
        ({"name": "moved"}, UpstreamMoved),
        ({"name": "reset"}, UpstreamCut),
    ],
)
def test_another_trouble_of_the_refresh_does_not_kill_the_token(
    account: Account, fault: dict[str, object], kind: type[UpstreamError]
) -> None:
    account.emulator.faults.add(**fault, on="refresh")  # type: ignore[arg-type]  # a table
    with pytest.raises(UpstreamError) as caught:
        account.provider.refresh(account.credential, scope())
    assert type(caught.value) is kind


def test_a_live_token_passes_the_check_with_one_call(account: Account) -> None:
    account.provider.check_token(account.credential, scope())
    assert [e.name for e in account.emulator.log.all()] == ["user"]


def test_a_refresh_token_alone_is_checked_by_its_use(account: Account) -> None:
    alone = replace(account.credential, access=None)
    account.provider.check_token(alone, scope())
    assert [e.name for e in account.emulator.log.all()] == ["refresh"]
    account.emulator.revoke("alice")
    with pytest.raises(TokenDead):
        account.provider.check_token(alone, scope())


def test_a_dead_access_token_fails_the_check(account: Account) -> None:
    account.emulator.revoke("alice", "access")
    with pytest.raises(TokenRejected):
        account.provider.check_token(account.credential, scope())


def test_a_user_without_an_id_fails_the_check(account: Account) -> None:
    account.emulator.faults.add("status", status=200, body={"name": "x"}, on="user")
    with pytest.raises(TokenRejected):
        account.provider.check_token(account.credential, scope())


def test_a_failing_service_says_nothing_about_the_token(account: Account) -> None:
    account.emulator.faults.add("status", status=503, on="user")
    with pytest.raises(UpstreamFailed):
        account.provider.check_token(account.credential, scope())


def test_a_pasted_token_is_read(account: Account) -> None:
    access = account.credential.access
    assert account.provider.read_token(f"Bearer {access}").access == access


def answered(account: Account) -> str:
    """The id of a chat that has had its answer."""
    list(account.ask())
    return account.chat_ids()[0]


def test_a_chat_is_deleted(account: Account) -> None:
    account.provider.delete_chat(account.credential, answered(account), scope())
    assert account.chat_ids() == []


@pytest.mark.parametrize("chat_id", ["cnmadeup000000000000", "../user", "a b/c?d"])
def test_a_chat_that_is_gone_counts_as_deleted(account: Account, chat_id: str) -> None:
    account.emulator.faults.add("refuse", on="delete", message="chat not found")
    account.provider.delete_chat(account.credential, chat_id, scope())
    (sent,) = account.emulator.log.all()
    assert sent.name == "delete" and "/" not in sent.path.removeprefix("/api/chat/")


def test_a_failure_of_a_delete_that_worked_is_none(account: Account) -> None:
    account.emulator.faults.add("delete_fails")
    account.provider.delete_chat(account.credential, answered(account), scope())
    assert account.chat_ids() == []


@pytest.mark.parametrize("status", [500, 503, 405])
def test_a_failure_of_a_delete_that_did_nothing_is_raised(
    account: Account, status: int
) -> None:
    chat_id = answered(account)
    account.emulator.faults.add("status", on="delete", status=status, body=None)
    with pytest.raises((UpstreamFailed, UpstreamUnsupported)):
        account.provider.delete_chat(account.credential, chat_id, scope())
    assert account.chat_ids() == [chat_id]


def test_a_delete_with_a_dead_token_is_raised(account: Account) -> None:
    chat_id = answered(account)
    account.emulator.revoke("alice", "access")
    with pytest.raises(TokenRejected):
        account.provider.delete_chat(account.credential, chat_id, scope())


@pytest.mark.parametrize("others", [0, 60])
def test_a_chat_whose_id_was_lost_is_found_by_its_name(
    account: Account, others: int
) -> None:
    account.emulator.faults.add("lost_answer", on="create")
    with pytest.raises(UpstreamCut):
        next(account.ask())
    (lost,) = account.chat_ids()
    for _ in range(others):
        hang_up_after_first(account)
    ((_, fingerprint), *_) = account.notes.said
    found = account.provider.find_chats(account.credential, fingerprint, 0, scope())
    assert found == [lost]
    missing = account.provider.find_chats(account.credential, "other", 0, scope())
    assert missing == []


def hang_up_after_first(account: Account) -> None:
    """Make one more chat as cheaply as can be."""
    account.emulator.faults.add("refuse", on="completion", error_type="made.up")
    events = account.ask()
    with pytest.raises(UpstreamFailed):
        next(events)
    hang_up(events)


@pytest.mark.parametrize("body", [{}, {"items": None}, {"items": "x"}])
def test_a_malformed_list_of_chats_is_garbled(
    account: Account, body: dict[str, object]
) -> None:
    account.emulator.faults.add("status", on="list", status=200, body=body)
    with pytest.raises(UpstreamGarbled):
        account.provider.find_chats(account.credential, "any", 0, scope())


@pytest.mark.parametrize("body", [{}, {"id": ""}, {"id": 7}, [1]])
def test_a_chat_without_an_id_is_garbled(account: Account, body: object) -> None:
    account.emulator.faults.add("status", on="create", status=200, body=body)
    with pytest.raises(UpstreamGarbled):
        next(account.ask())
    assert [kind for kind, _ in account.notes.said] == ["sending"]
