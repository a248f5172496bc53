"""Bodies over real servers: too large, in pieces, broken off; and broken HTTP."""

import json
import threading
from typing import Any

import pytest

from kimi_proxy.routes import body as routes_body
from tests.http import expect, grammar, wire
from tests.http.conftest import BEARER, Build, Serve, Served
from tests.http.scripted import chat

PATH = "/v1/chat/completions"
AUTH = "Authorization: Bearer kp-shared-made-up-key"
LIMIT = 2**20  # server.max_body of the shared gateways
GOOD = chat(["text", "hi"], ["finish"])


def padded(size: int) -> bytes:
    """A good request of exactly so many bytes."""
    body = json.dumps({**GOOD, "metadata": ""}).encode()
    return body[:-2] + b"w" * (size - len(body)) + b'"}'


def too_large(answer: wire.Answer) -> None:
    found = expect.error(answer, 413, "request_too_large")
    assert str(LIMIT) in found["message"]
    assert "server.max_body" in found["message"]


def test_the_largest_body_is_let_in(served: Served) -> None:
    body = padded(LIMIT)
    assert len(body) == LIMIT
    headers = {**BEARER, "content-type": "application/json"}
    answer = wire.call(served.port, "POST", PATH, body, headers=headers)
    assert grammar.read(answer.data).text == "hi"


@pytest.mark.parametrize("size", [LIMIT + 1, 40 * 2**20])
def test_a_larger_one_is_refused_and_the_client_can_read_why(
    served: Served, size: int
) -> None:
    body = b"w" * size
    answer = wire.call(served.port, "POST", PATH, body, headers=BEARER)
    too_large(answer)
    assert str(size) in json.loads(answer.data)["error"]["message"]


@pytest.mark.parametrize("size", [LIMIT + 1, 20 * 2**20])
def test_so_is_one_that_does_not_say_its_length(served: Served, size: int) -> None:
    with wire.line(served.port) as line:
        line.send(wire.head("POST", PATH, AUTH, "Transfer-Encoding: chunked"))
        line.send(wire.chunked(b"w" * size))
        too_large(line.answer())


def test_a_chunked_body_is_read(served: Served) -> None:
    kind = "Content-Type: application/json"
    for size in (1, 7, 100_000):
        with wire.line(served.port) as line:
            head = wire.head("POST", PATH, AUTH, kind, "Transfer-Encoding: chunked")
            line.send(head + wire.chunked(json.dumps(GOOD).encode(), size))
            assert grammar.read(line.answer().data).text == "hi"


def test_a_client_that_asks_before_it_sends(under_gunicorn: Served) -> None:
    body = json.dumps(GOOD).encode()
    length = f"Content-Length: {len(body)}"
    lines = (AUTH, length, "Content-Type: application/json", "Expect: 100-continue")
    with wire.line(under_gunicorn.port) as line:
        line.send(wire.head("POST", PATH, *lines))
        assert line.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        line.send(body)
        assert grammar.read(line.answer().data).text == "hi"


def test_a_client_that_asks_before_it_sends_too_much(under_gunicorn: Served) -> None:
    length = f"Content-Length: {5 * LIMIT}"
    with wire.line(under_gunicorn.port) as line:
        line.send(wire.head("POST", PATH, AUTH, length, "Expect: 100-continue"))
        line.until(b"\r\n\r\n")  # the servers say so themselves
        line.send(b"w" * 5 * LIMIT)
        too_large(line.answer())


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        (PATH, {}, 401),
        (PATH, {**BEARER, "content-type": "text/plain"}, 415),
        ("/nowhere", {}, 404),
        ("/v1/models", BEARER, 405),
    ],
)
def test_a_refusal_can_be_read_whatever_the_size(
    under_gunicorn: Served, path: str, headers: dict[str, str], status: int
) -> None:
    body = b"w" * 20 * 2**20
    answer = wire.call(under_gunicorn.port, "POST", path, body, headers=headers)
    assert answer.status_code == status
    assert set(answer.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        (("Content-Length: 100",), 401),
        (("Transfer-Encoding: chunked",), 401),
        ((AUTH, f"Content-Length: {'9' * 30}"), 413),
        ((AUTH, "Content-Length: 100", "Content-Type: text/plain"), 415),
    ],
    ids=["length", "chunks", "endless", "kind"],
)
def test_a_refusal_does_not_wait_for_a_body_that_never_comes(
    under_gunicorn: Served, lines: tuple[str, ...], status: int
) -> None:
    with wire.line(under_gunicorn.port) as line:
        line.send(wire.head("POST", PATH, *lines))
        assert line.answer().status_code == status
        assert line.rest() == b"", "what comes late would be taken for a request"


def test_a_body_that_stops_coming_is_not_waited_for_for_ever(
    build: Build, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_body, "_PATIENCE", 0.3)
    house = build()
    with wire.line(serve(house.app)) as line:
        kind = "Content-Type: application/json"
        line.send(wire.head("POST", PATH, kind, "Content-Length: 100") + b'{"model"')
        found = expect.error(line.answer(), 408, "request_timeout")
        assert "stopped coming" in found["message"]
        assert line.rest() == b""
    assert house.diary.words() == []


def test_broken_chunks_are_the_clients_mistake(under_gunicorn: Served) -> None:
    with wire.line(under_gunicorn.port) as line:
        head = wire.head("POST", PATH, AUTH, "Transfer-Encoding: chunked")
        line.send(head + b"5\r\nhello\r\nxyz\r\n")
        answer = line.answer()
        expect.error(answer, 400, None)
        assert line.rest() == b"", "the connection is of no more use"


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad\x01Name: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nName: kp-planted-key\x00\r\n\r\n", 400),
        (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\nName: " + b"a" * 200_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: magic\r\n\r\n", 501),
        (b"get / HTTP/1.1\r\n\r\n", 400),
    ],
    ids=range(10),
)
def test_broken_http_is_answered_in_json_too(
    under_gunicorn: Served, raw: bytes, status: int
) -> None:
    with wire.line(under_gunicorn.port) as line:
        line.send(raw)
        answer = line.answer()
    expect.error(answer, status, None)
    assert b"planted" not in answer.data


def test_a_long_bearer_is_let_in(under_gunicorn: Served) -> None:
    """Ten upstream tokens in one header, as kimi-free-api's clients send them."""
    long = {"Authorization": "Bearer " + ",".join(["x" * 1500] * 10)}
    answer = wire.call(under_gunicorn.port, "GET", "/v1/models", headers=long)
    expect.error(answer, 401, "invalid_api_key")


def test_a_connection_lives_on_after_every_refusal(under_gunicorn: Served) -> None:
    def requests() -> list[tuple[bytes, int]]:
        return [
            (wire.request(GOOD), 401),
            (wire.request(b"{", AUTH), 400),
            (wire.request({**GOOD, "model": "nobody"}, AUTH), 404),
            (wire.request(b"w" * 2 * LIMIT, AUTH), 413),
            (wire.request(GOOD, path="/nowhere"), 404),
            (wire.request(chat(["raise", "UpstreamMoved"]), AUTH), 503),
            (wire.request(GOOD, AUTH), 200),
        ]

    with wire.line(under_gunicorn.port) as line:
        for raw, status in requests():
            line.send(raw)
            answer = line.answer()
            assert answer.status_code == status, answer.data


def test_large_bodies_at_the_same_time(served: Served) -> None:
    answers: list[Any] = []

    def ask() -> None:
        body = padded(LIMIT)
        headers = {**BEARER, "content-type": "application/json"}
        answers.append(wire.call(served.port, "POST", PATH, body, headers=headers))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [grammar.read(answer.data).text for answer in answers] == ["hi"] * 8
