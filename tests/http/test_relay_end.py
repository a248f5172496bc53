"""How a relayed answer ends: whole, cut, or left by its client; on real workers."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest

from emulators.openai import Recording
from emulators.openai.stored import Item
from tests.http import relay_checks, wire
from tests.http.relay_house import ACCOUNTS, KEY, Relayed, form, refresh, relaying

AUTH = f"Authorization: Bearer {KEY}"
SPEECH = {"model": "up/tts-1", "input": "hi", "voice": "alloy"}
SOUND = random.Random(1).randbytes(200_000)
SOON = 5.0  # generous for a busy machine; the watcher looks ten times a second


@pytest.fixture(scope="module", params=["gevent", "gthread"])
def shared(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Relayed]:
    with relaying(tmp_path_factory.mktemp("relay"), request.param) as relayed:
        yield relayed


@pytest.fixture
def up(shared: Relayed) -> Relayed:
    refresh(shared)
    return shared


def received(up: Relayed, path: str, body: object, version: str = "1.1") -> bytes:
    """The whole answer as it came; raises ConnectionResetError where it was reset."""
    request = wire.request(body, AUTH, "Connection: close", path=f"/v1{path}")
    with wire.line(up.port) as line:
        line.send(request.replace(b"HTTP/1.1", f"HTTP/{version}".encode(), 1))
        return line.rest()


def say(up: Relayed, body: bytes = SOUND, **shape: Any) -> None:
    """What the upstream answers to every call for speech."""
    up.emulator.answers["speech"] = Recording(body, "audio/mpeg", **shape)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_a_long_answer_comes_whole(up: Relayed, framing: str) -> None:
    say(up, SOUND * 10, framing=framing)
    answer = up.call("POST", "/audio/speech", SPEECH)
    assert answer.data == SOUND * 10
    assert ("content-length" in answer.headers) == (framing == "length")


@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize("told", [False, True], ids=["chunked", "length"])
def test_an_answer_that_is_cut_does_not_look_whole(
    up: Relayed, rst: bool, told: bool
) -> None:
    length = {"Content-Length": str(len(SOUND))} if told else {}
    # Framed by the close, but with a length: that is what a cut one looks like.
    framing = "close" if told else "chunked"
    say(up, cut_at=100_000, rst=rst, framing=framing, headers=length)
    try:
        came = received(up, "/audio/speech", SPEECH)
    except ConnectionResetError:
        return
    head, _, body = came.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    if told:
        assert f"content-length: {len(SOUND)}".encode() in head.lower()
        assert len(body) <= 100_000
    else:
        assert not body.endswith(b"0\r\n\r\n")
        assert len(wire.dechunked(body)) <= 100_000


def test_a_stream_of_events_that_is_cut_does_not_look_whole(up: Relayed) -> None:
    events = b'data: {"text":"one"}\n\n' * 20
    up.emulator.answers["completions"] = Recording(events, cut_at=200)
    asked = {"model": "up/gpt-4o", "prompt": "hi", "stream": True}
    try:
        came = received(up, "/completions", asked)
    except ConnectionResetError:
        return
    assert not came.endswith(b"0\r\n\r\n")


def test_a_stream_without_its_end_is_handed_on_as_it_is(up: Relayed) -> None:
    events = b'data: {"error":{"message":"made up"}}\n\n: no end\n\n'
    up.emulator.answers["completions"] = Recording(events)
    asked = {"model": "up/gpt-4o", "prompt": "hi", "stream": True}
    answer = up.call("POST", "/completions", asked)
    assert (answer.status_code, answer.data) == (200, events)


def test_a_cut_looks_cut_to_a_client_of_http_1_0_too(up: Relayed) -> None:
    say(up)
    assert received(up, "/audio/speech", SPEECH, "1.0").endswith(SOUND)
    say(up, cut_at=100_000)
    with pytest.raises(ConnectionResetError):
        received(up, "/audio/speech", SPEECH, "1.0")


def leave(up: Relayed, ready: bytes | None) -> None:
    """Ask for speech, wait for `ready`, hang up; the upstream sees it soon."""
    with wire.line(up.port) as line:
        line.send(wire.request(SPEECH, AUTH, path="/v1/audio/speech"))
        up.emulator.log.wait_for(lambda log: any(e.name == "speech" for e in log))
        if ready is not None:
            line.until(ready)
        left = time.monotonic()
    up.emulator.log.wait_for(
        lambda log: all(e.aborted_at for e in log if e.name == "speech"), SOON
    )
    (entry,) = up.emulator.log.of("speech")
    assert (entry.aborted_at or 0) - left < SOON


def test_a_client_that_leaves_while_it_waits_ends_the_work(up: Relayed) -> None:
    up.emulator.faults.add("hang", on="speech")
    leave(up, None)


def test_a_client_that_leaves_midway_ends_the_work(up: Relayed) -> None:
    say(up, pauses={1000: 60.0})
    leave(up, SOUND[:1000])


def test_a_slow_reader_does_not_fill_the_memory(up: Relayed) -> None:
    """What the gateway holds is a few blocks: the upstream has to wait."""
    say(up, SOUND * 200, pieces=(65_536,))
    with wire.line(up.port, receive_buffer=4096) as line:
        line.send(wire.request(SPEECH, AUTH, path="/v1/audio/speech"))
        line.until(SOUND[:64])
        sent = -1
        while sent != (sent := up.emulator.log.of("speech")[0].sent):
            time.sleep(0.3)
        assert sent < 20_000_000
    up.emulator.log.wait_for(lambda log: all(e.aborted_at for e in log), SOON)


def test_an_upload_that_is_broken_off_is_nobody_s(up: Relayed) -> None:
    data = b'{"model":"up/tts-1","input":"' + b"x" * 1000
    head = wire.head("POST", "/v1/audio/speech", AUTH, "Content-Length: 999999")
    with wire.line(up.port) as line:
        line.send(head + data)
    assert up.call("GET", "/batches").status_code == 200
    assert [e.name for e in up.seen] == ["batches"]


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_both_connections_serve_again_after_an_answer(
    up: Relayed, framing: str
) -> None:
    say(up, framing=framing)
    with wire.line(up.port) as line:
        for _ in range(3):
            line.send(wire.request(SPEECH, AUTH, path="/v1/audio/speech"))
            assert line.answer().data == SOUND
    assert len({entry.peer for entry in up.seen}) == 1


# Some of these the client calls old, and OpenAI still has.
@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_official_client_gets_what_every_endpoint_has(up: Relayed) -> None:
    up.emulator.knobs.speech_bytes = relay_checks.SOUND
    document = {"id": "file-made-up-9", "object": "file", "purpose": "batch"}
    item = Item("file", "alice", document, b'{"custom_id":"1"}')
    up.emulator.world.stored.add(item)
    relay_checks.run(up.base_url, KEY, item.id)


def written(up: Relayed, request_id: str) -> dict[str, Any]:
    """The line in the log about a request, which comes after its last byte."""
    process = up.process
    assert process is not None
    ends = time.monotonic() + SOON
    while time.monotonic() < ends:
        for line in process.log_lines("request"):
            if line["id"] == request_id:
                return line
        time.sleep(0.02)
    raise AssertionError(f"no line about {request_id}")


def test_a_relayed_call_has_its_line_in_the_log(up: Relayed) -> None:
    kind = {"content_type": "multipart/form-data; boundary=b"}
    parts = (
        ({"name": "model"}, b"up/whisper-1"),
        ({"name": "file", "filename": "a.mp3"}, SOUND),
    )
    body = form("b", *parts)
    answer = up.call("POST", "/audio/transcriptions", body, **kind)
    line = written(up, answer.headers["x-request-id"])
    assert line["route"] == "POST /v1/audio/<path:rest>"
    assert (line["status"], line["outcome"], line["key"]) == (200, "ok", "all")
    assert line["model"] == "up/whisper-1"
    assert line["account"] in ACCOUNTS
    assert line["bytes_in"] == len(body)
    assert line["bytes_out"] == len(answer.data)
    assert line["attempts"][0].startswith("up/")


def test_a_cut_answer_is_written_down_as_one(up: Relayed) -> None:
    say(up, cut_at=100_000, pauses={50_000: 0.2})
    with wire.line(up.port) as line:
        line.send(wire.request(SPEECH, AUTH, path="/v1/audio/speech"))
        head = line.until(b"\r\n\r\n").decode("latin-1").lower()
        with suppress(ConnectionResetError):
            line.rest()
    request_id = head.partition("x-request-id: ")[2].partition("\r\n")[0]
    told = written(up, request_id)
    assert (told["status"], told["outcome"]) == (200, "upstream_cut")


def test_a_key_that_dies_under_load_costs_no_client_anything(up: Relayed) -> None:
    died = threading.Event()

    def embed(number: int) -> int:
        if number == 20:
            up.emulator.set_key("bob", state="invalid")
            died.set()
        status: int = up.embed().status_code
        return status

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(embed, range(80))) == {200}
    assert died.is_set()
    assert "alice" in up.accounts()[-20:]


def test_a_killed_worker_leaves_no_account_taken(up: Relayed) -> None:
    alone = {**SPEECH, "model": "solo/tts-1"}
    say(up, pauses={1000: 60.0})
    with wire.line(up.port) as line:
        line.send(wire.request(alone, AUTH, path="/v1/audio/speech"))
        line.until(SOUND[:1000])
        assert up.call("POST", "/audio/speech", alone).status_code == 429, "it is taken"
        assert up.process is not None
        (killed,) = up.process.workers()
        os.kill(killed, signal.SIGKILL)
        with suppress(ConnectionResetError):
            assert not line.rest().endswith(b"0\r\n\r\n")
    up.emulator.log.wait_for(
        lambda log: all(e.aborted_at for e in log if e.name == "speech"), SOON
    )
    say(up)
    # The next worker sees that the one before is dead: nothing is waited for.
    assert up.call("POST", "/audio/speech", alone).data == SOUND
    assert killed not in up.process.workers()
