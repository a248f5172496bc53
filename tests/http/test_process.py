"""The process: how it starts, refuses to start, drains, and what it writes down."""

import json
import signal
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.gateway_process import (
    GatewayProcess,
    StartGateway,
    launch,
    listener,
)
from tests.http import expect, scripted, wire
from tests.http.conftest import PROVIDERS, scripted_process
from tests.http.scripted import chat
from tests.http.test_disconnect import until

PATH = "/v1/chat/completions"
ECHO: dict[str, Any] = {"providers": {"echo": {"type": "echo"}}}
HELLO = {"model": "echo", "messages": [{"role": "user", "content": "你好, world 😀"}]}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def started(directory: Path, config: Any, *arguments: str, **environ: str) -> Any:
    """A gateway whose port is its configuration's, as a user has it."""
    port = free_port()
    config = {**config, "server": {"port": port}}
    process = launch(directory, config, arguments, environ=environ)
    gateway = GatewayProcess(port, directory / "gateway.log", process, "")
    try:
        gateway.wait_until_ready()
    except AssertionError:
        gateway.stop()
        raise
    return gateway


def test_a_plain_start_needs_only_a_configuration(tmp_path: Path) -> None:
    gateway = started(tmp_path, ECHO, "wsgi:app")
    try:
        answer = wire.call(gateway.port, "POST", PATH, HELLO)
        message = answer.json()["choices"][0]["message"]
        assert message["content"] == "你好, world 😀"
        assert len(gateway.workers()) == 1
    finally:
        assert gateway.stop() == 0
    (line,) = (x for x in gateway.log_lines("request") if PATH in x["route"])
    assert line["id"] == answer.headers["x-request-id"]
    assert (line["model"], line["account"], line["status"]) == ("echo", "local", 200)
    warnings = [x for x in map(_json, gateway.log_text().splitlines()) if x]
    assert any("no keys configured" in x["message"] for x in warnings)


def _json(line: str) -> dict[str, Any]:
    return json.loads(line) if line.startswith("{") else {}


def test_the_environment_chooses_workers_and_their_kind(tmp_path: Path) -> None:
    gateway = started(
        tmp_path,
        ECHO,
        "wsgi:app",
        WEB_CONCURRENCY="2",
        GUNICORN_CMD_ARGS="--worker-class gthread --log-level info",
    )
    try:
        until(lambda: len(gateway.workers()) == 2)
        assert "Using worker: gthread" in gateway.log_text()
        assert wire.call(gateway.port, "POST", PATH, HELLO).status_code == 200
    finally:
        assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({**ECHO, "state": "memory://"}, "memory:// is for one worker"),
        ({**ECHO, "colour": "red"}, "colour"),
        ({}, "providers"),
        (
            {"providers": {"k": {"type": "kimi", "tokens": ["made-up"]}}},
            "config.yaml:1: providers.k.tokens[0].token: no Kimi token found",
        ),
    ],
)
def test_it_refuses_to_start_and_says_why(
    tmp_path: Path, config: Any, said: str
) -> None:
    process = launch(tmp_path, config, ["--workers", "2", "--bind=:0", "wsgi:app"])
    assert process.wait(30) not in {0, None}
    written = (tmp_path / "gateway.log").read_text()
    assert said in written
    assert "Traceback" not in written


def test_an_address_that_is_taken_is_told_at_once(tmp_path: Path) -> None:
    with listener() as sock:
        port = sock.getsockname()[1]
        process = launch(tmp_path, {**ECHO, "server": {"port": port}}, ["wsgi:app"])
        assert process.wait(30) == 1
    (line,) = (tmp_path / "gateway.log").read_text().splitlines()
    assert line.startswith(f"cannot listen on 127.0.0.1, port {port}: Address already")
    assert "server.port" in line


def test_it_listens_on_the_newer_kind_of_address(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        port = sock.getsockname()[1]
    config = {**ECHO, "server": {"host": "::1", "port": port}}
    process = launch(tmp_path, config, ["wsgi:app"])

    def answers() -> bool:
        try:
            socket.create_connection(("::1", port), 5).close()
        except OSError:
            return process.poll() is not None
        return True

    try:
        until(answers)
        assert process.poll() is None, (tmp_path / "gateway.log").read_text()
    finally:
        process.terminate()
        process.wait(40)


WRONG: dict[str, dict[str, Any]] = {
    "colour: is not a known key": {"colour": "red"},
    "providers.k.tokens[0].token: no Kimi token found": {
        "providers": {"k": {"type": "kimi", "tokens": ["made-up"]}}
    },
    "memory:// is for one worker": {"state": "memory://"},
    "cannot listen on 192.0.2.1": {
        "server": {"port": 1, "host": "192.0.2.1"},
        "keys": [{"name": "a", "key": "made-up"}],
    },
}


def test_a_reload_that_would_end_it_is_refused(tmp_path: Path) -> None:
    gateway = started(tmp_path, ECHO, "--workers=2", "wsgi:app")
    try:
        # Said by each worker that has read the configuration.
        until(lambda: gateway.log_text().count("no keys configured") == 2)
        before = set(gateway.workers())
        file = tmp_path / "config.yaml"
        good = json.loads(file.read_text())
        for number, (said, change) in enumerate(WRONG.items(), 1):
            file.write_text(json.dumps({**good, **change}))
            gateway.process.send_signal(signal.SIGHUP)
            _await_refusal(gateway, number)
            assert said in gateway.log_text()
        assert set(gateway.workers()) == before
        assert wire.call(gateway.port, "POST", PATH, HELLO).status_code == 200
        file.write_text(json.dumps({**good, "models": {"fresh": "echo/echo"}}))
        gateway.process.send_signal(signal.SIGHUP)
        body = {**HELLO, "model": "fresh"}
        until(lambda: wire.call(gateway.port, "POST", PATH, body).status_code == 200)
    finally:
        assert gateway.stop() == 0


def _await_refusal(gateway: GatewayProcess, number: int) -> None:
    until(lambda: gateway.log_text().count("not reloaded") == number)


def test_one_worker_may_keep_its_state_in_memory(start_gateway: StartGateway) -> None:
    gateway = start_gateway({**ECHO, "state": "memory://"})
    assert wire.call(gateway.port, "POST", PATH, HELLO).status_code == 200


def test_a_state_that_cannot_be_opened_is_told(start_gateway: StartGateway) -> None:
    gateway = start_gateway({**ECHO, "state": "sqlite:////dev/null/state.db"})
    answer = wire.call(gateway.port, "GET", "/readyz")
    assert answer.status_code == 503
    assert answer.json()["store"] == "the state store cannot be used: File exists"
    body = {**HELLO, "stream": False}
    expect.error(wire.call(gateway.port, "POST", PATH, body), 503, "state_unavailable")
    until(lambda: "beat: " in gateway.log_text())
    until(lambda: any(PATH in x["route"] for x in gateway.log_lines("request")))
    (told,) = (x for x in gateway.log_lines("request") if PATH in x["route"])
    assert told["detail"].endswith("(/dev/null/state.live.db)")
    beats = [x for x in map(_json, gateway.log_text().splitlines()) if x]
    said = [x["message"] for x in beats if x["message"].startswith("beat: ")]
    assert len(said) == 1 and "/dev/null/state" in said[0]


@pytest.mark.parametrize("kind", ["gevent", "gthread"])
def test_a_client_on_a_unix_socket_that_leaves(tmp_path: Path, kind: str) -> None:
    path, diary = tmp_path / "s", scripted.Diary(tmp_path / "diary")
    arguments = ["--bind", f"unix:{path}", "--worker-class", kind]
    process = launch(
        tmp_path,
        {"providers": PROVIDERS},
        [*arguments, "tests.http.scripted_wsgi:app"],
        environ={scripted.DIARY: str(tmp_path / "diary")},
    )
    try:
        until(path.exists)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(wire.SECONDS)
            sock.connect(str(path))
            line = wire.Line(sock)
            line.send(wire.request(chat(["text", "one"], ["wait", 60], tag="a")))
            line.until(b'"one"')
            assert diary.words("a") == ["opened"]
        diary.await_word("closed", "a", 5)
    finally:
        process.terminate()
        process.wait(40)


PLANTED = {
    "key": "made-up-gateway-key-77aa",
    "admin": "made-up-admin-key-88bb",
    "wrong": "made-up-wrong-key-99cc",
    "shaped": "sk-made0up0key0of0another0service",
    "access": "eyJhbGciOiJIUzI1NiJ9.eyJtYWRlIjoidXAifQ.c2lnbmF0dXJl",
    "opaque": "made-up-api-key-of-an-upstream-11dd",
}


def test_no_planted_key_is_ever_written_down(tmp_path: Path) -> None:
    closed = free_port()
    config = {
        "providers": {
            **PROVIDERS,
            "far": {
                "type": "openai",
                "base_url": f"http://127.0.0.1:{closed}/v1",
                "tokens": [
                    {"name": "main", "token": PLANTED["opaque"]},
                    {"name": "spare", "token": PLANTED["access"]},
                ],
            },
        },
        "keys": [{"name": "all", "key": PLANTED["key"], "rate": "1000/minute"}],
        "admin": {"key": PLANTED["admin"]},
        "limits": {"per_ip": "1000/minute"},
    }
    with scripted_process(tmp_path, config) as served:
        _plant(served.port)
        process = served.process
        assert process is not None
    written = process.log_text()
    assert len(process.log_lines("request")) > 15
    assert "RuntimeError" in written and "Invalid" in written
    for name, secret in PLANTED.items():
        assert secret not in written, name


def _plant(port: int) -> None:
    """Put each of them wherever a client can, and make what can fail fail."""
    known = {"Authorization": f"Bearer {PLANTED['key']}"}
    for key in (PLANTED["wrong"], PLANTED["shaped"], PLANTED["access"]):
        bearer = {"Authorization": f"Bearer {key}"}
        for body in (HELLO, b"{", {"model": "echo", "api_key": PLANTED["key"]}):
            wire.call(port, "POST", PATH, body, headers=bearer)
        wire.call(port, "GET", "/metrics", headers={"x-api-key": key})
    wire.call(port, "GET", "/metrics", headers={"x-api-key": PLANTED["admin"]})
    for secret in (PLANTED["key"], PLANTED["shaped"], PLANTED["access"]):
        wire.call(port, "GET", f"/v1/models?api_key={secret}", headers=known)
        wire.call(port, "GET", f"/v1/models/{secret}", headers=known)
        wire.call(port, "GET", f"/{secret}")
        wire.call(port, "POST", PATH, {**HELLO, "model": secret}, headers=known)
        wire.call(port, "POST", PATH, {**HELLO, secret: secret}, headers=known)
        wire.call(port, "POST", "/token/check", {"token": secret}, headers=known)
        with wire.line(port) as line:
            line.send(f"GET / HTTP/1.1\r\nX-Key {secret}: \x01\r\n\r\n".encode())
            line.rest()
        with wire.line(port) as line:
            line.send(f"GET /?key={secret} HTTP/1.1 junk\r\n\r\n".encode())
            line.rest()
    for steps in (["defect"], ["text", "a"]):
        wire.call(port, "POST", PATH, chat(steps, ["defect"]), headers=known)
    for model in ("far/some-model", "echo"):
        wire.call(port, "POST", PATH, {**HELLO, "model": model}, headers=known)
