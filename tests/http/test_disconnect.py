"""A client that leaves ends the work for it at once, whatever stage it was in."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.http import grammar, wire
from tests.http.conftest import BEARER, NARROW, Served, serving_by
from tests.http.scripted import Step, chat, piece

AUTH = "Authorization: Bearer kp-shared-made-up-key"
LONG = 60.0  # how long a provider would go on by itself
SOON = 5.0  # generous for a busy machine; the watcher looks ten times a second


def until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < ends, "it never came true"
        time.sleep(0.02)


def lost(served: Served) -> float:
    return served.count('kimi_proxy_requests_total{outcome="client_gone"')


def leave(served: Served, tag: str, request: bytes, ready: bytes | None) -> None:
    """Send, wait for `ready` in the answer, hang up; the provider ends soon."""
    before = lost(served)
    with wire.line(served.port) as line:
        line.send(request)
        served.diary.await_word("opened", tag)
        if ready is not None:
            line.until(ready)
        assert "closed" not in served.diary.words(tag)
    left = time.monotonic()
    assert served.diary.await_word("closed", tag) - left < SOON
    until(lambda: lost(served) == before + 1)


@pytest.mark.parametrize(
    ("steps", "stream", "ready"),
    [
        ([["wait", LONG], ["finish"]], True, None),
        ([["wait", LONG], ["finish"]], True, b": keep-alive\n"),
        ([["text", "one"], ["wait", LONG], ["finish"]], True, b'"one"'),
        ([["text", "one"], ["wait", LONG], ["finish"]], True, b": keep-alive\n"),
        ([["flood", 1_000_000, 64], ["finish"]], True, b"00001000"),
        ([["wait", LONG], ["finish"]], False, None),
        ([["text", "one"], ["wait", LONG], ["finish"]], False, None),
    ],
    ids=[
        "held",
        "silent",
        "midway",
        "midway-silent",
        "torrent",
        "whole",
        "whole-begun",
    ],
)
def test_the_upstream_is_closed(
    served: Served, steps: list[Step], stream: bool, ready: bytes | None
) -> None:
    tag = f"{time.monotonic()}"
    body = chat(*steps, tag=tag, stream=stream)
    leave(served, tag, wire.request(body, AUTH), ready)


def test_a_reset_is_a_hang_up_too(served: Served) -> None:
    tag = f"{time.monotonic()}"
    with wire.line(served.port) as line:
        body = chat(["text", "one"], ["wait", LONG], tag=tag)
        line.send(wire.request(body, AUTH))
        line.until(b'"one"')
        line.reset()
    served.diary.await_word("closed", tag, SOON)


def test_who_leaves_the_queue_never_reaches_the_upstream(served: Served) -> None:
    def single(tag: str, *steps: Step) -> bytes:
        body = chat(*steps, ["finish"], tag=tag, model="scripted-single/play")
        return wire.request(body, AUTH)

    first, second, third = (f"{time.monotonic()}-{n}" for n in range(3))
    gone = lost(served)
    with wire.line(served.port) as holder, wire.line(served.port) as waiter:
        holder.send(single(first, ["gate"]))
        served.diary.await_word("opened", first)
        waiter.send(single(second, ["text", "never"]))
        # The holder, the waiter, and whoever asks.
        until(lambda: served.count("kimi_proxy_open_requests") == 3)
        with wire.line(served.port) as last:
            last.send(single(third, ["text", "at last"]))
            until(lambda: served.count("kimi_proxy_open_requests") == 4)
            waiter.socket.close()
            until(lambda: lost(served) == gone + 1)
            served.diary.write("go", first)
            stream = grammar.read(last.answer().data)
            assert stream.text == "at last"
        assert grammar.read(holder.answer().data).done
    assert served.diary.words(second) == []


def test_the_key_gets_its_place_back(served: Served) -> None:
    for turn in range(6):  # twice what the key may do at a time
        tag = f"{time.monotonic()}-{turn}"
        body = chat(["text", "one"], ["wait", LONG], tag=tag)
        with wire.line(served.port) as line:
            line.send(wire.request(body, f"Authorization: Bearer {NARROW}"))
            line.until(b'"one"')
        served.diary.await_word("closed", tag)
        until(lambda: served.count("kimi_proxy_open_requests") == 1)


def test_no_open_request_is_left_behind(served: Served) -> None:
    until(lambda: served.count("kimi_proxy_open_requests") == 1)


def test_a_pipelined_request_is_no_hang_up(under_gunicorn: Served) -> None:
    tag = f"{time.monotonic()}"
    slow = chat(["gate"], ["text", "slow"], ["finish"], tag=tag)
    quick = chat(["text", "quick"], ["finish"])
    with wire.line(under_gunicorn.port) as line:
        line.send(wire.request(slow, AUTH) + wire.request(quick, AUTH))
        # Held, then sent: the readable socket is looked at many times meanwhile.
        under_gunicorn.diary.await_word("opened", tag)
        time.sleep(1.0)
        under_gunicorn.diary.write("go", tag)
        head = line.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        line.until(b"[DONE]")
        line.until(b"quick")
        line.until(b"[DONE]")


def test_a_second_request_on_the_same_connection(under_gunicorn: Served) -> None:
    with wire.line(under_gunicorn.port) as line:
        for turn in range(3):
            body = chat(["text", f"{turn}"], ["wait", 0.3], ["finish"])
            line.send(wire.request(body, AUTH))
            answer = line.answer()
            assert grammar.read(answer.data).text == f"{turn}"
        line.send(wire.head("GET", "/v1/models", AUTH))
        assert line.answer().status_code == 200


def test_a_slow_reader_holds_the_upstream_back_and_loses_nothing(
    served: Served,
) -> None:
    tag, count, size = f"{time.monotonic()}", 20_000, 300
    body = chat(["flood", count, size], ["finish"], tag=tag)
    with wire.line(served.port, receive_buffer=4096) as line:
        line.send(wire.request(body, AUTH))
        served.diary.await_word("flood 1000", tag)
        assert _stalls(served, tag) < count - 500
        data = line.answer().data
    assert grammar.read(data).text == "".join(piece(n, size) for n in range(count))


def _stalls(served: Served, tag: str) -> int:
    """How far the flood has come once it does not go on any more."""
    seen: list[Any] = []
    while len(seen) < 5 or len(set(seen[-5:])) > 1:
        seen.append(served.diary.words(tag)[-1])
        time.sleep(0.1)
    return int(seen[-1].removeprefix("flood ")) if "flood" in seen[-1] else 10**9


def test_a_reader_who_stalls_and_leaves(served: Served) -> None:
    tag = f"{time.monotonic()}"
    body = chat(["flood", 1_000_000, 300], ["finish"], tag=tag)
    with wire.line(served.port, receive_buffer=4096) as line:
        line.send(wire.request(body, AUTH))
        served.diary.await_word("flood 1000", tag)
        _stalls(served, tag)
    served.diary.await_word("closed", tag, SOON)


@pytest.mark.parametrize("kind", ["werkzeug", "gevent", "gthread"])
def test_a_reader_who_stalls_for_good_is_left_when_the_time_is_up(
    tmp_path: Path, kind: str
) -> None:
    config = {"timeouts": {"total": 0.5}}
    body = chat(["flood", 1_000_000, 300], ["finish"], tag="a")
    with (
        serving_by(kind, tmp_path, config) as served,
        wire.line(served.port, 4096) as x,
    ):
        x.send(wire.request(body))
        served.diary.await_word("closed", "a")
        until(lambda: served.count("kimi_proxy_open_requests") == 1)


def test_a_body_that_never_comes_whole(served: Served) -> None:
    request = wire.request(chat(["text", "x"], ["finish"], tag="torso"), AUTH)
    with wire.line(served.port) as line:
        line.send(request[:-10])
    until(lambda: served.count("kimi_proxy_open_requests") == 1)
    assert served.diary.words("torso") == []
    answer = wire.call(served.port, "GET", "/v1/models", headers=BEARER)
    assert answer.status_code == 200


def test_who_leaves_while_sending_is_counted_as_gone(under_gunicorn: Served) -> None:
    before = lost(under_gunicorn)
    lines = (AUTH, "Content-Length: 1000", "Expect: 100-continue")
    with wire.line(under_gunicorn.port) as line:
        line.send(wire.head("POST", "/v1/chat/completions", *lines))
        line.until(b"\r\n\r\n")
        line.reset()
    until(lambda: lost(under_gunicorn) == before + 1)
