"""Conversations that the client names."""

from __future__ import annotations

import threading

import pytest

from kimi_proxy.chat import ChatRequest, Message, Tool
from kimi_proxy.conversations import ChatPolicy
from kimi_proxy.errors import (
    ConversationBusy,
    GatewayError,
    InvalidRequest,
    NotFound,
    PoolError,
    Unsupported,
    UpstreamCut,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
)
from kimi_proxy.events import Finished, TextDelta, ToolCallDelta
from kimi_proxy.storage import Store
from tests.fakes import HandClock, Hold
from tests.flow.stage import build_stage
from tests.flow.talks import Town, bot, system, town, user


@pytest.fixture(params=["stateless", "auto", "user"])
def place(request: pytest.FixtureRequest, hand: HandClock, hand_store: Store) -> Town:
    return town(hand.clock, hand_store, request.param)


def begun(place: Town, *before: Message, **fields: object) -> str:
    """A conversation of one turn: its id."""
    chat = place.ask([*before, user("one")], conversation="", **fields).conversation
    assert chat is not None
    return chat


def refused(place: Town, chat: str, **fields: object) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        place.ask([user("two")], conversation=chat, **fields)
    return caught.value


def test_a_new_conversation_is_kept_and_goes_on_by_its_id(place: Town) -> None:
    chat = begun(place, system("be kind"))
    assert place.ask([user("two")], conversation=chat).conversation == chat
    assert place.turns[-1].text == "user:two"
    resent = [system("be kind"), user("one"), bot("re: one"), user("two")]
    place.ask([*resent, bot("re: two"), user("three")], conversation=chat)
    assert place.turns[-1].text == "user:three"
    place.ask([system("be kind"), user("four")], conversation=chat)
    assert place.turns[-1].text == "user:four"
    assert {turn.chat for turn in place.turns} == {chat}
    assert place.sweep() == []


def test_new_directions_go_up_wherever_they_stand(place: Town) -> None:
    chat = begun(place, system("be kind"))
    place.ask([system("be rude"), user("two")], conversation=chat)
    assert place.turns[-1].text == "system:be rude|user:two"
    history = [system("be brief"), user("one"), bot("re: one")]
    place.ask([*history, user("three")], conversation=chat)
    assert place.turns[-1].text == "system:be brief|user:three"
    place.ask([user("four")], conversation=chat)
    place.ask([system("be brief"), user("five")], conversation=chat)
    assert place.turns[-1].text == "user:five"


def test_tools_are_described_again_only_when_they_are_others(place: Town) -> None:
    first = (Tool("weather", "tells the weather"),)
    chat = begun(place, tools=first)
    for tools, knows in ((first, True), ((*first, Tool("time")), False)):
        place.ask([user("and now?")], conversation=chat, tools=tools)
        thread = place.turns[-1].request.follows
        assert thread is not None and thread.knows_tools is knows


def test_results_alone_get_the_names_and_the_order_of_their_calls(place: Town) -> None:
    names = {"c1": "weather", "c2": "clock"}
    calls = [ToolCallDelta(n, id, names[id], "{}") for n, id in enumerate(names)]
    place.provider.plays.append([*calls, Finished("tool_calls")])
    chat = begun(place)
    results = [Message("tool", id, tool_call_id=id) for id in ("c2", "c1")]
    place.ask(results, conversation=chat)
    read = place.turns[-1].request.messages
    assert [(m.name, m.text) for m in read] == [("weather", "c1"), ("clock", "c2")]


def test_an_id_that_is_unknown_or_somebody_elses_is_not_found(place: Town) -> None:
    chat = begun(place)
    for error in (refused(place, "made-up-id"), refused(place, chat, owner="you")):
        assert isinstance(error, NotFound)
        assert error.param == "conversation_id"
    assert len(place.turns) == 1


def test_a_turn_without_anything_new_is_refused(place: Town) -> None:
    chat = begun(place)
    with pytest.raises(InvalidRequest):
        place.ask([user("one"), bot("re: one")], conversation=chat)


def test_a_second_turn_at_the_same_time_is_told_so(place: Town) -> None:
    chat = begun(place)
    stream = place.open([user("two")], conversation=chat)
    error = refused(place, chat)
    assert isinstance(error, ConversationBusy) and error.status == 409
    list(stream)
    assert place.ask([user("three")], conversation=chat).conversation == chat


def test_whoever_finds_it_free_and_comes_too_late_is_told_so(place: Town) -> None:
    chat = begun(place)
    gateway = place.stage.gateway
    talk = gateway._conversations.talk(
        "fake",
        ChatPolicy(),
        "me",
        ChatRequest("model", (user("two"),), conversation=chat),
    )
    kept = talk.find()
    assert kept is not None
    first = talk.resume(kept)
    assert first is not None
    for _ in range(2):
        with pytest.raises(ConversationBusy):
            talk.resume(kept)
    first.close(None)
    assert place.ask([user("three")], conversation=chat).conversation == chat


def test_of_many_at_once_one_goes_on_and_the_chat_stays(place: Town) -> None:
    chat = begun(place)
    hold = Hold(threading.Event())
    place.provider.plays.append([hold, TextDelta("slow"), Finished("stop")])
    answers: list[object] = []

    def ask() -> None:
        try:
            answers.append(place.ask([user("two")], conversation=chat).text)
        except GatewayError as exc:
            answers.append(exc.status)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    assert hold.reached.wait(5)
    for _ in range(3):
        assert place.sweep() == [], "not while it is in use"
    while sum(thread.is_alive() for thread in threads) > 1:
        threads[0].join(0.01)
    hold.until.set()
    for thread in threads:
        thread.join()
    assert sorted(map(str, answers)) == ["409"] * 5 + ["slow"]
    assert place.sweep() == []
    assert place.ask([user("three")], conversation=chat).conversation == chat


def test_a_chat_the_upstream_lost_is_not_found_for_good(place: Town) -> None:
    chat = begun(place)
    place.provider.plays.append([UpstreamNotFound("gone", upstream_code="not_found")])
    for _ in range(2):
        error = refused(place, chat)
        assert isinstance(error, NotFound) and error.param == "conversation_id"
    assert len(place.turns) == 2
    assert place.sweep() == [chat]


@pytest.mark.parametrize(
    "error", [UpstreamCut("cut"), UpstreamRejected("no")], ids=repr
)
@pytest.mark.parametrize("begins", [True, False])
def test_a_turn_that_failed_leaves_the_conversation_as_it_was(
    place: Town, error: GatewayError, begins: bool
) -> None:
    chat = begun(place)
    words = [TextDelta("half ")] if begins else []
    place.provider.plays += [[*words, error]] * 10
    with pytest.raises(type(error)):
        place.ask([user("two")], conversation=chat)
    place.provider.plays.clear()
    assert place.sweep() == []
    assert place.ask([user("two")], conversation=chat).text == "re: two"
    assert place.turns[-1].head == place.turns[1].head


def test_a_client_that_leaves_mid_turn_finds_the_conversation_as_it_was(
    place: Town,
) -> None:
    chat = begun(place)
    stream = place.open([user("two")], conversation=chat)
    next(stream)
    stream.close()
    assert place.sweep() == []
    assert place.ask([user("two")], conversation=chat).conversation == chat


def test_a_moderated_turn_leaves_the_conversation_as_it_was(place: Town) -> None:
    chat = begun(place)
    place.provider.plays.append([TextDelta("I ca"), Finished("content_filter")])
    assert place.ask([user("two")], conversation=chat).conversation == chat
    assert place.ask([user("three")], conversation=chat).text == "re: three"
    assert place.turns[-1].head == place.turns[1].head


def test_a_conversation_whose_first_turn_is_moderated_does_not_begin(
    place: Town,
) -> None:
    place.provider.plays.append([TextDelta("I ca"), Finished("content_filter")])
    assert place.ask([user("one")], conversation="").conversation is None
    assert len(place.sweep()) == 1


def test_an_account_that_was_removed_is_told(place: Town) -> None:
    chat = begun(place)
    backend = place.stage.gateway._backends["fake"]
    del backend.accounts["a"]
    error = refused(place, chat)
    assert isinstance(error, NotFound) and "account" in error.message


def test_an_account_that_rests_is_told_and_no_other_one_is_asked(
    place: Town, hand: HandClock
) -> None:
    chat = begun(place)
    limit = UpstreamRateLimited("slow down", retry_after=60)
    place.provider.plays.append([limit])
    assert refused(place, chat) is limit
    assert isinstance(refused(place, chat), PoolError)
    hand.advance(61)
    assert place.ask([user("two")], conversation=chat).conversation == chat
    assert {turn.account for turn in place.turns} == {"a"}


def test_a_fallback_that_keeps_nothing_is_passed_over(
    hand: HandClock, hand_store: Store
) -> None:
    stage = build_stage(hand.clock, hand_store)
    with pytest.raises(Unsupported) as caught:
        stage.open(conversation="")
    assert caught.value.param == "conversation_id"
