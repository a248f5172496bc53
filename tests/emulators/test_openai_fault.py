"""What the OpenAI emulator does wrong on demand, and what it notices of its clients."""

import http.client
import time
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.openai import (
    ERRORS,
    FURTHER_ERRORS,
    Answer,
    Choice,
    OpenAIEmulator,
    Recording,
    Refusal,
    Spelling,
    refuse,
    respell,
)
from tests.emulators.openai_client import Api

ABCD = Answer(Choice(pieces=("a", "b", "c", "d")))


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        running.add_key("alice")
        running.answer = ABCD
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


EVERY = {**ERRORS, **FURTHER_ERRORS}


@pytest.mark.parametrize("name", EVERY)
def test_every_vendors_error_is_sent_as_its_row_has_it(
    emulator: OpenAIEmulator, api: Api, name: str
) -> None:
    row = EVERY[name]
    emulator.faults.add("refuse", error=name, headers={"X-Odd": "1"})
    reply = api.ask()
    assert reply.status == row.status and reply.body == row.body()
    assert reply.headers["content-type"] == row.content_type
    assert reply.headers["x-odd"] == "1"
    assert api.ask().status == 200


def test_a_refusal_may_be_anything(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.faults.add("refuse", status=418, text="<p>", content_type="text/html")
    emulator.faults.add(
        "refuse", status=429, body=[1], wait=20, forms=["ms", "seconds"]
    )
    reply = api.stream()
    assert (reply.status, reply.body) == (418, b"<p>")
    reply = api.ask()
    assert reply.json() == [1] and reply.headers["retry-after"] == "20"
    assert reply.headers["retry-after-ms"] == "20000"
    emulator.answer = refuse(402, "no", code="x")
    assert api.ask().error["code"] == "x"
    emulator.answers["models"] = Refusal(500, text="broken")
    assert api.call("GET", "/models").body == b"broken"


def test_faults_hit_the_route_and_key_they_name(
    emulator: OpenAIEmulator, api: Api
) -> None:
    bob = Api(emulator, emulator.add_key("bob"))
    emulator.faults.add("refuse", on="models", account="bob")
    assert api.call("GET", "/models").status == 200
    assert bob.ask().status == 200
    assert bob.call("GET", "/models").status == 503
    with pytest.raises(ValueError, match="unknown fault"):
        emulator.faults.add("sulk")


def test_a_key_may_change_in_the_middle_of_its_work(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("change_key", after=1, state="no_balance", on="chat")
    assert [api.ask().status for _ in range(3)] == [200, 429, 429]


@pytest.mark.parametrize(
    ("then", "done", "broken"),
    [("close", False, False), ("done", True, False), ("cut", False, True)],
)
def test_an_error_may_come_in_the_middle_of_a_stream(
    emulator: OpenAIEmulator, api: Api, then: str, done: bool, broken: bool
) -> None:
    error = {"error": {"code": 502, "message": "gone"}}
    emulator.faults.add("error_chunk", at=2, body=error, event="error", then=then)
    reply = api.stream()
    assert reply.status == 200 and reply.broken == broken and reply.done == done
    assert reply.events[-1] == error and b"event: error\n" in reply.body
    assert reply.body.count(b'"content":"a"') and not reply.body.count(b'"content":"c"')


def test_an_error_may_be_a_whole_answer_of_status_200(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("error_body", body={"error": "plain text"})
    reply = api.ask()
    assert reply.status == 200 and reply.json() == {"error": "plain text"}
    emulator.faults.add("odd_body", text="")
    assert api.ask().body == b""
    emulator.faults.add("odd_body", body=None)
    assert api.ask().json() is None
    emulator.faults.add("odd_body", text="<html>", content_type="text/html")
    assert api.ask().headers["content-type"] == "text/html"


def test_a_stream_may_stall_with_comments_and_go_on(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("stall", at=1, seconds=0.2, comments=0.02)
    body = api.stream().body
    before, _, after = body.partition(b": keep-alive\n\n")
    assert b'"content":"a"' in before and b'"content":"b"' in after
    assert b"[DONE]" in after


def test_a_stream_may_stall_before_its_first_chunk_for_good(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("stall")
    response = api.begin(stream=True)
    assert response.status == 200
    response.close()
    api.leave()
    (entry,) = emulator.log.wait_for(lambda seen: seen[0].aborted_at is not None)
    assert entry.outcome == "aborted" and entry.frames == 0


def test_a_line_may_be_no_json(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.faults.add("garbled", at=1)
    body = api.stream().body
    assert b'data: {"id":"chatcmpl-\n\n' in body and body.endswith(b"[DONE]\n\n")
    after = body.partition(b"chatcmpl-\n\n")[2]
    assert b'"content":"b"' in after and b'"content":"a"' not in after


@pytest.mark.parametrize(("clean", "finish"), [(True, True), (False, False)])
def test_a_stream_may_end_without_done(
    emulator: OpenAIEmulator, api: Api, clean: bool, finish: bool
) -> None:
    emulator.faults.add("no_done", clean=clean, finish=finish)
    reply = api.stream()
    assert not reply.done and reply.broken != clean
    assert (b'"finish_reason":"stop"' in reply.body) == finish


@pytest.mark.parametrize("rst", [True, False])
def test_a_stream_may_be_cut_at_any_byte(
    emulator: OpenAIEmulator, api: Api, rst: bool
) -> None:
    emulator.faults.add("cut", at_byte=100, rst=rst)
    reply = api.stream()
    assert reply.broken and len(reply.body) <= 100
    assert rst or len(reply.body) == 100
    assert emulator.log.of("chat")[0].outcome == "cut"


def test_a_whole_answer_may_be_cut_or_lost(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.faults.add("short_body", rst=False)
    reply = api.ask()
    assert reply.broken and 0 < len(reply.body) < int(reply.headers["content-length"])
    emulator.faults.add("lost_answer")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        api.ask(store=True)
    assert len(api.call("GET", "/chat/completions").json()["data"]) == 1


def test_a_stream_may_be_answered_whole_or_under_a_wrong_type(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("not_streamed")
    assert api.stream().json()["object"] == "chat.completion"
    emulator.faults.add("typed", content_type="application/json")
    reply = api.stream()
    assert reply.headers["content-type"] == "application/json" and reply.done


def test_base_faults_work_here_too(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.faults.add("challenge")
    assert b"Checking your browser" in api.ask().body
    emulator.faults.add("redirect")
    assert api.ask().headers["location"] == "/_emulator_trap"
    emulator.faults.add("reset")
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        api.ask()


def test_a_client_that_leaves_a_stream_is_noticed(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer("slowly", delay=60, first_delay=60)
    response = api.begin(stream=True)
    assert b"assistant" in response.read1(4096)
    left = time.monotonic()
    response.close()
    api.leave()
    (entry,) = emulator.log.wait_for(lambda seen: seen[0].aborted_at is not None)
    assert entry.aborted_at is not None and entry.aborted_at >= left


def test_a_client_that_leaves_a_whole_answer_is_noticed_too(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer("slowly", first_delay=60)
    api.send("POST", "/chat/completions", {"model": "gpt-4o", "messages": list(HI)})
    emulator.log.wait_for(lambda seen: seen)
    api.leave()
    (entry,) = emulator.log.wait_for(lambda seen: seen[0].aborted_at is not None)
    assert entry.outcome == "aborted" and entry.status is None


HI = ({"role": "user", "content": "hi"},)
ODD = (
    b"\xef\xbb\xbf: hello\r\rretry: 5\r\n"
    b'data:{"a":\r\ndata: 1}\r\n\r\nid\n\nevent: x\ndata: "\xe4\xbd\xa0"\n\n'
)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_a_recording_is_played_back_byte_for_byte(
    emulator: OpenAIEmulator, api: Api, framing: str
) -> None:
    emulator.answer = Recording(ODD, pieces=(1, 4, 2), framing=framing)
    reply = api.stream()
    assert reply.body == ODD and not reply.broken
    assert ("content-length" in reply.headers) == (framing == "length")


@pytest.mark.parametrize("at", range(len(ODD) + 1))
def test_a_recording_may_be_cut_at_every_byte(
    emulator: OpenAIEmulator, api: Api, at: int
) -> None:
    emulator.answer = Recording(ODD, cut_at=at)
    reply = api.stream()
    assert reply.broken and reply.body == ODD[:at]


def test_a_recording_has_its_own_head_and_pauses(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Recording(
        b"onetwo", "text/odd", 203, {"X-Odd": "1"}, pauses={3: 60.0}
    )
    response = api.begin(stream=True)
    assert response.status == 203 and response.headers["x-odd"] == "1"
    assert response.read1(100) == b"one"
    response.close()
    api.leave()
    emulator.log.wait_for(lambda seen: seen[0].aborted_at is not None)


def test_any_route_may_play_a_recording(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.answers["models"] = Recording(b"[]", "application/json", framing="length")
    assert api.call("GET", "/models").json() == []


def test_documents_are_respelled_for_recordings() -> None:
    documents: list[Any] = [{"a": 1}, {"b": 2}]
    body = respell(documents, Spelling(end="\r\n", tight=True, done=False))
    assert body == b'data:{"a":1}\r\n\r\ndata:{"b":2}\r\n\r\n'


def test_a_whole_answer_that_takes_too_long_is_a_gateway_timeout(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.knobs.answer_limit = 0.05
    emulator.answer = Answer("slow", first_delay=0.1)
    reply = api.ask()
    assert reply.status == 504 and b"Gateway Time-out" in reply.body
    assert "".join(api.stream().deltas()) == "slow"
