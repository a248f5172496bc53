"""Chats that rest: none is left behind, and none is deleted while it is in use."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.chat import Message
from kimi_proxy.errors import (
    ClientGone,
    ConversationBusy,
    NotFound,
    StateUnavailable,
    UpstreamCut,
)
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.storage import Store
from kimi_proxy.worker import Worker
from tests.fakes import HandClock
from tests.flow.talks import Town, bot, town, user

TTL = 600.0


@pytest.fixture
def place(hand: HandClock, hand_store: Store) -> Town:
    return town(hand.clock, hand_store, ttl=TTL)


def begun(place: Town, text: str = "one") -> list[Message]:
    history = [user(text)]
    return [*history, bot(place.ask(history).text)]


def crash(place: Town) -> None:
    """What the journal looks like once this worker's process is gone."""
    host = Worker().id.rsplit(":", 2)[0]
    live = place.stage.store.live
    for key, document in live.scan("chat/"):
        live.put(key, {**document, "worker": f"{host}:{2**22 + 1}:5.0123abcd"})


def reborn(place: Town, hand: HandClock, **options: Any) -> Town:
    """Another worker over the same state and the same upstream."""
    store, provider = place.stage.store, place.provider
    return town(hand.clock, store, provider=provider, ttl=TTL, **options)


@pytest.mark.parametrize("ttl", [2.0, 600.0, 3600.0, 86_400.0])
def test_a_chat_is_deleted_when_its_time_is_over_and_not_before(
    hand: HandClock, hand_store: Store, ttl: float
) -> None:
    place = town(hand.clock, hand_store, ttl=ttl)
    begun(place)
    for _ in range(20):
        assert place.sweep() == []
        hand.advance(ttl / 21)
    hand.advance(ttl / 20)
    assert place.sweep() == ["talk-1"]
    assert place.entries() == []


def test_each_use_prolongs_it(place: Town, hand: HandClock) -> None:
    history = begun(place)
    for number in range(4):
        hand.advance(TTL * 0.8)
        history.append(user(f"more {number}"))
        history.append(bot(place.ask(history).text))
        assert place.turns[-1].follows
        assert place.sweep() == []
    hand.advance(TTL + 1)
    assert place.sweep() == ["talk-1"]


def test_a_chat_about_to_be_deleted_is_not_taken_up(
    place: Town, hand: HandClock
) -> None:
    chat = place.ask([user("one")], conversation="").conversation
    assert chat is not None
    hand.advance(TTL - 10)
    with pytest.raises(NotFound):
        place.ask([user("two")], conversation=chat)


def test_of_too_many_those_unused_for_longest_go(
    hand: HandClock, hand_store: Store
) -> None:
    place = town(hand.clock, hand_store, accounts=("a",), most=3)
    histories = []
    for number in range(5):
        histories.append(begun(place, f"question {number}"))
        hand.advance(1)
    place.ask([*histories[0], user("more")])
    running = place.open([*histories[1], user("more")])
    next(running)
    chats = [turn.chat for turn in place.turns[:5]]
    assert place.sweep() == [chats[2]]
    list(running)
    place.provider.deleted.clear()
    assert place.sweep() == [chats[3]]
    place.ask([*histories[3], user("more")])
    assert not place.turns[-1].follows


def test_a_restart_changes_nothing(place: Town, hand: HandClock) -> None:
    history = begun(place)
    crash(place)
    after = reborn(place, hand)
    hand.advance(TTL / 2)
    assert after.sweep() == []
    after.ask([*history, user("two")])
    assert after.turns[-1].follows
    hand.advance(TTL / 2 + 1)
    assert after.sweep() == []
    hand.advance(TTL / 2)
    assert after.sweep() == ["talk-1"]


def test_what_rests_on_after_a_restart_is_deleted_in_time(
    place: Town, hand: HandClock
) -> None:
    begun(place)
    crash(place)
    after = reborn(place, hand)
    assert after.sweep() == []
    hand.advance(TTL + 1)
    assert after.sweep() == ["talk-1"]


def test_a_worker_goes_on_where_another_one_left_off(
    place: Town, hand: HandClock
) -> None:
    other = reborn(place, hand)
    history = begun(place)
    for town_, text in ((other, "two"), (place, "three"), (other, "four")):
        history.append(user(text))
        history.append(bot(town_.ask(history).text))
        assert place.sweep() == other.sweep() == []
    assert [turn.follows for turn in place.turns] == [False, True, True, True]


def test_of_two_workers_at_once_one_goes_on(place: Town, hand: HandClock) -> None:
    other = reborn(place, hand)
    chat = place.ask([user("one")], conversation="").conversation
    running = place.open([user("two")], conversation=chat)
    next(running)
    with pytest.raises(ConversationBusy):
        other.ask([user("two")], conversation=chat)
    hand.advance(TTL * 2)
    assert place.sweep() == other.sweep() == [], "not while it is in use"
    list(running)
    assert other.ask([user("three")], conversation=chat).text == "re: three"


@pytest.mark.parametrize("named", [True, False])
def test_a_crash_mid_turn_costs_only_what_can_be_said_again(
    place: Town, hand: HandClock, named: bool
) -> None:
    fields = {"conversation": ""} if named else {}
    first = place.ask([user("one")], **fields)
    turn = [user("one"), bot("re: one"), user("two")]
    fields = {"conversation": first.conversation} if named else {}
    running = place.open(turn, **fields)
    next(running)
    crash(place)
    after = reborn(place, hand)
    after.sweep()
    hand.advance(5)
    assert after.sweep() == ([] if named else ["talk-1"])
    assert after.ask(turn, **fields).text == "re: two"
    assert after.turns[-1].follows is named


@pytest.mark.parametrize("error", [UpstreamCut("cut"), ClientGone("left")])
def test_a_chat_in_doubt_is_deleted_and_the_history_goes_up_whole(
    place: Town, error: Exception
) -> None:
    turn = [*begun(place), user("two")]
    running = place.open(turn)
    next(running)
    if isinstance(error, ClientGone):
        running.close(error)
    else:
        place.provider.plays.append([])
        running.close(error)  # type: ignore[arg-type]  # one of the two above
        place.provider.plays.clear()
    assert place.sweep() == ["talk-1"]
    assert place.ask(turn).text == "re: two"
    assert not place.turns[-1].follows


def test_a_moderated_answer_is_kept_nowhere(place: Town) -> None:
    history = begun(place)
    place.provider.plays.append([TextDelta("I ca"), Finished("content_filter")])
    assert place.ask([*history, user("two")]).conversation is None
    assert place.sweep() == ["talk-1"]


def test_a_chat_that_cannot_be_written_down_is_not_promised(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = place.open([user("one")])
    live, put = place.stage.store.live, place.stage.store.live.put

    def fail(key: str, *args: Any, **options: Any) -> None:
        if key.startswith("talk/"):
            raise StateUnavailable("the disk is full")
        put(key, *args, **options)

    monkeypatch.setattr(live, "put", fail)
    *_, end = running
    assert end == Finished("stop")
    assert place.sweep() == ["talk-1"]


def test_a_rest_that_could_not_be_written_down_is_made_up_for(
    place: Town, hand: HandClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = place.ask([user("one")], conversation="").conversation
    running = place.open([user("two")], conversation=chat)
    next(running)

    def fail(*_: Any, **__: Any) -> None:
        raise StateUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(place.stage.store.live, "put", fail)
        running.close()
    assert place.sweep() == []
    assert place.ask([user("two")], conversation=chat).conversation == chat
    hand.advance(TTL + 1)
    assert place.sweep() == [chat]


def test_a_clock_that_was_set_back_keeps_no_chat_forever(
    place: Town, hand: HandClock
) -> None:
    begun(place)
    hand.set_back(10)
    assert place.sweep() == []
    hand.set_back(10 * 86_400)
    assert place.sweep() == ["talk-1"]


@pytest.mark.parametrize("everything", [True, False])
def test_at_the_end_chats_go_that_nobody_could_delete_later(
    place: Town, everything: bool
) -> None:
    chats = {}
    place.stage.pool.names = ("a",)  # the other account is a guest's
    for name in ("a", "b"):
        stream = place.open([user(name)], only=(name,))
        list(stream)
        chats[name] = stream.conversation
    running = place.open([user("more")], only=("b",))
    next(running)
    place.stage.sweeper.give_up(everything=everything)
    wanted = [chats["a"], chats["b"]] if everything else [chats["b"]]
    assert sorted(place.sweep()) == wanted
    list(running)


def test_what_another_worker_had_last_is_left_to_it(
    place: Town, hand: HandClock
) -> None:
    other = reborn(place, hand)
    begun(place)
    other.stage.sweeper.give_up(everything=True)
    assert other.sweep() == place.sweep() == []


def test_a_turn_that_begins_before_the_last_one_has_let_go_is_not_swept(
    place: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = place.ask([user("one")], conversation="").conversation
    first = place.open([user("two")], conversation=chat)
    following: list[Any] = []
    live, put = place.stage.store.live, place.stage.store.live.put

    def next_turn_at_once(key: str, document: Any, **options: Any) -> None:
        put(key, document, **options)
        if key.startswith("chat/") and "due" in document and not following:
            following.append(None)
            following[:] = [place.open([user("three")], conversation=chat)]

    monkeypatch.setattr(live, "put", next_turn_at_once)
    list(first)
    assert place.sweep() == []
    assert [e for e in following[0] if isinstance(e, TextDelta)]
    assert place.ask([user("four")], conversation=chat).conversation == chat
