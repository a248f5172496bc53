"""Tokens, hosts and chats of an account on the Connect wire (sheet §1, §2, §10)."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_connect.world import Chat, Message
from kimi_proxy.errors import (
    GatewayError,
    TokenDead,
    TokenRejected,
    UpstreamBlocked,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamRateLimited,
)
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kimi_connect_call import Hosts, hosts, origins
from tests.providers.connect_account import Account
from tests.providers.legacy_account import asking, hang_up, scope

HI = hashlib.sha256(b"hi").hexdigest()


@pytest.fixture
def emulator() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as running:
        running.knobs.feed_delay = 0
        yield running


@pytest.fixture
def account(emulator: KimiConnectEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()


def test_each_region_has_its_hosts_and_a_given_one_replaces_both() -> None:
    assert hosts() == {
        "cn": Hosts("https://www.kimi.com", "https://auth.kimi.com"),
        "overseas": Hosts("https://www.kimi.ai", "https://auth.kimi.ai"),
    }
    mixed = hosts(api="http://127.0.0.1:1/")
    assert mixed["overseas"] == Hosts("http://127.0.0.1:1", "https://auth.kimi.ai")
    assert origins(mixed) == {
        "http://127.0.0.1:1",
        "https://auth.kimi.com",
        "https://auth.kimi.ai",
    }


@pytest.mark.parametrize("wrap", ["plain", "data", "snake"])
def test_the_newer_route_renews_and_rotates(account: Account, wrap: str) -> None:
    account.emulator.knobs.rotation_wrap = wrap
    account.emulator.knobs.strict_rotation = True
    old = account.credential
    new = account.provider.refresh(old, scope())
    assert new.access not in (None, old.access)
    assert new.refresh not in (None, old.refresh)
    assert (new.device, new.session, new.region) == (old.device, old.session, "cn")
    account.credential = new
    assert account.outcome()[1] is None
    (call,) = account.emulator.log.of("RefreshToken")
    assert "authorization" not in call.headers
    assert account.emulator.log.of("RefreshOld") == ()


@pytest.mark.parametrize("status", [404, 405, 500, 501, 502, 503])
def test_the_older_route_stands_in(account: Account, status: int) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=status)
    new = account.provider.refresh(account.credential, scope())
    assert new.access != account.credential.access
    assert len(account.emulator.log.of("RefreshOld")) == 1


@pytest.mark.parametrize("status", [500, 502, 504])
def test_it_stands_in_for_a_proxys_page_too(account: Account, status: int) -> None:
    account.emulator.faults.add("challenge", on="RefreshToken", status=status)
    new = account.provider.refresh(account.credential, scope())
    assert new.access != account.credential.access
    account.emulator.revoke("alice", "refresh")
    account.emulator.faults.add("challenge", on="RefreshToken", status=status)
    with pytest.raises(UpstreamFailed, match="token service"):
        account.provider.refresh(account.credential, scope())


@pytest.mark.parametrize("status", [400, 409, 422, 429])
def test_nothing_else_asks_the_older_route(account: Account, status: int) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=status)
    with pytest.raises(GatewayError) as caught:
        account.provider.refresh(account.credential, scope())
    assert not isinstance(caught.value, TokenRejected)
    assert account.emulator.log.of("RefreshOld") == ()


def test_a_dead_refresh_token_is_dead_at_once(account: Account) -> None:
    account.emulator.revoke("alice", "refresh")
    with pytest.raises(TokenDead, match="log in again"):
        account.provider.refresh(account.credential, scope())
    assert account.emulator.log.of("RefreshOld") == ()


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusing_status_is_enough_to_be_dead(account: Account, status: int) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=status)
    with pytest.raises(TokenDead):
        account.provider.refresh(account.credential, scope())


def test_without_the_newer_route_the_older_ones_verdict_counts(
    account: Account,
) -> None:
    account.emulator.revoke("alice", "refresh")
    account.emulator.faults.add("status", on="RefreshToken", status=404)
    with pytest.raises(TokenDead):
        account.provider.refresh(account.credential, scope())


def test_while_the_newer_route_is_ill_no_token_is_declared_dead(
    account: Account,
) -> None:
    account.emulator.revoke("alice", "refresh")
    account.emulator.faults.add("status", on="RefreshToken", status=503, retry_after=9)
    with pytest.raises(UpstreamFailed) as caught:
        account.provider.refresh(account.credential, scope())
    assert not isinstance(caught.value, TokenDead)
    assert caught.value.retry_after == 9


@pytest.mark.parametrize("fault", ["refresh_lost", "hang"])
def test_a_lost_answer_is_no_verdict(account: Account, fault: str) -> None:
    account.emulator.faults.add(fault, on="RefreshToken")
    with pytest.raises(GatewayError) as caught:
        account.provider.refresh(account.credential, scope(headers=0.2))
    assert not isinstance(caught.value, TokenRejected)


def test_a_challenge_page_is_no_verdict(account: Account) -> None:
    account.emulator.faults.add("challenge", on="RefreshToken")
    with pytest.raises(UpstreamBlocked):
        account.provider.refresh(account.credential, scope())


@pytest.mark.parametrize("body", [{}, [], {"accessToken": 5}, {"data": {}}])
def test_an_answer_without_token_is_garbled(account: Account, body: object) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=200, body=body)
    with pytest.raises(UpstreamGarbled):
        account.provider.refresh(account.credential, scope())


def test_a_limited_refresh_says_when_to_come_back(account: Account) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=429, retry_after=5)
    with pytest.raises(UpstreamRateLimited) as caught:
        account.provider.refresh(account.credential, scope())
    assert caught.value.retry_after == 5


def test_a_refusal_of_the_older_kind_under_status_200_is_dead(account: Account) -> None:
    account.emulator.faults.add("status", on="RefreshToken", status=404)
    body = {"error_type": "auth.token.invalid", "message": "login again"}
    account.emulator.faults.add("status", on="RefreshOld", status=200, body=body)
    with pytest.raises(TokenDead):
        account.provider.refresh(account.credential, scope())


def test_without_refresh_token_there_is_nothing_to_renew(account: Account) -> None:
    with pytest.raises(TokenDead, match="no refresh token to renew it"):
        account.provider.refresh(Credential(access="made-up"), scope())
    assert account.emulator.log.all() == ()


def test_a_live_access_token_passes_the_check(account: Account) -> None:
    account.provider.check_token(account.credential, scope())
    assert [entry.name for entry in account.emulator.log.all()] == ["GetSubscription"]


def test_a_dead_access_token_fails_the_check(account: Account) -> None:
    account.emulator.revoke("alice", "access")
    with pytest.raises(TokenRejected):
        account.provider.check_token(account.credential, scope())


def test_a_lone_refresh_token_is_checked_without_being_spent(account: Account) -> None:
    account.provider.check_token(account.refresh_only, scope())
    assert [entry.name for entry in account.emulator.log.all()] == ["RefreshOld"]
    account.provider.refresh(account.refresh_only, scope())
    account.emulator.revoke("alice")
    with pytest.raises(TokenDead):
        account.provider.check_token(account.refresh_only, scope())


def test_a_check_that_fails_otherwise_is_no_verdict(account: Account) -> None:
    account.emulator.faults.add("rpc_error", on="GetSubscription", error="unavailable")
    with pytest.raises(UpstreamFailed):
        account.provider.check_token(account.credential, scope())


def test_nobody_is_not_logged_in(account: Account) -> None:
    with pytest.raises(TokenRejected):
        account.provider.check_token(Credential(), scope())


def test_an_account_of_the_other_region_keeps_its_region(
    emulator: KimiConnectEmulator, account: Account
) -> None:
    pair = emulator.add_account("bob", region="overseas")
    assert account.provider.read_token(pair.refresh).region == "overseas"


def test_a_chat_is_deleted_and_deleting_it_again_is_fine(account: Account) -> None:
    account.outcome()
    (chat_id,) = account.chat_ids()
    for _ in range(2):
        account.provider.delete_chat(account.credential, chat_id, scope())
    assert account.chat_ids() == []
    assert len(account.emulator.log.of("DeleteChat")) == 2


@pytest.mark.parametrize("status", [404, 501])
def test_the_older_package_deletes_where_the_newer_is_not_there(
    account: Account, status: int
) -> None:
    account.outcome()
    (chat_id,) = account.chat_ids()
    account.emulator.faults.add("status", on="DeleteChat", status=status)
    account.provider.delete_chat(account.credential, chat_id, scope())
    assert account.chat_ids() == []
    body = account.emulator.log.of("DeleteChat")[-1].body
    assert body == {"chat_id": chat_id}


def test_a_chat_that_could_not_be_deleted_is_an_error(account: Account) -> None:
    account.emulator.faults.add("rpc_error", on="DeleteChat", error="unavailable")
    with pytest.raises(UpstreamFailed):
        account.provider.delete_chat(account.credential, "some-chat", scope())
    account.emulator.faults.add("status", on="DeleteChat", status=404, times=2)
    with pytest.raises(GatewayError):
        account.provider.delete_chat(account.credential, "some-chat", scope())


def find(account: Account, wanted: str = HI, ago: float = 60) -> list[str]:
    since = time.time() - ago
    return account.provider.find_chats(account.credential, wanted, since, scope())


def plant(account: Account, *texts: str, age: float = 0, count: int = 1) -> list[str]:
    """Put chats into the account, oldest first; `texts` are the user's messages."""
    made = datetime.fromtimestamp(time.time() - age, UTC).isoformat()
    world, planted = account.emulator.world, []
    owner = world.accounts.find(account.credential.access)
    assert owner is not None
    for number in range(count):
        chat: Chat = world.chats.create(
            owner.account, f"planted-{texts}-{age}-{number}"
        )
        for text in texts:
            blocks = [{"id": "1", "text": {"content": text}}]
            chat.messages.append(Message("m", "r", "user", "", blocks, made))
            chat.messages.append(Message("n", "m", "assistant", "", blocks, made))
        planted.append(chat.id)
    return planted


def test_a_lost_chat_is_found_by_its_prompt(account: Account) -> None:
    account.emulator.faults.add("silence", after_content=1)
    events = account.ask(asking("hi", model="k2d6-chat"))
    next(events)
    hang_up(events)
    assert find(account) == account.chat_ids()


def test_no_other_chat_is_ever_found(account: Account) -> None:
    plant(account, "hi", age=3600)
    plant(account, "hi ")
    plant(account, "hi", "and then?")
    plant(account, "before that", "hi")
    plant(account)
    assert find(account) == []
    (mine,) = plant(account, "hi")
    assert find(account) == [mine]
    assert find(account, "") == []


def test_what_is_no_chat_in_the_feed_is_passed_over(account: Account) -> None:
    (other,) = plant(account, "hi")
    feed = {"items": [{"type": "FEED_TYPE_MADE_UP", "chat": {"id": other}}, {}, 5]}
    account.emulator.faults.add("status", on="ListFeeds", status=200, body=feed)
    assert find(account) == []


def test_only_chats_made_after_the_given_time_are_found(account: Account) -> None:
    plant(account, "hi", age=30)
    assert find(account, ago=10) == []
    assert len(find(account, ago=60)) == 1


def test_the_search_looks_past_pinned_chats_but_not_through_the_whole_feed(
    account: Account,
) -> None:
    plant(account, "hi", age=7200, count=200)
    (mine,) = plant(account, "hi")
    plant(account, "other", age=3600, count=3)
    assert find(account) == [mine]
    assert len(account.emulator.log.of("ListMessages")) <= 10


def test_the_search_reads_more_than_one_page(account: Account) -> None:
    (mine,) = plant(account, "hi")
    plant(account, "other", count=60)
    assert find(account) == [mine]
    assert len(account.emulator.log.of("ListFeeds")) == 2


def test_a_chat_deleted_during_the_search_is_passed_over(account: Account) -> None:
    (mine,) = plant(account, "hi")
    plant(account, "hi", age=1)
    account.emulator.faults.add("rpc_error", on="ListMessages", error="not_found")
    assert find(account) == [mine]


def test_a_search_that_fails_is_an_error(account: Account) -> None:
    account.emulator.faults.add("status", on="ListFeeds", status=200, body={"items": 5})
    with pytest.raises(UpstreamGarbled):
        find(account)
    stale = replace(account.credential, access="made-up")
    with pytest.raises(TokenRejected):
        account.provider.find_chats(stale, HI, 0, scope())
