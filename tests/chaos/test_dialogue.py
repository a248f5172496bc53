"""Dialogues that go on in one chat, over real gunicorn, on both wires."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai
import pytest

from emulators.kimi_connect import KimiConnectEmulator
from tests.chaos.caller import Caller
from tests.chaos.conftest import Emulator, OpenHouse, StartGateway
from tests.chaos.dialogue import AUTO, Dialogue, bytes_up, chat_ids, sent, speaks, words
from tests.chaos.gateway import KEY, Gateway
from tests.chaos.house import House, Plan
from tests.chaos.waiting import eventually, together

OTHER_KEY = "kp-made-up-key-of-somebody-else"
TURNS = 20
TWO = ("alice", "bob")
# Name of a plan -> tests that need it, accounts, conversations.
PLANS: Mapping[str, tuple[int, tuple[str, ...], Mapping[str, Any]]] = {
    "plain": (4, TWO[:1], {}),
    "plain-of-two": (1, TWO, {}),
    "auto": (3, TWO[:1], AUTO),
    "auto-of-two": (2, TWO, AUTO),
    "short": (1, TWO[:1], {**AUTO, "ttl": 3}),
    "few": (1, TWO[:1], {**AUTO, "most": 2}),
    "guests": (1, TWO[:1], {**AUTO, "ttl": 5}),
}
MORE = {
    "keys": [{"name": "laptop", "key": KEY}, {"name": "other", "key": OTHER_KEY}],
    "pass_through": {"provider": "guests-0"},
}


# Nothing here depends on the wire and on the kind of worker at once.
@pytest.fixture(
    scope="module",
    params=[("connect", "gevent"), ("legacy", "gthread")],
    ids=["connect-gevent", "legacy-gthread"],
)
def house(request: pytest.FixtureRequest, open_house: OpenHouse) -> House:
    """Two workers, and a provider for every test."""
    wire, worker_class = request.param
    plans = {
        name: Plan(wire, rooms, names, settings={"conversations": conversations})
        for name, (rooms, names, conversations) in PLANS.items()
    }
    return open_house(plans, worker_class=worker_class, workers=2, more=MORE)


def moved_in(house: House, plan: str) -> tuple[Gateway, Any]:
    """The gateway, and the emulator that it asks from now on."""
    emulator = house.take(plan).emulator
    speaks(emulator)
    return house.gateway, emulator


# For those that need a gateway of their own.
@pytest.fixture(params=["connect", "legacy"])
def emulator(request: pytest.FixtureRequest) -> Emulator:
    found: Emulator = request.getfixturevalue(request.param)
    speaks(found)
    return found


def tokens(emulator: Emulator, *names: str) -> dict[str, str]:
    return {name: emulator.add_account(name).refresh for name in names}


def test_twenty_turns_send_a_fifth_of_the_bytes_and_get_the_same_answers(
    house: House,
) -> None:
    weights, dialogues = [], []
    for plan in ("plain-of-two", "auto-of-two"):
        gateway, emulator = moved_in(house, plan)
        client = openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY)
        history: list[Any] = [{"role": "system", "content": "Be kind."}]
        for number in range(TURNS):
            history.append({"role": "user", "content": f"question {number}"})
            stream = number % 2 == 0
            history.append(_answer(client, gateway.provider, history, stream))
        weights.append(bytes_up(emulator))
        dialogues.append(history)
    assert dialogues[0] == dialogues[1]
    assert dialogues[1][-1]["content"] == words(f"question {TURNS - 1}")
    merged, native = weights
    assert native < 0.2 * merged, weights
    assert len(chat_ids(emulator)) == TURNS
    assert len(set(chat_ids(emulator))) == 1


def _answer(
    client: openai.OpenAI, model: str, history: list[Any], stream: bool
) -> dict[str, Any]:
    if not stream:
        whole = client.chat.completions.create(model=model, messages=history)
        return {"role": "assistant", "content": whole.choices[0].message.content}
    chunks = client.chat.completions.create(model=model, messages=history, stream=True)
    deltas = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    return {"role": "assistant", "content": "".join(deltas)}


def test_a_dialogue_goes_on_after_a_restart_and_on_every_worker(
    emulator: Emulator, start_gateway: StartGateway
) -> None:
    accounts = tokens(emulator, "alice", "bob")
    one, two = (
        start_gateway(emulator, accounts, workers=1, conversations=AUTO)
        for _ in range(2)
    )
    dialogue = Dialogue()
    for gateway in (one, two, one, two):
        assert dialogue.ask(gateway).status == 200
    one.stop()
    assert dialogue.ask(two).status == 200
    two.kill()
    one.start()
    assert dialogue.ask(one).status == 200
    assert len(sent(emulator)) == 6
    assert len(set(chat_ids(emulator))) == 1
    assert len(emulator.chats()) == 1


def test_an_edited_history_is_a_branch_and_the_old_one_goes_on(house: House) -> None:
    gateway, emulator = moved_in(house, "auto")
    old, new = Dialogue(), Dialogue()
    for _ in range(2):
        old.ask(gateway)
    new.messages = [{**old.messages[0], "content": "question 7"}, *old.messages[1:]]
    assert new.ask(gateway).status == old.ask(gateway).status == 200
    first, second, branch, last = chat_ids(emulator)
    assert first == second == last != branch
    assert "question 7" in str(sent(emulator)[2].body)
    assert "question 1" not in str(sent(emulator)[3].body)


def test_a_dead_account_or_a_deleted_chat_is_merged_unseen(house: House) -> None:
    gateway, emulator = moved_in(house, "auto-of-two")
    dialogue = Dialogue()
    dialogue.ask(gateway)
    _delete(emulator, chat_ids(emulator)[0])
    assert dialogue.ask(gateway, stream=True).text == words("question 1")
    assert dialogue.ask(gateway).status == 200
    second, third = chat_ids(emulator)[-2:]
    assert second == third
    owner = sent(emulator)[-1].account
    assert owner is not None
    emulator.revoke(owner)
    assert dialogue.ask(gateway, stream=True).text == words("question 3")
    assert dialogue.ask(gateway).status == 200
    assert sent(emulator)[-1].account != owner
    assert chat_ids(emulator)[-1] == chat_ids(emulator)[-2] != second


def _delete(emulator: Emulator, chat: str) -> None:
    chats: Any = emulator.world.chats
    chats._chats.pop(chat)


def test_a_crash_mid_turn_leaves_nothing_behind_and_the_dialogue_goes_on(
    house: House,
) -> None:
    gateway, emulator = moved_in(house, "auto")
    dialogue = Dialogue()
    dialogue.ask(gateway)
    speaks(emulator, delay=0.2)
    with gateway.open("", messages=dialogue.turn(), stream=True) as caller:
        caller.read_until(b'"content":"')
        gateway.kill()
    speaks(emulator)
    gateway.start()
    eventually(lambda: not emulator.chats(), 30)
    assert dialogue.ask(gateway).text == words("question 1")
    assert dialogue.ask(gateway).status == 200
    assert len(emulator.chats()) == 1


def test_a_kept_chat_is_deleted_when_its_time_is_over(house: House) -> None:
    gateway, emulator = moved_in(house, "short")
    Dialogue().ask(gateway)
    assert len(emulator.chats()) == 1
    gateway.kill()
    gateway.start()
    eventually(lambda: not emulator.chats() and not gateway.journal())


def test_of_too_many_kept_chats_the_oldest_go(house: House) -> None:
    gateway, emulator = moved_in(house, "few")
    for number in range(4):
        gateway.ask(f"question {number}")
    eventually(lambda: len(emulator.chats()) == 2)
    assert {chat.id for chat in emulator.chats()} == set(chat_ids(emulator)[2:])


def test_an_answer_cut_short_for_the_client_goes_on(house: House) -> None:
    gateway, emulator = moved_in(house, "auto")
    dialogue = Dialogue()
    assert dialogue.ask(gateway, max_tokens=3).finish_reason == "length"
    assert dialogue.ask(gateway, stop=" long").finish_reason == "stop"
    assert dialogue.messages[-1]["content"] == "The answer to question 1 is"
    assert dialogue.ask(gateway).status == 200
    assert len(set(chat_ids(emulator))) == 1


def test_a_conversation_is_named_in_body_and_header_and_goes_on_by_it(
    house: House,
) -> None:
    gateway, emulator = moved_in(house, "plain")
    first = gateway.ask("question 0", conversation_id="none")
    chat = first.document["conversation_id"]
    assert first.headers["x-conversation-id"] == chat == chat_ids(emulator)[0]
    streamed = gateway.ask("question 1", conversation_id=chat, stream=True)
    assert streamed.headers["x-conversation-id"] == chat
    assert streamed.frames[-1]["conversation_id"] == chat
    assert streamed.text == words("question 1")
    history = [
        {"role": "user", "content": "question 0"},
        {"role": "assistant", "content": words("question 0")},
        {"role": "user", "content": "question 2"},
    ]
    whole = gateway.ask("", messages=history, conversation_id=chat)
    assert whole.text == words("question 2")
    assert "question 0" not in str(sent(emulator)[-1].body)
    assert set(chat_ids(emulator)) == {chat}
    for nothing in ({}, {"conversation_id": None}):
        assert "conversation_id" not in gateway.ask("question 3", **nothing).document
    eventually(lambda: [c.id for c in emulator.chats()] == [chat])


def test_a_conversation_that_is_not_there_is_a_clear_404(house: House) -> None:
    gateway, emulator = moved_in(house, "plain")
    chat = gateway.ask("question 0", conversation_id="none").document["conversation_id"]
    assert _status(gateway, OTHER_KEY, chat) == (404, "conversation_id")
    assert _status(gateway, KEY, "made-up-id") == (404, "conversation_id")
    assert _status(gateway, KEY, chat, n=2) == (400, "n")
    _delete(emulator, chat)
    for _ in range(2):
        assert _status(gateway, KEY, chat) == (404, "conversation_id")
    eventually(lambda: not gateway.journal())


def _status(
    gateway: Gateway, key: str, chat: str, **fields: Any
) -> tuple[int, str | None]:
    body = {
        "model": gateway.provider,
        "messages": [{"role": "user", "content": "question 1"}],
        "conversation_id": chat,
        **fields,
    }
    with Caller(gateway.port) as caller:
        caller.send("POST", "/v1/chat/completions", key=key, body=body)
        reply = caller.reply()
    return reply.status, (reply.error or {}).get("param")


def test_of_many_turns_at_once_one_goes_on(house: House) -> None:
    gateway, emulator = moved_in(house, "plain")
    chat = gateway.ask("question 0", conversation_id="none").document["conversation_id"]
    speaks(emulator, first_delay=1.0)
    statuses = together(lambda _: _status(gateway, KEY, chat)[0], range(6))
    assert sorted(statuses) == [200] + [409] * 5
    speaks(emulator)
    assert _status(gateway, KEY, chat)[0] == 200
    assert [c.id for c in emulator.chats()] == [chat]


def test_a_client_that_stops_an_answer_finds_its_conversation_again(
    house: House,
) -> None:
    gateway, emulator = moved_in(house, "plain")
    if not isinstance(emulator, KimiConnectEmulator):
        emulator.knobs.generates_after_disconnect = 0.2
    chat = gateway.ask("question 0", conversation_id="none").document["conversation_id"]
    speaks(emulator, delay=0.2)
    with gateway.open("question 1", conversation_id=chat, stream=True) as caller:
        caller.read_until(b'"content":"')
        caller.leave()
    speaks(emulator)
    eventually(lambda: _status(gateway, KEY, chat)[0] == 200)
    assert [c.id for c in emulator.chats()] == [chat]


def test_a_guests_dialogue_goes_on_and_ends(house: House) -> None:
    gateway, emulator = moved_in(house, "guests")
    guest = emulator.add_account("guest").refresh
    history = [{"role": "user", "content": "question 0"}]
    for number in (1, 2):
        with Caller(gateway.port) as caller:
            body = {"model": gateway.provider, "messages": history}
            caller.send("POST", "/v1/chat/completions", key=guest, body=body)
            said = {"role": "assistant", "content": caller.reply().text}
        history += [said, {"role": "user", "content": f"question {number}"}]
    assert len(set(chat_ids(emulator))) == 1
    assert {entry.account for entry in sent(emulator)} == {"guest"}
    eventually(lambda: not emulator.chats())


def test_a_guests_chat_does_not_outlast_the_gateway(
    emulator: Emulator, start_gateway: StartGateway
) -> None:
    more = {"pass_through": {"provider": "kimi"}}
    gateway = start_gateway(
        emulator, tokens(emulator, "own"), workers=1, more=more, conversations=AUTO
    )
    guest = emulator.add_account("guest").refresh
    for key, account in ((KEY, "own"), (guest, "guest")):
        with Caller(gateway.port) as caller:
            body = {"model": gateway.provider, "messages": Dialogue().turn()}
            caller.send("POST", "/v1/chat/completions", key=key, body=body)
            assert caller.reply().status == 200
        assert len(emulator.chats(account)) == 1
    gateway.stop()
    assert len(emulator.chats("own")) == 1
    assert not emulator.chats("guest")
