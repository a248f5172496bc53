"""`make demo`: the whole Kimi path on this machine, step by step, without an account.

Starts the Connect emulator and the real gateway, both as processes of their own and
both ended afterwards. Standard library only; exits non-zero when a step does not hold.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse
from io import TextIOWrapper
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_PATIENCE = 15.0  # seconds for anything that has to happen
_PROMPT = "你好 Kimi, how are you? 🌙"
_CONFIG = """\
server: {{host: 127.0.0.1, port: {port}}}
state: sqlite:///state.db
keys: [{{name: demo, key: {key}}}]
providers:
  kimi:
    type: kimi
    tokens: [{{name: alice, token: {token}}}]
    hosts: {{api: "{url}", auth: "{url}", legacy: "{url}"}}
models: {{kimi: kimi/k2d6-chat}}
"""


class DemoError(Exception):
    """A step of the demo did not hold."""


@dataclass(frozen=True, slots=True)
class Peer:
    """An HTTP server on this machine, and the key it wants."""

    port: int
    key: str = ""

    @contextmanager
    def ask(self, path: str, body: object = None) -> Iterator[HTTPResponse]:
        """GET the path, or POST the body as JSON."""
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        data = None if body is None else json.dumps(body).encode()
        method = "GET" if data is None else "POST"
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as link:
            link.request(method, path, data, headers)
            yield link.getresponse()

    def json(self, path: str, body: object = None) -> Any:
        """The answer's JSON; raises `DemoError` unless its status is 200."""
        with self.ask(path, body) as response:
            text = response.read().decode()
        _require(response.status == 200, f"{path} answers {response.status}: {text}")
        return json.loads(text)


def main() -> int:
    """Run every step; returns the exit status."""
    if isinstance(sys.stdout, TextIOWrapper):
        # Where it is ASCII, the other letters are shown as escapes.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        with ExitStack() as stack:
            _play(stack)
    except DemoError as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    print("\nAll of it holds.")
    return 0


def _play(stack: ExitStack) -> None:
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    _step("Start the stand-in for Kimi's servers")
    emulator, token = _start_emulator(stack, directory)
    _say(f"http://127.0.0.1:{emulator.port} knows alice and her refresh token")
    _step("Start the gateway with nothing but that refresh token")
    gateway = _start_gateway(stack, directory, emulator, token)
    _say(f"http://127.0.0.1:{gateway.port}/v1 is ready")
    _show_refresh(emulator)
    _show_stream(gateway)
    _show_whole_answer(gateway)
    _show_clean_up(emulator)
    _show_check(gateway, token)


def _start_emulator(stack: ExitStack, directory: Path) -> tuple[Peer, str]:
    process = _spawn(
        stack,
        ["-m", "emulators", "kimi-connect"],
        directory / "emulator.log",
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    _require(bool(line), "the emulator does not start")
    said = json.loads(line)
    return Peer(int(said["url"].rpartition(":")[2])), said["refresh_token"]


def _start_gateway(
    stack: ExitStack, directory: Path, emulator: Peer, token: str
) -> Peer:
    gateway = Peer(_free_port(), f"kp-{secrets.token_hex(16)}")
    url = f"http://127.0.0.1:{emulator.port}"
    config = directory / "config.yaml"
    config.touch(mode=0o600)
    config.write_text(
        _CONFIG.format(port=gateway.port, key=gateway.key, token=token, url=url),
        encoding="utf-8",
    )
    log = directory / "gateway.log"
    process = _spawn(stack, ["-m", "kimi_proxy", "run", str(config)], log)

    def is_ready() -> bool:
        if process.poll() is not None:
            raise DemoError(f"the gateway ended:\n{log.read_text('utf-8')}")
        try:
            with gateway.ask("/readyz") as response:
                return response.status == 200
        except (OSError, HTTPException):
            return False

    ready = _wait(is_ready)
    _require(ready, f"the gateway is not ready:\n{log.read_text('utf-8')}")
    return gateway


def _show_refresh(emulator: Peer) -> None:
    _step("The refresh token bought an access token")

    renewed = _wait(lambda: bool(_answered(emulator, "RefreshToken")))
    _require(renewed, "no refresh reached the emulator")
    _say(f"POST {_answered(emulator, 'RefreshToken')[0]['path']} -> 200")


def _show_stream(gateway: Peer) -> None:
    _step(f"A streamed answer to {_PROMPT!r}")
    text, thoughts = "", ""
    reasons: list[str] = []
    with gateway.ask("/v1/chat/completions", _question(stream=True)) as response:
        _require(response.status == 200, f"the stream has status {response.status}")
        print("  ", end="")
        for chunk in _chunks(response):
            _require("error" not in chunk, f"the stream broke: {chunk}")
            for choice in chunk["choices"]:
                delta = choice["delta"]
                thoughts += delta.get("reasoning_content") or ""
                piece = delta.get("content") or ""
                print(piece, end="", flush=True)
                text += piece
                reasons += filter(None, [choice["finish_reason"]])
    print()
    _require(_PROMPT in text, f"the text is {text!r}")
    _require(reasons == ["stop"], f"the finish reasons are {reasons}")
    if thoughts:
        _say(f"(reasoning: {thoughts})")


def _show_whole_answer(gateway: Peer) -> None:
    _step("The same question, answered in one piece")
    answer = gateway.json("/v1/chat/completions", _question(stream=False))
    choice = answer["choices"][0]
    text = choice["message"]["content"]
    _say(text)
    _require(_PROMPT in text, f"the text is {text!r}")
    _require(choice["finish_reason"] == "stop", f"it ended by {choice}")


def _show_clean_up(emulator: Peer) -> None:
    _step("Both chats are deleted from the account again")
    clean = _wait(lambda: not emulator.json("/_emulator/chats")["chats"])
    _require(clean, "a chat was left behind")
    made = len(_answered(emulator, "Chat"))
    deleted = len(_answered(emulator, "DeleteChat"))
    _say(f"{made} chats made, {deleted} deleted, none left")
    _require(made == deleted == 2, "two chats should have been made and deleted")


def _show_check(gateway: Peer, token: str) -> None:
    _step("Is the token still alive?")
    report = gateway.json("/token/check", {"token": token})
    shown = ("live", "state", "kind", "account", "renewable")
    _say("POST /token/check -> " + json.dumps({key: report[key] for key in shown}))
    _require(report["live"] is True, f"the token is not alive: {report}")


def _question(*, stream: bool) -> Mapping[str, Any]:
    messages = [{"role": "user", "content": _PROMPT}]
    return {"model": "kimi", "messages": messages, "stream": stream}


def _chunks(response: HTTPResponse) -> Iterator[Any]:
    """The JSON of each event; raises `DemoError` when the last is not [DONE]."""
    for line in response:
        field, _, value = line.decode().strip().partition(": ")
        if field != "data":
            continue
        if value == "[DONE]":
            return
        yield json.loads(value)
    raise DemoError("the stream ended without [DONE]")


def _answered(emulator: Peer, name: str) -> list[Any]:
    entries = emulator.json(f"/_emulator/log?name={name}")["entries"]
    return [entry for entry in entries if entry["status"] == 200]


def _spawn(
    stack: ExitStack, arguments: list[str], log: Path, stdout: int | None = None
) -> subprocess.Popen[str]:
    """Start Python with its output in a file; the stack ends it."""
    errors = stack.enter_context(log.open("w", encoding="utf-8"))
    process = subprocess.Popen(  # noqa: S603  # this interpreter, our own modules
        [sys.executable, *arguments],
        cwd=log.parent,
        env={**os.environ, "PYTHONPATH": str(_ROOT)},
        stdin=subprocess.DEVNULL,
        stdout=errors if stdout is None else stdout,
        stderr=errors,
        text=True,
    )
    stack.callback(_end, process)
    return process


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(condition: Callable[[], bool]) -> bool:
    """Whether the condition came true in time."""
    deadline = time.monotonic() + _PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise DemoError(otherwise)


def _step(text: str) -> None:
    print(f"\n== {text}", flush=True)


def _say(text: str) -> None:
    print(f"  {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
