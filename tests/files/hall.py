"""A gateway with one Kimi emulator behind it and a server of files beside it."""

from __future__ import annotations

import base64
import http.server
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import yaml

from emulators import kimi_connect, kimi_legacy
from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from kimi_proxy.app import create_app
from kimi_proxy.config import load
from kimi_proxy.services import Services
from tests.http.conftest import serving

KEY = "kp-made-up-key-of-the-files-tests"
PNG = b"\x89PNG\r\n\x1a\n made-up picture "
PDF = b"%PDF-1.7 made-up document "
MODELS = {"connect": "kimi/k2d6-chat", "legacy": "kimi/kimi"}


def data_url(data: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def document(data: bytes, name: str = "report.pdf") -> dict[str, Any]:
    packed = data_url(data, "application/pdf")
    return {"type": "file", "file": {"file_data": packed, "filename": name}}


def linked(url: str) -> dict[str, Any]:
    return {"type": "file_url", "file_url": {"url": url}}


def said(text: str, *parts: Mapping[str, Any]) -> dict[str, Any]:
    return {"role": "user", "content": [*parts, {"type": "text", "text": text}]}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        if self.server.meet is not None:
            self.server.meet.wait(20)
        status, headers, body = self.server.pages[self.path]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class FileServer(http.server.ThreadingHTTPServer):
    """Serves `pages` by path: status, headers, body.

    With `meet` no answer is sent before so many questions have come.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.pages: dict[str, tuple[int, dict[str, str], bytes]] = {}
        self.asked: list[str] = []
        self.meet: threading.Barrier | None = None

    def server_bind(self) -> None:
        # Not the one of http.server, which asks the resolver for this host's name.
        http.server.socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "files.test", self.server_address[1]

    def put(self, path: str, body: bytes, kind: str = "") -> str:
        """Serve a file; its URL."""
        self.pages[path] = (200, {"Content-Type": kind} if kind else {}, body)
        return f"http://127.0.0.1:{self.server_port}{path}"

    def move(self, path: str, location: str) -> str:
        """Redirect; the URL that does."""
        self.pages[path] = (302, {"Location": location}, b"")
        return f"http://127.0.0.1:{self.server_port}{path}"


@contextmanager
def file_server() -> Iterator[FileServer]:
    with FileServer() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@dataclass
class Hall:
    """One wire's emulator, and the gateway that is told to use it."""

    wire: str
    emulator: Any
    config: dict[str, Any]
    port: int = 0

    @property
    def model(self) -> str:
        return MODELS[self.wire]

    @property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(
            base_url=f"http://127.0.0.1:{self.port}/v1", api_key=KEY, max_retries=0
        )

    def ask(self, *messages: Mapping[str, Any], **fields: Any) -> str:
        """The answer's text."""
        given: Any = {"model": self.model, "messages": list(messages), **fields}
        with self.client as client:
            found = client.chat.completions.create(**given)
        return found.choices[0].message.content or ""

    def refusal(self, *messages: Mapping[str, Any]) -> openai.APIStatusError:
        """The error that a request ends with."""
        try:
            self.ask(*messages)
        except openai.APIStatusError as exc:
            return exc
        raise AssertionError("it was answered")

    def uploads(self, account: str | None = None) -> list[str]:
        """The names of the uploaded files, in the order of the names."""
        return sorted(file.name for file in self.emulator.files(account))

    def prompts(self) -> list[str]:
        """What the service was asked, in turn."""
        if self.wire == "legacy":
            entries = self.emulator.log.of("completion")
            return [entry.body["messages"][0]["content"] for entry in entries]
        entries = self.emulator.log.of("Chat")
        return [
            block["text"]["content"]
            for entry in entries
            for block in entry.body["message"]["blocks"]
            if "text" in block
        ]


def _naming(hall: Hall) -> Callable[[str, Mapping[str, Any]], Any]:
    """Answers with the names of the files that came with the question."""

    def connect(prompt: str, body: Mapping[str, Any]) -> kimi_connect.Answer:
        stored = {file.id: file.name for file in hall.emulator.files()}
        blocks = body["message"]["blocks"]
        names = [stored[block["file"]["id"]] for block in blocks if "file" in block]
        return kimi_connect.Answer(json.dumps(names))

    def legacy(prompt: str, body: Mapping[str, Any]) -> kimi_legacy.Answer:
        names = [file["name"] for file in body["refs_file"]]
        return kimi_legacy.Answer(pieces=(json.dumps(names),))

    return connect if hall.wire == "connect" else legacy


@contextmanager
def emulated(
    wire: str,
    directory: Path,
    accounts: tuple[str, ...] = ("alice",),
    files: Mapping[str, Any] | None = None,
    timeouts: Mapping[str, float] | None = None,
    **provider: Any,
) -> Iterator[Hall]:
    """The emulator and a configuration for it; no gateway yet."""
    kind = {"connect": KimiConnectEmulator, "legacy": KimiLegacyEmulator}[wire]
    with kind() as emulator:
        emulator.knobs.parse_delay = 0.01
        pairs = {name: emulator.add_account(name) for name in accounts}
        tokens = [
            {"name": name, "token": f"{pair.access} {pair.refresh}"}
            for name, pair in pairs.items()
        ]
        hosts = dict.fromkeys(("api", "auth", "legacy"), emulator.url)
        kimi = {"type": "kimi", "wire": wire, "tokens": tokens, "hosts": hosts}
        config = {
            "state": f"sqlite:///{directory}/state.db",
            "keys": [{"name": "laptop", "key": KEY}],
            "files": {"remote": {"networks": ["127.0.0.1"]}, **(files or {})},
            "timeouts": dict(timeouts or {}),
            "providers": {"kimi": {**kimi, **provider}},
        }
        hall = Hall(wire, emulator, config)
        emulator.answer = _naming(hall)
        yield hall


@contextmanager
def opened(wire: str, directory: Path, **settings: Any) -> Iterator[Hall]:
    """The emulator and the gateway, in threads of this process."""
    with emulated(wire, directory, **settings) as hall:
        with gateway(hall, directory):
            yield hall


@contextmanager
def gateway(hall: Hall, directory: Path) -> Iterator[None]:
    """A gateway for the hall's questions, with the state that is in the directory."""
    file = directory / "config.yaml"
    file.write_text(yaml.safe_dump(hall.config))
    services = Services(load(str(file)))
    try:
        with serving(create_app(services)) as port:
            hall.port = port
            yield
    finally:
        services.stop()
