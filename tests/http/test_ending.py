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

from tests.gateway_process import ROOT, GatewayProcess, launch
from tests.http import expect, grammar, wire
from tests.http.conftest import scripted_process
from tests.http.scripted import chat
from tests.http.test_disconnect import until
from tests.http.test_process import ECHO, PATH, free_port


def test_it_ends_with_the_terminal_it_was_started_from(tmp_path: Path) -> None:
    port = free_port()
    file = tmp_path / "config.yaml"
    state = f"sqlite:///{tmp_path / 'state.db'}"
    file.write_text(json.dumps({**ECHO, "server": {"port": port}, "state": state}))
    terminal, stdin = os.openpty()
    with (tmp_path / "gateway.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "wsgi:app"],
            cwd=ROOT,
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
def test_a_running_stream_ends_well_before_the_process_does(
    tmp_path: Path, kind: str
) -> None:
    with scripted_process(tmp_path, {}, worker_class=kind, workers=2) as served:
        process = served.process
        assert process is not None
        body = chat(["text", "be"], ["gate"], ["text", "fore"], ["finish"], tag="a")
        with wire.line(served.port) as line:
            line.send(wire.request(body))
            seen = line.until(b"\r\n\r\n") and line.until(b'"be"')
            process.process.send_signal(signal.SIGTERM)
            until(lambda: not process.answers())
            assert process.process.poll() is None
            served.diary.write("go", "a")
            seen += line.until(b"[DONE]\n\n")
        assert grammar.read(wire.dechunked(seen)).text == "before"
        assert process.process.wait(40) == 0


@pytest.mark.parametrize("kind", ["gevent", "gthread"])
def test_what_outlasts_the_graceful_end_is_told_so_and_written_down(
    tmp_path: Path, kind: str
) -> None:
    with scripted_process(
        tmp_path, {}, worker_class=kind, arguments=("--graceful-timeout", "5")
    ) as served:
        process = served.process
        assert process is not None
        begun = wire.request(chat(["text", "be"], ["wait", 60], tag="a"))
        whole = wire.request(chat(["wait", 60], tag="b", stream=False))
        with wire.line(served.port) as line, wire.line(served.port) as other:
            line.send(begun)
            seen = line.until(b"\r\n\r\n") and line.until(b'"be"')
            other.send(whole)
            served.diary.await_word("opened", "b")
            process.process.send_signal(signal.SIGTERM)
            answer = other.answer()
            seen += line.rest()
        assert process.process.wait(30) == 0
    expect.error(answer, 503, "shutting_down")
    stream = grammar.read(wire.dechunked(seen))
    assert (stream.text, stream.error and stream.error["code"]) == (
        "be",
        "shutting_down",
    )
    written = [x for x in process.log_lines("request") if PATH in x["route"]]
    assert [x["outcome"] for x in written] == ["shutting_down"] * 2
    assert {x["status"] for x in written} == {200, 503}


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
