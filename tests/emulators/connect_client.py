"""A plain client of the Connect emulator on http.client; it repairs nothing."""

import contextlib
import http.client
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from emulators.kimi_connect import KimiConnectEmulator

CHAT = "/apiv2/kimi.gateway.chat.v1.ChatService/Chat"
SERVICE = "/apiv2/kimi.gateway.chat.v1.ChatService/"
FEEDS = "/apiv2/kimi.gateway.feed.v1.FeedService/ListFeeds"
MODELS = "/apiv2/kimi.gateway.config.v1.ConfigService/GetAvailableModels"
REFRESH = "/api/account.gateway.v1.AuthService/RefreshToken"
REFRESH_OLD = "/api/auth/token/refresh"


@dataclass(slots=True)
class Clock:
    """A clock that moves by hand; epoch seconds."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `broken` says that the body ended before its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: bool = False

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """Return the complete envelopes as (flag, payload)."""
        return split_frames(self.body)[0]

    @property
    def tail(self) -> bytes:
        """Return what is left after the last complete envelope."""
        return split_frames(self.body)[1]

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the JSON of the data envelopes."""
        return [json.loads(payload) for flag, payload in self.frames if flag == 0]

    @property
    def trailer(self) -> dict[str, Any] | None:
        """Return the JSON of the end-of-stream envelope, None when there is none."""
        ends = [json.loads(payload) for flag, payload in self.frames if flag == 2]
        return ends[0] if ends else None

    @property
    def masks(self) -> list[Any]:
        """Return the masks in order."""
        return [event["mask"] for event in self.events if "mask" in event]

    @property
    def ids(self) -> tuple[str, str]:
        """Return the ids of the chat and of the assistant's message."""
        chat = next(event["chat"]["id"] for event in self.events if "chat" in event)
        return chat, next(
            event["message"]["id"]
            for event in self.events
            if event.get("message", {}).get("role") == "assistant"
        )

    def said(self, field_name: str = "text") -> str:
        """Apply `set` and `append` and return what the blocks of a kind hold."""
        blocks: dict[str, str] = {}
        for event in self.events:
            content = event.get("block", {}).get(field_name, {}).get("content")
            if content is not None:
                key = event["block"]["id"]
                before = blocks.get(key, "") if "append" in event["op"].lower() else ""
                blocks[key] = before + content
        return "".join(blocks.values())


def split_frames(data: bytes) -> tuple[list[tuple[int, bytes]], bytes]:
    """Return the complete envelopes and what follows them."""
    frames = []
    while len(data) >= 5:
        flag, length = struct.unpack(">BI", data[:5])
        if len(data) < 5 + length:
            break
        frames.append((flag, data[5 : 5 + length]))
        data = data[5 + length :]
    return frames, data


def enveloped(value: Any, flag: int = 0) -> bytes:
    """Return one request envelope."""
    payload = value if isinstance(value, bytes) else json.dumps(value).encode()
    return struct.pack(">BI", flag, len(payload)) + payload


def message(prompt: str = "Say hi", /, **changes: Any) -> dict[str, Any]:
    """Return the sheet's minimal request; dotted keys change inner fields.

    `None` removes a field: `message(**{"options.model": None})`.
    """
    value: dict[str, Any] = {
        "scenario": "SCENARIO_CHAT",
        "tools": [],
        "message": {
            "role": "user",
            "blocks": [{"message_id": "", "text": {"content": prompt}}],
            "scenario": "SCENARIO_CHAT",
            "is_goal": False,
        },
        "options": {
            "thinking": False,
            "enable_plugin": False,
            "reasoning_effort": "REASONING_EFFORT_NONE",
            "model": "k2d6-chat",
        },
        "project_id": "",
    }
    for name, change in changes.items():
        *path, last = name.split(".")
        inner = value
        for part in path:
            inner = inner[part]
        inner[last] = change
        if change is None:
            del inner[last]
    return value


def k3(model: str = "k3-agent", /, **changes: Any) -> dict[str, Any]:
    """Return a request for a row of the OK Computer scenarios."""
    swarm = model.endswith("swarm")
    scenario = "SCENARIO_OK_COMPUTER_SWARM" if swarm else "SCENARIO_OK_COMPUTER"
    fields = {
        "scenario": scenario,
        "message.scenario": scenario,
        "options.model": model,
        "options.thinking": True,
        "options.enable_plugin": True,
        "options.reasoning_effort": "REASONING_EFFORT_LOW",
        "kimiplus_id": "ok-computer",
    }
    if swarm:
        fields["agent_mode"] = "TYPE_ULTRA"
    return message(**{**fields, **changes})


@dataclass(slots=True)
class Web:
    """One account's browser; `token` None sends no Authorization."""

    emulator: KimiConnectEmulator
    token: str | None = field(repr=False)
    version: str | None = "2.2.0"

    def headers(self, content_type: str, /, **more: str | None) -> dict[str, str]:
        """Return the headers of §3; underscores stand for dashes, None removes."""
        fields: dict[str, str | None] = {
            "content-type": content_type,
            "connect-protocol-version": "1",
            "x-msh-version": self.version,
            "authorization": f"Bearer {self.token}" if self.token else None,
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        return {name: value for name, value in fields.items() if value is not None}

    def rpc(
        self, path: str, body: Any = None, method: str = "POST", **headers: str | None
    ) -> Reply:
        """Call one unary RPC; a bare name means the chat service."""
        if not path.startswith("/"):
            path = SERVICE + path
        data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
        fields = self.headers("application/json", **headers)
        return whole(self.emulator.url, method, path, data, fields)

    def chat(
        self, body: Any = None, timeout: float = 10, **headers: str | None
    ) -> Reply:
        """Send one Chat request (an envelope is made unless bytes are given)."""
        data = body if isinstance(body, bytes) else enveloped(body or message())
        fields = self.headers("application/connect+json", **headers)
        return whole(self.emulator.url, "POST", CHAT, data, fields, timeout=timeout)

    @contextlib.contextmanager
    def streaming(self, body: Any = None) -> Iterator["Stream"]:
        """Open a Chat stream to read piece by piece."""
        fields = self.headers("application/connect+json")
        connection = http.client.HTTPConnection(urlsplit(self.emulator.url).netloc)
        connection.connect()
        stream = Stream(connection.sock)
        try:
            connection.request("POST", CHAT, enveloped(body or message()), fields)
            stream.start(connection.getresponse)
            yield stream
        finally:
            stream.leave()
            connection.close()


class Stream:
    """An open Chat answer."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._response: http.client.HTTPResponse | None = None
        self._data = b""

    def start(self, respond: Callable[[], http.client.HTTPResponse]) -> None:
        """Wait for the head of the answer."""
        self._sock.settimeout(5)
        self._response = respond()

    def next(self) -> tuple[int, dict[str, Any]]:
        """Return the next envelope as (flag, JSON)."""
        while True:
            frames, _ = split_frames(self._data)
            if frames:
                flag, payload = frames[0]
                self._data = self._data[5 + len(payload) :]
                return flag, json.loads(payload)
            assert self._response is not None
            more = self._response.read1(65_536)
            assert more, "the stream ended"
            self._data += more

    def until(self, mask: str) -> dict[str, Any]:
        """Return the next event with that mask."""
        while True:
            _, event = self.next()
            if event.get("mask") == mask:
                return event

    def rest(self) -> list[tuple[int, dict[str, Any]]]:
        """Return all that follows, up to the trailer."""
        frames = [self.next()]
        while frames[-1][0] != 2:
            frames.append(self.next())
        return frames

    def leave(self) -> None:
        """Close the connection as a client that goes away does."""
        if self._response is not None:
            self._response.close()
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()


def whole(
    url: str,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    timeout: float = 10,
) -> Reply:
    """Send one request on its own connection and read the answer to its end."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=timeout)
    try:
        connection.request(method, path, body, dict(headers))
        response = connection.getresponse()
        fields = {name.lower(): value for name, value in response.getheaders()}
        try:
            return Reply(response.status, fields, response.read())
        except http.client.IncompleteRead as error:
            return Reply(response.status, fields, error.partial, broken=True)
    finally:
        connection.close()


def until(condition: Callable[[], Any], timeout: float = 5.0) -> Any:
    """Return the condition's value once it is true; fail after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.005)
