"""Every fault of the error table and of the checklist (connect sheet §8, §15)."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from emulators.kimi_connect.error import ERRORS, STATUS_OF_CODE
from tests.emulators.connect_client import FEEDS, Reply, Web, message, until

TEXT = "one two three four"
PIECES = ("one ", "two ", "three ", "four")


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        emulator.answer = Answer(TEXT, pieces=PIECES)
        emulator.knobs.texts = "append"
        yield emulator


@pytest.fixture
def web(kimi: KimiConnectEmulator) -> Web:
    return Web(kimi, kimi.add_account("alice").access)


def error_of(value: dict[str, Any] | None) -> dict[str, Any]:
    assert value is not None
    return dict(value["error"])


def has_ended_well(reply: Reply) -> bool:
    return reply.trailer == {} and {"done": {}} in reply.events and not reply.tail


@pytest.mark.parametrize("name", ERRORS)
def test_every_error_can_be_a_unary_status(
    web: Web, kimi: KimiConnectEmulator, name: str
) -> None:
    kimi.faults.add("rpc_error", on="ListFeeds", error=name, retry_after=9)
    assert web.rpc("ListChats").status == 200
    reply = web.rpc(FEEDS, x_language="zh-CN")
    assert reply.status == STATUS_OF_CODE[ERRORS[name].code]
    assert reply.json() == ERRORS[name].body("zh-CN")
    assert reply.headers["retry-after"] == "9"
    assert web.rpc(FEEDS).status == 200


@pytest.mark.parametrize("name", ERRORS)
@pytest.mark.parametrize("where", ["trailer", "frame", "http"])
def test_every_error_can_come_before_anything_else_of_a_chat(
    web: Web, kimi: KimiConnectEmulator, name: str, where: str
) -> None:
    kimi.faults.add("error", error=name, where=where, before_chat=True)
    reply = web.chat()
    expected = {"error": ERRORS[name].body()}
    if where == "http":
        assert (reply.status, reply.json()) == (
            ERRORS[name].status,
            expected["error"],
        )
    elif where == "frame":
        assert (reply.events, reply.trailer) == ([expected], {})
    else:
        assert (reply.events, reply.trailer) == ([], expected)
    assert kimi.running() == ()


@pytest.mark.parametrize("after", [0, 1, 3])
@pytest.mark.parametrize("where", ["trailer", "frame"])
def test_an_error_can_come_before_or_after_some_content(
    web: Web, kimi: KimiConnectEmulator, where: str, after: int
) -> None:
    kimi.faults.add("error", error="overloaded", where=where, after_content=after)
    reply = web.chat()
    assert reply.masks[:1] == ["chat"]
    assert reply.said() == "".join(PIECES[:after])
    assert "message.status" not in reply.masks
    error = reply.events[-1] if where == "frame" else reply.trailer
    reason = error_of(error)["details"][0]["debug"]["reason"]
    assert reason == "REASON_COMPLETION_OVERLOADED"


def test_an_error_trailer_can_follow_done(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.faults.add("error", error="overloaded_free", after_done=True)
    reply = web.chat()
    assert (reply.said(), reply.events[-1]) == (TEXT, {"done": {}})
    assert error_of(reply.trailer)["code"] == "resource_exhausted"


def test_an_error_can_have_its_text_in_the_localized_message_only(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add(
        "error",
        error="permission_denied",
        message="不行",
        empty_message=True,
        before_chat=True,
        locale="zh-CN",
    )
    error = error_of(web.chat().trailer)
    assert error["message"] == ""
    said = error["details"][0]["debug"]["localizedMessage"]
    assert said == {"locale": "zh-CN", "message": "不行"}


def test_an_error_can_carry_retry_after(web: Web, kimi: KimiConnectEmulator) -> None:
    for where in ("http", "trailer"):
        kimi.faults.add("error", error="concurrency", where=where, retry_after=3)
        assert web.chat().headers["retry-after"] == "3"


def test_an_error_names_the_violated_field(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.faults.add("error", error="invalid_argument", before_chat=True)
    debug = error_of(web.chat().trailer)["details"][0]["debug"]
    assert debug["violations"] == [
        {
            "field": {"elements": [{"fieldName": "message"}, {"fieldName": "blocks"}]},
            "message": "value is required",
        }
    ]


def test_faults_bound_to_an_account_hit_only_that_one(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("error", account="bob", error="unavailable")
    assert web.chat().said() == TEXT
    other = Web(kimi, kimi.add_account("bob").access)
    assert error_of(other.chat().trailer)["code"] == "unavailable"


@pytest.mark.parametrize(
    ("params", "severity", "said"),
    [
        ({}, None, ""),
        (
            {"after_content": 2, "severity": "SEVERITY_BLOCK_RETRACT"},
            "SEVERITY_BLOCK_RETRACT",
            "one two ",
        ),
    ],
)
def test_an_exception_block_ends_an_otherwise_clean_stream(
    web: Web,
    kimi: KimiConnectEmulator,
    params: dict[str, Any],
    severity: str | None,
    said: str,
) -> None:
    kimi.faults.add("exception", **params)
    reply = web.chat()
    event = next(e for e in reply.events if e.get("mask") == "block.exception")
    error = event["block"]["exception"]["error"]
    assert error["reason"] == "REASON_COMPLETION_OVERLOADED"
    assert error.get("severity") == severity
    assert reply.said() == said
    assert has_ended_well(reply)


@pytest.mark.parametrize(
    ("name", "trailer", "done"),
    [("no_trailer", None, True), ("no_end", None, False), ("no_done", {}, False)],
)
def test_an_ending_can_be_missing(
    web: Web,
    kimi: KimiConnectEmulator,
    name: str,
    trailer: dict[str, Any] | None,
    done: bool,
) -> None:
    kimi.faults.add(name)
    reply = web.chat()
    assert (reply.said(), reply.broken, reply.tail) == (TEXT, False, b"")
    assert reply.trailer == trailer
    assert ({"done": {}} in reply.events) == done
    assert ("message.status" in reply.masks) == (name != "no_end")


@pytest.mark.parametrize("close", [False, True])
def test_the_stream_can_be_cut_after_any_frame(
    web: Web, kimi: KimiConnectEmulator, close: bool
) -> None:
    total = len(web.chat().frames)
    for count in range(total):
        kimi.faults.add("cut", after_frames=count)
        if close:
            kimi.faults.add("close_delimited")
        reply = web.chat()
        assert (len(reply.frames), reply.tail) == (count, b"")
        assert reply.broken == (not close)
        until(lambda: not kimi.running())


def test_the_stream_can_be_cut_at_any_byte(web: Web, kimi: KimiConnectEmulator) -> None:
    for count in (0, 1, 4, 5, 6, 30, 400):
        kimi.faults.add("cut", at_byte=count)
        assert len(web.chat().body) == count
        until(lambda: not kimi.running())


def test_the_stream_can_be_reset(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.faults.add("cut", after_frames=0, rst=True)
    with pytest.raises(ConnectionResetError):
        web.chat()


@pytest.mark.parametrize("pieces", [[1], [3], [5, 1, 2], [1000]])
def test_the_stream_can_come_in_pieces_of_any_size(
    web: Web, kimi: KimiConnectEmulator, pieces: list[int]
) -> None:
    kimi.faults.add("split", pieces=pieces)
    reply = web.chat(message("狐狸 🦊"))
    assert (reply.said(), reply.trailer) == (TEXT, {})


def test_the_stream_can_be_delimited_by_its_close(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("close_delimited")
    reply = web.chat()
    assert "transfer-encoding" not in reply.headers
    assert has_ended_well(reply)


def test_a_frame_can_be_larger_than_64_kib_and_full_of_braces(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("big_frame", after_content=1)
    reply = web.chat()
    assert max(len(payload) for _, payload in reply.frames) > 70_000
    assert (reply.said(), has_ended_well(reply)) == (TEXT, True)
    kimi.answer = Answer("{" * 123, pieces=123)
    assert web.chat().said() == "{" * 123


def test_a_frame_can_be_compressed(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.faults.add("compressed", frame=1)
    reply = web.chat()
    packed = [payload for flag, payload in reply.frames if flag == 1]
    event = json.loads(gzip.decompress(packed[0]))
    assert (len(packed), event["block"]["text"]["content"]) == (1, "two ")
    assert has_ended_well(reply)


@pytest.mark.parametrize("kind", ["text", "utf8", "cut_json", "list"])
def test_a_frame_can_be_garbage(web: Web, kimi: KimiConnectEmulator, kind: str) -> None:
    kimi.faults.add("garbage", kind=kind, after_content=1)
    payloads = [payload for _, payload in web.chat().frames]
    assert sum(not _is_event(payload) for payload in payloads) == 1


def _is_event(payload: bytes) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except ValueError:
        return False


def test_a_frame_can_claim_more_than_any_cap(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("oversize", after_content=1)
    reply = web.chat()
    assert reply.tail.startswith(b"\0\xff\xff\xff\xf0")
    assert reply.said() == "one "


def test_event_offsets_can_be_missing(web: Web, kimi: KimiConnectEmulator) -> None:
    kimi.faults.add("no_offsets")
    reply = web.chat()
    assert not any("eventOffset" in event for event in reply.events)
    assert has_ended_well(reply)


@pytest.mark.parametrize("heartbeats", [False, True])
@pytest.mark.parametrize("after", [0, 2])
def test_the_stream_can_fall_silent_with_or_without_heartbeats(
    web: Web, kimi: KimiConnectEmulator, after: int, heartbeats: bool
) -> None:
    kimi.knobs.heartbeat_interval = 0.005
    kimi.faults.add("silence", seconds=0.05, heartbeats=heartbeats, after_content=after)
    reply = web.chat()
    beats = sum("heartbeat" in event for event in reply.events)
    assert (beats > 1) == heartbeats
    assert (reply.said(), has_ended_well(reply)) == (TEXT, True)


def test_a_hang_in_the_middle_ends_when_the_client_leaves(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("silence", after_content=1, heartbeats=False)
    kimi.knobs.generates_after_disconnect = 0
    with web.streaming() as stream:
        stream.until("block.text")
    kimi.log.wait_for(lambda log: log[0].aborted_at)
    until(lambda: not kimi.running())


def test_a_chat_can_hang_before_its_headers(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("slow", on="Chat", delay=0.02)
    assert web.chat().status == 200
    kimi.faults.add("hang", on="Chat", account="alice")
    with pytest.raises(TimeoutError):
        web.chat(timeout=0.05)
    kimi.log.wait_for(lambda log: log[-1].outcome == "aborted")


@pytest.mark.parametrize("status", [200, 403])
def test_a_chat_can_meet_a_challenge_page(
    web: Web, kimi: KimiConnectEmulator, status: int
) -> None:
    kimi.faults.add("challenge", on="Chat", status=status)
    reply = web.chat()
    assert (reply.status, reply.headers["content-type"]) == (status, "text/html")


def test_faults_of_several_kinds_act_together(
    web: Web, kimi: KimiConnectEmulator
) -> None:
    kimi.faults.add("split", pieces=[1])
    kimi.faults.add("big_frame", size=200)
    kimi.faults.add("error", error="unavailable", after_content=3)
    reply = web.chat()
    assert reply.said() == "one two three "
    assert error_of(reply.trailer)["code"] == "unavailable"
    assert kimi.faults.pending() == ()
