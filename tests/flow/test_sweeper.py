"""The sweeper: after crashes, for resting accounts, over failures."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from kimi_proxy.errors import (
    GatewayError,
    StateUnavailable,
    TokenDead,
    TokenRejected,
    UpstreamRateLimited,
    UpstreamUnreachable,
)
from kimi_proxy.storage import Store
from kimi_proxy.worker import Worker
from tests.fakes import Chat, HandClock, make_scope
from tests.flow import process
from tests.flow.houses import TTL, Household, household
from tests.flow.process import hear
from tests.flow.waiting import until
from tests.processes import started


@pytest.fixture
def home(hand: HandClock, hand_store: Store) -> Household:
    return household(hand, hand_store)


def dead_worker() -> str:
    host = Worker().id.rsplit(":", 2)[0]
    return f"{host}:{2**22 + 1}:5.0123abcd"


def crash(home: Household) -> None:
    """What the journal looks like once this worker's process is gone."""
    for key, document in home.house.store.live.scan("chat/"):
        home.house.store.live.put(key, {**document, "worker": dead_worker()})


@pytest.mark.parametrize("named", [True, False])
def test_what_a_crashed_worker_left_is_deleted_once_by_another(
    home: Household, hand: HandClock, named: bool
) -> None:
    home.begin(chat="chat-1" if named else None)
    crash(home)
    others = [household(hand, home.house.store, home.provider) for _ in range(2)]
    for _ in range(5):
        for other in others:
            other.sweeper.sweep()
        hand.advance(1)
    assert home.provider.deleted == ["chat-1" if named else "lost-0"]
    assert home.entries() == []


def test_what_a_living_worker_has_is_left_to_it(
    home: Household, hand: HandClock
) -> None:
    entry = home.begin(chat="chat-1")
    other = household(hand, home.house.store, home.provider)
    hand.advance(1e6)
    other.sweeper.sweep()
    entry.close(None)
    other.sweeper.sweep()
    assert home.provider.deleted == []
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]


def test_a_worker_elsewhere_that_gives_signs_of_life_keeps_its_chats(
    home: Household, hand: HandClock
) -> None:
    there = household(hand, home.house.store, home.provider)
    there.journal.worker._host = "elsewhere/1"
    there.begin(chat="chat-1")
    for _ in range(60):
        there.journal.presence.beat()
        home.sweeper.sweep()
        hand.advance(1)
    assert home.provider.deleted == []
    home.sweep_for(20)
    assert home.provider.deleted == ["chat-1"]


def rest(home: Household, error: GatewayError) -> None:
    pool = home.house.pool
    slot = pool.lease("m", make_scope(home.house.hand.clock))
    pool.finish(slot, error, proven=False)


def test_an_account_that_cools_down_gets_no_call_before_its_time(
    home: Household,
) -> None:
    home.begin(chat="chat-1").close(None)
    rest(home, UpstreamRateLimited("slow down", retry_after=100))
    home.sweep_for(99)
    assert home.provider.deleted == []
    assert home.provider.renewals == []
    home.sweep_for(2)
    assert home.provider.deleted == ["chat-1"]


def test_a_dead_account_s_chats_wait_for_a_new_log_in_but_not_forever(
    home: Household,
) -> None:
    home.begin(chat="chat-1").close(None)
    rest(home, TokenDead("log in again"))
    home.sweep_for(7 * 86_400 + TTL, step=3600)
    assert home.entries() != []
    home.sweep_for(7200, step=3600)
    assert home.entries() == []
    assert home.provider.deleted == []


def test_a_revived_account_s_chats_are_deleted(home: Household) -> None:
    home.begin(chat="chat-1").close(None)
    rest(home, TokenDead("log in again"))
    home.sweep_for(86_400, step=3600)
    home.house.pool.revive("a")
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]


def failures(home: Household, count: int, error: Callable[[], BaseException]) -> None:
    home.provider.faults["delete_chat"] = [error() for _ in range(count)]


def test_a_delete_that_fails_is_tried_again_later_and_later(home: Household) -> None:
    home.begin(chat="chat-1").close(None)
    failures(home, 5, lambda: UpstreamUnreachable("no route"))
    tried, last = [], home.house.hand.now()
    for _ in range(70):
        before = len(home.provider.faults["delete_chat"])
        home.sweeper.sweep()
        if len(home.provider.faults["delete_chat"]) < before:
            tried.append(home.house.hand.now() - last)
            last = home.house.hand.now()
        home.house.hand.advance(1)
    assert tried == [0, 2, 4, 8, 16]
    assert home.provider.deleted == ["chat-1"]


def test_retry_after_holds_for_a_delete_too(home: Household) -> None:
    home.begin(chat="chat-1").close(None)
    failures(home, 1, lambda: UpstreamRateLimited("slow down", retry_after=50))
    home.sweep_for(49)
    assert home.provider.deleted == []
    home.sweep_for(1)
    assert home.provider.deleted == ["chat-1"]


def test_a_clock_that_is_set_back_puts_no_delete_off(home: Household) -> None:
    home.begin(chat="chat-1").close(None)
    home.house.hand.advance(-86_400)
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]


def test_after_ttl_a_chat_that_cannot_be_deleted_is_given_up(
    home: Household, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "kimi_proxy")
    home.begin(chat="chat-1").close(None)
    failures(home, 10_000, lambda: UpstreamUnreachable("no route"))
    home.sweep_for(TTL, step=10)
    assert home.entries() != []
    home.sweep_for(400, step=10)
    assert home.entries() == []
    assert "giving up on deleting a chat: no route" in caplog.text


def test_a_refused_access_token_is_renewed_for_a_delete(home: Household) -> None:
    home.begin(chat="chat-1").close(None)
    failures(home, 1, lambda: TokenRejected("refused"))
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]
    assert home.provider.renewals == ["fake-refresh-0"]


def test_a_defect_met_on_one_chat_does_not_keep_the_others_from_deletion(
    home: Household,
) -> None:
    for number in range(3):
        home.begin(chat=f"chat-{number}").close(None)
    failures(home, 1, lambda: ValueError("a defect"))
    with pytest.raises(ValueError, match="a defect"):
        home.sweeper.sweep()
    home.sweeper.sweep()
    assert len(home.provider.deleted) == 2
    home.sweep_for(3)
    assert sorted(home.provider.deleted) == ["chat-0", "chat-1", "chat-2"]


def test_an_end_that_could_not_be_written_down_is_noticed(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    entry = home.begin(chat="chat-1")
    with monkeypatch.context() as patched:
        patched.setattr(home.house.store.live, "put", fail)
        entry.close(None)
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]
    assert home.entries() == []


def test_chats_of_a_provider_or_account_that_is_gone_are_left_alone_and_forgotten(
    home: Household,
) -> None:
    home.journal.open("other", "a").sending("question")
    home.journal.open("fake", "nobody").sending("question")
    crash(home)
    home.sweep_for(6.9 * 86_400, step=3600)
    assert len(home.entries()) == 2
    assert home.provider.searches == []
    home.sweep_for(4 * 3600, step=3600)
    assert home.entries() == [], "a week is long enough to come back"


@pytest.mark.parametrize("named", [True, False])
def test_kill_9_of_a_process_leaves_no_chat_behind(
    tmp_path: Path, hand: HandClock, named: bool
) -> None:
    path = tmp_path / "state.db"
    with (
        closing(process.open_at(path)) as store,
        started(process.leave_a_chat, path, named) as (victim, pipe),
    ):
        hear(pipe)
        home = household(hand, store)
        chat = Chat("question", hand.now())
        home.provider.chats["chat-1"] = chat
        (entry,) = home.entries()
        hand.advance(entry["at"] - hand.now())
        chat.at = hand.now()
        home.sweep_for(30)
        assert home.provider.deleted == [], "it may be answering still"
        victim.kill()
        until(lambda: home.sweep_for(3) or home.provider.deleted)
        assert home.provider.deleted == ["chat-1"]
        assert home.entries() == []
