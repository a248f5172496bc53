"""The base of the emulators: routes, streams that can be cut, log, faults, no leaks."""

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.server import Emulator, Exchange, Route, Shape
from tests.emulators.connect_client import whole

SHAPES = {
    "plain": Shape(),
    "bytes": Shape(pieces=(1,)),
    "uneven": Shape(pieces=(3, 1, 7)),
    "paced": Shape(pieces=(4,), gap=0.001),
    "close": Shape(chunked=False),
    "close-bytes": Shape(chunked=False, pieces=(1,)),
}


class Sample(Emulator):
    """Three routes: an echo, a stream of five frames, one that crashes."""

    known_faults = frozenset({"odd"})

    def __init__(self) -> None:
        self.shape = Shape()
        super().__init__()

    def routes(self) -> Iterable[Route]:
        return (
            Route("POST", "/things/{id}/echo", self._echo),
            Route("GET", "/stream", self._stream),
            Route("GET", "/wait", self._wait),
            Route("GET", "/crash", self._crash),
        )

    def _echo(self, exchange: Exchange) -> None:
        seen = exchange.request
        body = seen.json()
        exchange.json({"id": seen.params["id"], "q": dict(seen.query), "body": body})

    def _stream(self, exchange: Exchange) -> None:
        writer = exchange.stream("text/plain", self.shape)
        for number in range(5):
            writer.write(f"frame{number}".encode())

    def _wait(self, exchange: Exchange) -> None:
        writer = exchange.stream("text/plain")
        writer.write(b"first")
        if writer.pause(60):
            writer.write(b"second")

    def _crash(self, exchange: Exchange) -> None:
        raise KeyError("a mistake of the emulator")


@pytest.fixture
def sample() -> Iterator[Sample]:
    with Sample() as emulator:
        yield emulator


def call(
    emulator: Emulator, method: str, path: str, body: Any = None, **headers: str
) -> Any:
    data = b"" if body is None else json.dumps(body).encode()
    return whole(emulator.url, method, path, data, headers)


@contextlib.contextmanager
def raw(emulator: Emulator, request: bytes) -> Iterator[socket.socket]:
    parts = urlsplit(emulator.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
        sock.sendall(request)
        yield sock


def dechunked(body: bytes) -> bytes:
    """Return the content of the chunks that arrived."""
    content = b""
    while b"\r\n" in body:
        size, _, body = body.partition(b"\r\n")
        content += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return content


def test_routes_by_method_and_path_with_placeholders(sample: Sample) -> None:
    reply = call(sample, "POST", "/things/a-7/echo?x=1", {"n": 1})
    assert reply.json() == {"id": "a-7", "q": {"x": "1"}, "body": {"n": 1}}
    assert call(sample, "GET", "/things/a-7/echo").status == 404
    assert call(sample, "POST", "/things/a/b/echo", {}).status == 404


def test_keeps_the_connection_alive_and_sends_without_delay(sample: Sample) -> None:
    connection = http.client.HTTPConnection(urlsplit(sample.url).netloc)
    for number in range(3):
        connection.request("POST", "/things/1/echo", json.dumps(number))
        assert json.loads(connection.getresponse().read())["body"] == number
    connection.close()
    assert len({entry.peer for entry in sample.log.of("echo")}) == 1


def test_reads_a_chunked_request_body(sample: Sample) -> None:
    connection = http.client.HTTPConnection(urlsplit(sample.url).netloc)
    pieces = iter([b'{"a":', b"1}"])
    connection.request("POST", "/things/1/echo", pieces, encode_chunked=True)
    assert json.loads(connection.getresponse().read())["body"] == {"a": 1}
    connection.close()


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_carries_the_same_bytes(sample: Sample, name: str) -> None:
    sample.shape = SHAPES[name]
    reply = call(sample, "GET", "/stream")
    assert reply.body == b"frame0frame1frame2frame3frame4"
    assert ("transfer-encoding" in reply.headers) == sample.shape.chunked


@pytest.mark.parametrize("rst", [False, True])
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    ("cut", "left"),
    [
        (Shape(cut_after=0), b""),
        (Shape(cut_after=2), b"frame0frame1"),
        (Shape(cut_at=0), b""),
        (Shape(cut_at=8), b"frame0fr"),
    ],
)
def test_cuts_at_the_frame_or_byte_asked_for(
    sample: Sample, cut: Shape, left: bytes, chunked: bool, rst: bool
) -> None:
    sample.shape = replace(cut, chunked=chunked, rst=rst)
    with raw(sample, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n") as sock:
        received = b""
        reset = False
        try:
            while piece := sock.recv(4096):
                received += piece
        except ConnectionResetError:
            reset = True
    assert reset == rst
    assert b"0\r\n\r\n" not in received
    if not rst:  # A reset may overtake the bytes before it.
        body = received.partition(b"\r\n\r\n")[2]
        assert (dechunked(body) if chunked else body) == left
    entry = sample.log.of("stream")[0]
    assert (entry.outcome, entry.sent) == ("cut", len(left))


def test_sees_at_once_that_the_peer_left_during_a_pause(sample: Sample) -> None:
    with raw(sample, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") as sock:
        received = b""
        while b"first" not in received:
            received += sock.recv(4096)
        assert sample.log.open()
        left_at = time.monotonic()
    entries = sample.log.wait_for(lambda log: log[0].aborted_at)
    assert entries[0].aborted_at is not None
    assert entries[0].aborted_at - left_at < 1.0
    assert entries[0].outcome == "aborted"
    assert entries[0].closed_at == pytest.approx(entries[0].aborted_at, abs=0.5)
    assert not sample.log.open()


def test_sees_that_the_peer_left_while_hanging(sample: Sample) -> None:
    sample.faults.add("hang")
    with raw(sample, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"):
        sample.log.wait_for(lambda log: log and log[0].outcome == "hanging")
    entries = sample.log.wait_for(lambda log: log[0].outcome == "aborted")
    assert entries[0].status is None


def test_logs_no_token_but_tells_tokens_apart(sample: Sample) -> None:
    for token in ("eyJfake-one", "eyJfake-two", "eyJfake-one"):
        body = {"refresh_token": "eyJfake-body", "text": ["plain", "eyJfake-list"]}
        headers = {"Authorization": f"Bearer {token}", "Cookie": "kimi-auth=eyJfake"}
        call(sample, "POST", "/things/1/echo", body, **headers)
    hashes = [entry.token_hash for entry in sample.log.of("echo")]
    assert hashes[0] == hashes[2] != hashes[1]
    assert "eyJ" not in repr(sample.log.all())
    assert "plain" in repr(sample.log.all())


def test_waiting_for_what_never_comes_ends_with_a_time_out(sample: Sample) -> None:
    with pytest.raises(TimeoutError):
        sample.log.wait_for(lambda log: log, timeout=0.01)


def test_faults_hit_the_route_the_count_and_the_turn_they_are_planned_for(
    sample: Sample,
) -> None:
    sample.faults.add("status", times=2, after=1, on="stream", status=502)
    echo = [call(sample, "POST", "/things/1/echo", {}).status for _ in range(2)]
    seen = [call(sample, "GET", "/stream").status for _ in range(4)]
    assert (echo, seen) == ([200, 200], [200, 502, 502, 200])
    assert sample.faults.pending() == ()


def test_faults_bound_to_an_account_leave_others_alone(sample: Sample) -> None:
    sample.faults.add("status", account="alice")
    assert call(sample, "GET", "/stream").status == 200
    assert sample.faults.take({"status"}, "alice", "stream") is not None


def test_an_unknown_fault_is_refused(sample: Sample) -> None:
    with pytest.raises(ValueError, match="unknown fault"):
        sample.faults.add("stauts")


def test_the_status_fault_carries_body_headers_and_retry_after(sample: Sample) -> None:
    sample.faults.add("status", status=429, body={"no": 1}, retry_after=7)
    reply = call(sample, "GET", "/stream")
    assert (reply.status, reply.json()) == (429, {"no": 1})
    assert reply.headers["retry-after"] == "7"


@pytest.mark.parametrize("status", [200, 403])
def test_the_challenge_fault_answers_a_page(sample: Sample, status: int) -> None:
    sample.faults.add("challenge", status=status)
    reply = call(sample, "GET", "/stream")
    assert (reply.status, reply.headers["content-type"]) == (status, "text/html")


def test_the_redirect_fault_is_a_trap_for_the_token(sample: Sample) -> None:
    sample.faults.add("redirect")
    reply = call(sample, "GET", "/stream")
    assert reply.status == 302
    call(sample, "GET", reply.headers["location"], Authorization="Bearer fake-token")
    assert sample.log.of("Trap")[0].token_hash


def test_the_slow_fault_only_delays(sample: Sample) -> None:
    sample.faults.add("slow", delay=0.02)
    assert call(sample, "GET", "/stream").status == 200


def test_the_reset_fault_ends_the_connection_unanswered(sample: Sample) -> None:
    sample.faults.add("reset")
    with pytest.raises(ConnectionError):
        call(sample, "GET", "/stream")


def test_other_processes_reach_faults_log_and_reset_over_http(sample: Sample) -> None:
    fault = {"name": "status", "status": 503, "on": "stream"}
    assert call(sample, "POST", "/_emulator/faults", fault).json() == {"pending": 1}
    assert call(sample, "POST", "/_emulator/faults", {"name": "x"}).status == 400
    assert call(sample, "GET", "/stream").status == 503
    entries = call(sample, "GET", "/_emulator/log?name=stream").json()["entries"]
    assert [entry["status"] for entry in entries] == [503]
    assert call(sample, "GET", "/_emulator/chats").json() == {"chats": []}
    call(sample, "POST", "/_emulator/reset", {})
    assert sample.log.all() == ()


def test_a_crashing_handler_fails_the_test_that_used_it() -> None:
    emulator = Sample().start()
    with pytest.raises(http.client.RemoteDisconnected):
        call(emulator, "GET", "/crash")
    with pytest.raises(RuntimeError, match="a mistake of the emulator"):
        emulator.stop()


def test_stop_ends_idle_hanging_and_streaming_connections_and_their_threads() -> None:
    before = set(threading.enumerate())
    emulator = Sample().start()
    emulator.faults.add("hang", on="stream")
    with (
        raw(emulator, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n") as streaming,
        raw(emulator, b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"),
        raw(emulator, b""),
    ):
        assert streaming.recv(4096)
        emulator.log.wait_for(lambda log: len(log) == 2)
        emulator.stop()
    assert set(threading.enumerate()) <= before
    emulator.stop()
    with pytest.raises(RuntimeError, match="not running"):
        _ = emulator.url


def test_starts_again_on_a_given_port() -> None:
    emulator = Sample().start()
    port = urlsplit(emulator.url).port or 0
    emulator.stop()
    with emulator.start(port):
        assert urlsplit(emulator.url).port == port
        assert call(emulator, "GET", "/stream").status == 200


def test_serves_many_connections_at_once(sample: Sample) -> None:
    request = b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(raw(sample, request))
        sample.log.wait_for(lambda log: sum(e.status == 200 for e in log) == 50)
        assert len(sample.log.open()) == 50
    sample.log.wait_for(lambda log: all(entry.aborted_at for entry in log))
