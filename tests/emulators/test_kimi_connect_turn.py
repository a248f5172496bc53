"""Turns: one at a time, living on without their client until cancelled (§8, §10)."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.emulators.connect_client import FEEDS, Web, message, until

ENDLESS = Answer("ab", pieces=1, delay=60)


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        yield emulator


@pytest.fixture
def web(kimi: KimiConnectEmulator) -> Web:
    return Web(kimi, kimi.add_account("alice").access)


def open_files() -> set[tuple[str, str]]:
    """Return this process's descriptors and what they point at."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        try:
            found.add((link.name, str(link.readlink())))
        except FileNotFoundError:
            continue  # The descriptor of this very listing.
    return found


def busy(web: Web) -> bool:
    """Whether a new turn is refused because one runs."""
    trailer = web.chat().trailer
    assert trailer is not None
    if "error" not in trailer:
        return False
    assert trailer["error"]["code"] == "resource_exhausted"
    assert "session in progress" in trailer["error"]["message"]
    return True


def test_a_second_turn_of_an_account_is_refused_and_leaves_no_chat(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = ENDLESS
    other = Web(kimi, kimi.add_account("bob").access)
    with web.streaming() as stream:
        stream.until("block.text")
        kimi.answer = Answer("short")
        assert busy(web)
        assert len(kimi.chats("alice")) == 1
        assert not busy(other)


def test_the_turn_is_free_when_the_client_reads_done(web: Web) -> None:
    for _ in range(20):
        with web.streaming() as stream:
            while "done" not in stream.next()[1]:
                continue
            assert not busy(web)


@pytest.mark.parametrize("fault", ["error", "exception"])
def test_the_turn_is_free_when_the_client_reads_an_error(
    web: Web, kimi: KimiConnectEmulator, fault: str
) -> None:
    for _ in range(20):
        kimi.faults.add(fault, where="frame", after_content=0)
        with web.streaming() as stream:
            while not {"error", "block"} & stream.next()[1].keys():
                continue
            assert not kimi.running()


def test_who_is_refused_because_another_turn_runs_uses_no_planned_fault_up(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = ENDLESS
    with web.streaming() as stream:
        stream.until("block.text")
        kimi.faults.add("error", where="http")
        assert busy(web)
        assert len(kimi.faults.pending()) == 1


def test_more_turns_per_account_may_be_allowed(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.knobs.turns_per_account = 2
    kimi.answer = ENDLESS
    with web.streaming() as stream:
        stream.until("block.text")
        kimi.answer = Answer("short")
        assert not busy(web)


def test_a_turn_outlives_its_client_until_it_is_cancelled(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = ENDLESS
    with web.streaming() as stream:
        chat_id = stream.until("chat")["chat"]["id"]
        stream.until("block.text")
    entries = kimi.log.wait_for(lambda log: log[0].aborted_at)
    assert entries[0].outcome == "aborted"
    assert busy(web)
    assert kimi.describe_chats()[0]["running"]
    shown = web.rpc("GetChat", {"chatId": chat_id}).json()["chat"]
    assert shown["status"] == "STATUS_GENERATING"
    message_id = entries[0].facts["message_id"]
    body = {"chatId": chat_id, "messageId": message_id}
    assert web.rpc("CancelChat", body).json() == {}
    until(lambda: not kimi.running())
    kimi.answer = Answer("short")
    assert not busy(web)


def test_an_orphaned_turn_ends_after_a_while_or_by_its_own_end(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    for patience, answer in (
        (0.05, ENDLESS),
        (60.0, Answer("ab", pieces=1, delay=0.05)),
    ):
        kimi.knobs.generates_after_disconnect = patience
        kimi.answer = answer
        with web.streaming() as stream:
            stream.until("chat")
        until(lambda: not kimi.running())
    newest = kimi.chats("alice")[0]
    assert newest.messages[-1].blocks[0]["text"]["content"] == "ab"
    assert newest.status == "STATUS_COMPLETED"


def test_a_turn_may_end_with_its_client(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.knobs.generates_after_disconnect = 0
    kimi.answer = ENDLESS
    with web.streaming() as stream:
        stream.until("block.text")
    until(lambda: not kimi.running())


def test_cancel_ends_the_running_stream_at_once_and_cleanly(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = ENDLESS
    with web.streaming() as stream:
        chat_id = stream.until("chat")["chat"]["id"]
        stream.until("block.text")
        assert web.rpc("CancelChat", {"chatId": chat_id}).status == 200
        rest = stream.rest()
    assert [event.get("mask", event) for _, event in rest] == [
        "message.status",
        {"done": {}},
        {},
    ]


def test_cancel_of_unknown_ids_is_refused_and_of_an_idle_chat_is_not(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    web.chat()
    chat_id = kimi.chats()[0].id
    assert web.rpc("CancelChat", {"chatId": "c-unknown"}).status == 404
    wrong = {"chatId": chat_id, "messageId": "m-unknown"}
    assert web.rpc("CancelChat", wrong).status == 404
    assert web.rpc("CancelChat", {"chatId": chat_id}).status == 200


def test_deleting_a_chat_does_not_stop_its_turn_unless_told_so(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = ENDLESS
    for stops in (False, True):
        kimi.knobs.delete_stops_turn = stops
        with web.streaming() as stream:
            chat_id = stream.until("chat")["chat"]["id"]
            stream.until("block.text")
            assert web.rpc("DeleteChat", {"chatId": chat_id}).status == 200
            if stops:
                until(lambda: not kimi.running())
            else:
                assert busy(web)
        kimi.world.turns.cancel()
        until(lambda: not kimi.running())
    assert kimi.chats() == ()


def test_heartbeats_fill_a_silence(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.knobs.heartbeat_interval = 0.01
    kimi.answer = Answer("x", first_delay=0.1)
    beats = [e for e in web.chat().events if "heartbeat" in e]
    assert len(beats) > 2


def test_the_log_tells_when_a_turn_ended(web: Web, kimi: KimiConnectEmulator) -> None:
    before = time.monotonic()
    web.chat()
    known = time.monotonic()
    entries = kimi.log.wait_for(lambda log: "turn_ended_at" in log[0].facts)
    assert before < entries[0].facts["turn_ended_at"] < known


def test_a_new_chat_shows_up_in_the_feed_a_while_after_the_send(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.knobs.feed_delay = 60
    web.chat()
    assert web.rpc(FEEDS, {"pageSize": 100}).json()["items"] == []
    kimi.knobs.feed_delay = 0.05
    items = until(lambda: web.rpc(FEEDS).json()["items"])
    assert items[0]["type"] == "FEED_TYPE_CHAT"
    assert items[0]["chat"]["id"] == kimi.chats()[0].id


def test_a_lost_stream_leaves_a_chat_that_the_feed_shows_until_it_is_deleted(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.knobs.feed_delay = 0
    kimi.faults.add("silence", before_chat=True, heartbeats=False)
    with web.streaming():
        pass
    items = until(lambda: web.rpc(FEEDS).json()["items"])
    chat_id = items[0]["chat"]["id"]
    assert web.rpc("CancelChat", {"chatId": chat_id}).status == 200
    assert web.rpc("DeleteChat", {"chatId": chat_id}).status == 200
    assert web.rpc(FEEDS).json()["items"] == []
    until(lambda: not kimi.running())
    assert kimi.chats() == ()


def test_a_question_leaves_the_turn_open_until_the_follow_up(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    question = {"question": "Which?", "type": "single", "options": []}
    kimi.answer = Answer("Sure.", questions=(question,))
    assert web.chat().said() == "Sure.", "who may not ask does not"
    with web.streaming(message(tools=[{"type": "TOOL_TYPE_ASK_USER"}])) as stream:
        chat_id = stream.until("chat")["chat"]["id"]
        stream.until("block.tool.args")
        asking = "STATUS_ASK_USER_QUESTION"
        until(lambda: kimi.chats()[0].status == asking)
        assert busy(web)
        kimi.answer = Answer("Thanks.")
        parent = kimi.chats()[0].messages[-1].id
        follow_up = message("A", chat_id=chat_id, **{"message.parent_id": parent})
        assert web.chat(follow_up).said() == "Thanks."
        assert stream.rest()[-1] == (2, {})


def test_no_thread_or_descriptor_is_left_after_a_stop() -> None:
    threads, files = set(threading.enumerate()), open_files()
    with KimiConnectEmulator() as kimi:
        web = Web(kimi, kimi.add_account("alice").access)
        kimi.faults.add("cut", after_frames=2)
        assert web.chat().broken
        until(lambda: not kimi.running())  # or the next one is refused in its place
        kimi.faults.add("cut", after_frames=0, rst=True)
        with pytest.raises(ConnectionResetError):
            web.chat()
        until(lambda: not kimi.running())
        kimi.answer = ENDLESS
        with web.streaming() as stream:
            stream.until("block.text")
        assert kimi.running()
    # What an earlier test of this process left behind may come and go meanwhile.
    until(lambda: set(threading.enumerate()) <= threads and open_files() <= files)


def test_a_reset_forgets_chats_knobs_and_script_but_not_accounts(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.answer = Answer("x")
    kimi.knobs.feed_delay = 0
    web.chat()
    web.rpc("/_emulator/reset")
    assert (kimi.chats(), kimi.log.all(), kimi.knobs.feed_delay) == ((), (), 1.5)
    assert web.chat().said() == "You said: Say hi"
