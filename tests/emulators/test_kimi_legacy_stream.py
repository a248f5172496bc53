"""The legacy emulator's completion stream: events, faults, one turn per account."""

import http.client
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator, SearchHit
from tests.emulators.legacy_client import Web, eventually, login, stream_path

SLOW = Answer(pieces=("one ", "two ", "three"), delay=60)


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        yield running


@pytest.fixture
def web(emulator: KimiLegacyEmulator) -> Iterator[Web]:
    alice = login(emulator, "alice")
    yield alice
    alice.leave()


def read_until(response: Any, needle: bytes) -> bytes:
    data = b""
    while needle not in data:
        piece = response.read1(4096)
        assert piece, data
        data += piece
    return data


def test_a_plain_answer_is_the_sequence_of_the_sheet(web: Web) -> None:
    reply = web.ask(web.create(), "user:hello\n")
    assert reply.status == 200
    assert reply.headers["content-type"].startswith("text/event-stream")
    deltas = reply.names.count("cmpl")
    middle = ["cmpl"] * deltas + ["rename"]
    assert reply.names == ["req", "resp", *middle, "done", "all_done"]
    req, resp, first = reply.events[:3]
    assert req["content"] == "user:hello\n" and req["refs"] == []
    assert req["id"] != resp["id"] and req["group_id"] == resp["group_id"]
    assert first == {
        "event": "cmpl",
        "idx_s": 0,
        "idx_z": 0,
        "view": "cmpl",
        "text": "You said",
    }
    assert reply.text == "You said: user:hello\n"


def test_the_oldest_minimal_body_is_enough(web: Web) -> None:
    body = {
        "messages": [{"role": "user", "content": "x"}],
        "refs": [],
        "use_search": True,
    }
    assert web.call("POST", stream_path(web.create()), body).names[-1] == "all_done"


def test_search_shows_only_when_it_is_allowed(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    hits = (SearchHit("A", "https://a.example"), SearchHit("B", "https://b.example"))
    emulator.answer = Answer("It is cold.[^1^]", search=hits)
    chat = web.create()
    searched = {"debug", "search_plus", "ref_docs"}
    assert not searched & set(web.ask(chat).names)
    reply = web.ask(chat, use_search=True)
    kinds = [e["msg"]["type"] for e in reply.events if e["event"] == "search_plus"]
    assert kinds == ["start", "start_res", "get_res", "get_res"]
    found = [e["msg"] for e in reply.events if e["event"] == "search_plus"][2]
    assert found == {
        "type": "get_res",
        "successNum": 1,
        "title": "A",
        "url": "https://a.example",
    }
    (cards,) = (e["ref_cards"] for e in reply.events if e["event"] == "ref_docs")
    assert [card["url"] for card in cards] == [hit.url for hit in hits]
    assert reply.names.index("search_plus") < reply.names.index("cmpl")
    emulator.answer = Answer("I need none.")
    assert "search_plus" not in web.ask(chat, use_search=True).names


def test_only_the_first_message_is_looked_at(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    messages = [
        {"role": "user", "content": "first"},
        {"role": "user", "content": "second"},
    ]
    reply = web.ask(web.create(), messages=messages)
    assert reply.text == "You said: first"
    assert emulator.log.of("completion")[0].facts["ignored_messages"] == 1


def test_an_answer_may_be_computed_from_the_prompt_and_the_body(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = lambda prompt, body: Answer(f"{prompt}|{body['use_math']}")
    assert web.ask(web.create(), "p").text == "p|False"


@pytest.mark.parametrize("size", [1, 2, 3, 7])
@pytest.mark.parametrize("chunked", [True, False])
def test_bytes_may_be_split_anywhere(
    emulator: KimiLegacyEmulator, web: Web, size: int, chunked: bool
) -> None:
    emulator.knobs.split, emulator.knobs.chunked = (size,), chunked
    emulator.answer = Answer("你好 🙂 héllo")
    response = web.begin(web.create())
    pieces = []
    while piece := response.read1(1):
        pieces.append(piece)
    events = b"".join(pieces).decode().split("\n\n")
    texts = [json.loads(e[6:]).get("text", "") for e in events[:-1] if '"cmpl"' in e]
    assert "".join(texts) == "你好 🙂 héllo"


def test_a_split_goes_through_the_middle_of_a_character(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.knobs.split = (1,)
    emulator.answer = Answer("你")
    raw = web.send("POST", stream_path(web.create()), {"messages": [_user("x")]})
    sock = raw.sock
    assert sock is not None
    data = b""
    while b"0\r\n\r\n" not in data:
        data += sock.recv(65536)
    first, second, third = "你".encode()
    split = b"1\r\n%c\r\n1\r\n%c\r\n1\r\n%c\r\n" % (first, second, third)
    assert split in data


def _user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def test_knobs_change_the_writing_and_not_the_meaning(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    knobs = emulator.knobs
    knobs.event_lines = knobs.crlf = knobs.comments = knobs.tight = True
    knobs.old_cmpl, knobs.unknown_events = True, ("k1",)
    emulator.answer = Answer(pieces=("a", "b"))
    body = web.ask(web.create()).body.decode()
    assert "\n" not in body.replace("\r\n", "")
    blocks = [block.split("\r\n") for block in body.split("\r\n\r\n")[:-1]]
    assert all(block[0].startswith(":") for block in blocks)
    for _, name, data in blocks:
        assert data.startswith('data:{"event"')
        assert name == f"event: {json.loads(data[5:])['event']}"
    names = [block[1].removeprefix("event: ") for block in blocks]
    assert names[2:6] == ["k1", "cmpl", "k1", "cmpl"]
    assert 'data:{"event":"cmpl","text":"a"}' in body


def test_a_length_stop_is_continued_by_its_segment(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = Answer(pieces=("a", "b", "c", "d", "e"), length_after=2)
    chat = web.create()
    reply = web.ask(chat)
    assert reply.names[-3:] == ["length", "done", "all_done"] and reply.text == "ab"
    again = {
        "segment_id": reply.events[0]["id"],
        "action": "continue",
        "messages": [_user(" ")],
        "kimiplus_id": "kimi",
        "extend": {"sidebar": True},
    }
    wrong = {**again, "segment_id": reply.events[1]["id"]}
    assert web.call("POST", stream_path(chat), wrong).status == 400
    second = web.call("POST", stream_path(chat), again)
    assert second.text == "cd" and "length" in second.names
    third = web.call("POST", stream_path(chat), again)
    assert third.text == "e" and "length" not in third.names
    assert web.call("POST", stream_path(chat), again).status == 400
    scroll = web.call("POST", f"/api/chat/{chat}/segment/scroll", {"last": 1}).json()
    assert scroll["items"][0]["content"] == "abcde"


@pytest.mark.parametrize("at", [-1, 0, 1, 2])
@pytest.mark.parametrize("then", ["close", "all_done"])
@pytest.mark.parametrize(
    "error_type",
    [
        "openai.completion.stream",
        "openai.completion.token_length_too_long",
        "a.type.nobody.knows",
    ],
)
def test_an_error_event_ends_the_stream_where_it_was_planned(
    emulator: KimiLegacyEmulator, web: Web, at: int, then: str, error_type: str
) -> None:
    emulator.answer = Answer(pieces=("a", "b", "c"))
    emulator.faults.add("error_event", at=at, then=then, error_type=error_type)
    chat = web.create()
    reply = web.ask(chat)
    before = {-1: [], 0: ["req", "resp"]}.get(at, ["req", "resp"] + ["cmpl"] * at)
    after = ["all_done"] if then == "all_done" else []
    assert reply.names == [*before, "error", *after] and not reply.broken
    error = reply.events[len(before)]["error"]
    assert error["error_type"] == error_type and error["message"]
    assert web.ask(chat).names[-1] == "all_done"


def test_a_moderated_chat_is_forbidden_afterwards_and_deleted_with_a_500(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.faults.add("error_event", at=2, moderated=True)
    chat = web.create()
    assert web.ask(chat).names[-1] == "error"
    assert web.ask(chat).json()["error_type"] == "chat.forbidden"
    assert web.call("DELETE", f"/api/chat/{chat}").status == 500
    assert emulator.chats() == ()


@pytest.mark.parametrize(("done", "last"), [(True, "done"), (False, "cmpl")])
@pytest.mark.parametrize("clean", [True, False])
def test_a_stream_may_close_without_all_done(
    emulator: KimiLegacyEmulator, web: Web, done: bool, last: str, clean: bool
) -> None:
    chat = web.create()
    web.ask(chat)
    emulator.faults.add("no_all_done", done=done, clean=clean)
    reply = web.ask(chat)
    assert reply.names[-1] == last and reply.broken is not clean
    assert web.ask(chat).names[-1] == "all_done"


def test_a_stream_may_break_at_any_byte_and_the_account_is_free_again(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = Answer("你好")
    chat = web.create()
    web.ask(chat)
    whole = web.ask(chat).body
    for at in range(0, len(whole), 23):
        emulator.faults.add("cut", at_byte=at)
        reply = web.ask(chat)
        assert (len(reply.body), reply.broken) == (at, True)
    assert web.ask(chat).names[-1] == "all_done"


def test_a_broken_data_line_may_appear(emulator: KimiLegacyEmulator, web: Web) -> None:
    emulator.faults.add("garbled", at=1)
    blocks = web.ask(web.create()).body.decode().split("\n\n")
    with pytest.raises(ValueError):
        json.loads(blocks[3].removeprefix("data: "))


def test_a_stream_may_hang_before_its_head(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.faults.add("hang", on="completion")
    web.send("POST", stream_path(web.create()), {"messages": [_user("x")]})
    emulator.log.wait_for(lambda entries: entries[-1].outcome == "hanging")
    web.leave()
    emulator.log.wait_for(lambda entries: entries[-1].outcome == "aborted")
    assert emulator.log.all()[-1].status is None


@pytest.mark.parametrize(("at", "needle"), [(-1, b""), (0, b"resp"), (1, b"You said")])
def test_a_stream_may_hang_after_its_head_with_pings_or_without(
    emulator: KimiLegacyEmulator, web: Web, at: int, needle: bytes
) -> None:
    chat = web.create()
    emulator.faults.add("stall", at=at, ping_interval=0.01)
    data = read_until(web.begin(chat), b'data: {"event":"ping"}\n\n')
    assert needle in data and b"all_done" not in data
    web.leave()
    web.call("DELETE", f"/api/chat/{chat}")
    emulator.faults.add("stall", at=at, seconds=0.03)
    assert "ping" not in web.ask(web.create()).names


def test_pings_fill_the_silence_of_a_slow_answer(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.knobs.ping_interval = 0.01
    emulator.answer = Answer(pieces=("a", "b"), first_delay=0.05, delay=0.05)
    names = web.ask(web.create()).names
    assert names[2] == "ping" and "ping" in names[names.index("cmpl") :]


def test_an_account_writes_one_answer_at_a_time(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    bob = login(emulator, "bob")
    emulator.answer = SLOW
    first, second = web.create(), web.create()
    read_until(web.begin(first), b"one ")
    for chat in (first, second):
        reply = web.ask(chat)
        assert reply.status == 200
        assert reply.json()["error_type"] == "chat.user_stream_pushing"
    emulator.answer = Answer("quick")
    assert bob.ask(bob.create()).text == "quick"


def test_of_many_questions_at_once_one_is_answered(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = SLOW
    chats = [web.create() for _ in range(8)]
    kinds: list[str | None] = []

    def ask(chat: str) -> None:
        kinds.append(web.begin(chat).headers["Content-Type"])

    threads = [threading.Thread(target=ask, args=(chat,)) for chat in chats]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, kinds)) == ["application/json"] * 7 + [
        "text/event-stream; charset=utf-8"
    ]


def test_a_turn_lives_on_without_its_client_until_its_chat_is_deleted(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = SLOW
    chat, other = web.create(), web.create()
    read_until(web.begin(chat), b"one ")
    web.leave()
    emulator.log.wait_for(lambda entries: entries[-1].outcome == "aborted")
    entry = emulator.log.of("completion")[0]
    assert entry.aborted_at is not None and entry.aborted_at >= entry.at
    assert emulator.running("alice")
    assert web.ask(other).json()["error_type"] == "chat.user_stream_pushing"
    assert web.call("DELETE", f"/api/chat/{chat}").status == 200
    assert not emulator.running("alice")
    emulator.answer = Answer("free")
    assert web.ask(other).text == "free"


def test_a_turn_without_its_client_ends_by_itself_and_stays_in_the_history(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer, emulator.knobs.generates_after_disconnect = SLOW, 0.05
    chat = web.create()
    read_until(web.begin(chat), b"one ")
    web.leave()
    emulator.log.wait_for(lambda entries: entries[-1].outcome == "aborted")
    eventually(lambda: not emulator.running("alice"))
    scroll = web.call("POST", f"/api/chat/{chat}/segment/scroll", {"last": 9}).json()
    assert scroll["items"][-1]["content"] == "one two three"


def test_deleting_a_chat_breaks_its_running_stream(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    emulator.answer = SLOW
    chat = web.create()
    response = web.begin(chat)
    read_until(response, b"one ")
    assert web.call("DELETE", f"/api/chat/{chat}").status == 200
    with pytest.raises(http.client.IncompleteRead):
        response.read()
    eventually(lambda: emulator.log.of("completion")[0].outcome == "cut")


def test_the_emulator_stops_with_streams_open(web: Web) -> None:
    web.emulator.answer = SLOW
    read_until(web.begin(web.create()), b"one ")
    web.emulator.stop()
    entries = web.emulator.log.wait_for(lambda all_: all_[-1].closed_at is not None)
    assert entries[-1].outcome == "aborted"
