"""How the process ends: at once when idle, after its streams when not."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.gateway_process import ROOT, GatewayProcess, launch, listener
from tests.http import expect, grammar, wire
from tests.http.conftest import scripted_process
from tests.http.scripted import chat
from tests.http.test_disconnect import until
from tests.http.test_process import ECHO, PATH, free_port


def test_it_ends_with_the_terminal_it_was_started_from(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    state = f"sqlite:///{tmp_path / 'state.db'}"
    file.write_text(json.dumps({**ECHO, "state": state}))
    terminal, stdin = os.openpty()
    with listener() as sock, (tmp_path / "gateway.log").open("wb") as log:
        port, bound = sock.getsockname()[1], f"fd://{sock.fileno()}"
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", bound, "wsgi:app"],
            cwd=ROOT,
            pass_fds=(sock.fileno(),),
            env={**os.environ, "KIMI_PROXY_CONFIG": str(file)},
            stdin=stdin,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    os.close(stdin)
    gateway = GatewayProcess(port, tmp_path / "gateway.log", process, "")
    try:
        gateway.wait_until_ready()
        (before,) = gateway.workers()
        process.send_signal(signal.SIGHUP)
        until(lambda: before not in gateway.workers())
        assert process.poll() is None, "a reload ended it"
        os.close(terminal)
        process.send_signal(signal.SIGHUP)
        assert process.wait(40) == 0
    finally:
        gateway.stop()


@pytest.mark.parametrize("kind", ["gevent", "gthread"])
def test_a_stream_may_end_in_peace_and_what_outlasts_the_patience_is_told_so(
    tmp_path: Path, kind: str
) -> None:
    with scripted_process(
        tmp_path, {}, worker_class=kind, arguments=("--graceful-timeout", "5")
    ) as served:
        process = served.process
        assert process is not None
        short = chat(["text", "be"], ["gate"], ["text", "fore"], ["finish"], tag="a")
        long = chat(["text", "be"], ["wait", 60], tag="b")
        whole = chat(["wait", 60], tag="c", stream=False)
        with (
            wire.line(served.port) as first,
            wire.line(served.port) as second,
            wire.line(served.port) as third,
        ):
            first.send(wire.request(short))
            ended = first.until(b"\r\n\r\n") and first.until(b'"be"')
            second.send(wire.request(long))
            seen = second.until(b"\r\n\r\n") and second.until(b'"be"')
            third.send(wire.request(whole))
            served.diary.await_word("opened", "c")
            process.process.send_signal(signal.SIGTERM)
            until(lambda: not process.answers())
            assert process.process.poll() is None
            served.diary.write("go", "a")
            ended += first.until(b"[DONE]\n\n")
            answer = third.answer()
            seen += second.rest()
        assert process.process.wait(30) == 0
    assert grammar.read(wire.dechunked(ended)).text == "before"
    expect.error(answer, 503, "shutting_down")
    stream = grammar.read(wire.dechunked(seen))
    assert (stream.text, stream.error and stream.error["code"]) == (
        "be",
        "shutting_down",
    )
    written = [x for x in process.log_lines("request") if PATH in x["route"]]
    outcomes = sorted((x["outcome"], x["status"]) for x in written)
    assert outcomes == [("ok", 200), ("shutting_down", 200), ("shutting_down", 503)]


@pytest.mark.parametrize("kind", ["gevent", "gthread"])
def test_an_idle_connection_does_not_hold_up_the_end(tmp_path: Path, kind: str) -> None:
    with scripted_process(tmp_path, {}, worker_class=kind) as served:
        kept = http.client.HTTPConnection("127.0.0.1", served.port, timeout=10)
        kept.request("GET", "/healthz")
        assert kept.getresponse().read()
        silent = socket.create_connection(("127.0.0.1", served.port), 10)
        process = served.process
        assert process is not None
        began = time.monotonic()
        assert process.stop() == 0
        assert time.monotonic() - began < 25, "it waited for the graceful time-out"
        silent.close()
        kept.close()


def test_an_order_to_end_that_comes_before_a_worker_is_up_is_heeded(
    tmp_path: Path,
) -> None:
    port = free_port()
    process = launch(tmp_path, {**ECHO, "server": {"port": port}}, ["wsgi:app"])
    until(lambda: _listens(port))
    began = time.monotonic()
    process.terminate()
    assert process.wait(40) == 0
    assert time.monotonic() - began < 25, "it waited for the graceful time-out"


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
