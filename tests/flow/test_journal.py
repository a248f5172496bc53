"""The journal of chats, and the sweeper that leaves none behind."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from kimi_proxy import errors
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    InternalError,
    StateUnavailable,
    TokenRejected,
    UpstreamCut,
    UpstreamTimeout,
)
from kimi_proxy.storage import Store
from tests.fakes import Chat, HandClock
from tests.flow.houses import Household, household


@pytest.fixture
def home(hand: HandClock, hand_store: Store) -> Household:
    return household(hand, hand_store)


def test_a_chat_is_written_down_before_it_is_made(home: Household) -> None:
    entry = home.journal.open("fake", "a")
    assert home.entries() == []
    entry.sending("question")
    (document,) = home.entries()
    assert (document["fingerprint"], document["chat"]) == ("question", None)
    entry.opened("chat-1")
    (document,) = home.entries()
    assert (document["account"], document["chat"]) == ("a", "chat-1")


def test_a_journal_that_cannot_be_written_lets_no_chat_be_made(
    home: Household, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    entry = home.journal.open("fake", "a")
    with monkeypatch.context() as patched:
        patched.setattr(home.house.store.live, "put", fail)
        with pytest.raises(StateUnavailable) as caught:
            entry.sending("question")
    entry.close(caught.value)
    assert home.entries() == []
    assert home.journal.open_turns == set()


@pytest.mark.parametrize(
    "error",
    [None, UpstreamCut("cut"), ClientGone("left"), TokenRejected("no"), InternalError],
)
def test_a_chat_with_a_name_is_deleted_however_its_request_ended(
    home: Household, error: Any
) -> None:
    entry = home.begin(chat="chat-1")
    home.sweeper.sweep()
    assert home.provider.deleted == [], "not while the request runs"
    entry.close(error("defect") if isinstance(error, type) else error)
    home.sweeper.sweep()
    assert home.provider.deleted == ["chat-1"]
    assert home.entries() == []
    home.sweep_for(30)
    assert home.provider.deleted == ["chat-1"]


def test_the_sweeper_is_woken_when_a_chat_is_over(home: Household) -> None:
    nudged: list[None] = []
    home.journal.nudge = lambda: nudged.append(None)
    home.begin(chat="chat-1").close(None)
    assert nudged


def test_a_request_that_made_no_chat_leaves_nothing(home: Household) -> None:
    home.journal.open("fake", "a").close(UpstreamCut("cut"))
    assert home.entries() == []


# Whether a chat may have been made unheard of, by how the request ended.
MAY_HAVE_MADE_ONE = {
    "GatewayError",
    "ClientGone",
    "PoolError",
    "PoolBusy",
    "PoolCooling",
    "PoolEmpty",
    "UpstreamError",
    "UpstreamTimeout",
    "UpstreamFailed",
    "UpstreamCut",
    "UpstreamGarbled",
    "UpstreamOverloaded",
    "InvalidAnswer",
    "InternalError",
    "StateUnavailable",
    "OutOfMemory",
    "ShuttingDown",
}
KINDS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, GatewayError)
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_chat_without_a_name_is_looked_for_unless_the_upstream_refused_it(
    home: Household, kind: type[GatewayError]
) -> None:
    home.begin().close(kind("why"))
    home.sweep_for(60)
    searched = kind.__name__ in MAY_HAVE_MADE_ONE
    assert home.provider.deleted == (["lost-0"] if searched else [])
    assert bool(home.provider.searches) == searched
    assert home.entries() == []


def test_a_defect_leaves_no_chat_behind_either(home: Household) -> None:
    home.begin().close(None)
    home.sweep_for(5)
    assert home.provider.deleted == ["lost-0"]


def test_a_lost_chat_is_looked_for_when_it_can_be_seen_and_thrice_at_most(
    home: Household,
) -> None:
    entry = home.begin()
    began = home.house.hand.now()
    home.provider.chats.clear()
    entry.close(UpstreamCut("cut"))
    home.sweep_for(1)
    assert home.provider.searches == [], "a new chat shows after 1.5 s"
    home.sweep_for(60)
    assert home.provider.searches == [("question", began - 5)] * 3
    assert home.provider.deleted == []
    assert home.entries() == []


def test_a_lost_chat_that_shows_late_is_found(home: Household) -> None:
    entry = home.begin()
    chats = dict(home.provider.chats)
    home.provider.chats.clear()
    entry.close(UpstreamTimeout("silent"))
    home.sweep_for(3)
    assert len(home.provider.searches) == 1
    home.provider.chats.update(chats)
    home.sweep_for(5)
    assert home.provider.deleted == ["lost-0"]


def test_the_search_deletes_nothing_else(home: Household) -> None:
    now = home.house.hand.now()
    home.provider.chats["other-question"] = Chat("mine", now)
    home.provider.chats["long-ago"] = Chat("question", now - 100)
    home.begin().close(UpstreamCut("cut"))
    home.sweep_for(60)
    assert set(home.provider.chats) == {"other-question", "long-ago"}


def test_the_search_spares_a_running_request_with_the_same_question(
    home: Household,
) -> None:
    home.begin().close(UpstreamCut("cut"))
    running = home.begin(chat="chat-2")
    home.sweep_for(10)
    assert home.provider.deleted == ["lost-0"]
    running.close(None)
    home.sweeper.sweep()
    assert home.provider.deleted == ["lost-0", "chat-2"]


def test_the_search_waits_for_a_twin_that_has_no_name_yet(home: Household) -> None:
    home.begin().close(UpstreamCut("cut"))
    running = home.begin()
    home.sweep_for(30)
    assert home.provider.deleted == []
    running.opened("lost-1")
    home.sweep_for(5)
    assert home.provider.deleted == ["lost-0"]
    running.close(None)
    home.sweep_for(1)
    assert home.provider.chats == {}


def test_a_second_start_under_one_entry_deletes_what_the_first_had_made(
    home: Household,
) -> None:
    entry = home.begin(chat="chat-1")
    entry.sending("question")
    entry.opened("chat-2")
    entry.close(None)
    home.sweeper.sweep()
    assert sorted(home.provider.deleted) == ["chat-1", "chat-2"]


def test_a_first_start_that_was_refused_is_not_looked_for(home: Household) -> None:
    entry = home.journal.open("fake", "a")
    entry.sending("connect:question")
    entry.sending("legacy:question")
    assert [d["fingerprint"] for d in home.entries()] == ["legacy:question"]
