"""A plain client of the legacy emulator on http.client; it repairs nothing."""

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from emulators.kimi_legacy import KimiLegacyEmulator, TokenPair


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `broken` says that the body ended before its end."""

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """Return the complete events of a `data: {json}` stream."""
        blocks = self.body.decode().split("\n\n")[:-1]
        return [json.loads(block.removeprefix("data: ")) for block in blocks]

    @property
    def names(self) -> list[str]:
        """Return the names of the events."""
        return [event["event"] for event in self.events]

    @property
    def text(self) -> str:
        """Return the text of all deltas."""
        return "".join(e["text"] for e in self.events if e["event"] == "cmpl")


@dataclass(slots=True)
class Clock:
    """A clock that moves by hand; epoch seconds."""

    now: float = 1_790_000_000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


@dataclass(slots=True)
class Web:
    """One account's browser; `token` None sends no Authorization."""

    emulator: KimiLegacyEmulator
    token: str | None = field(repr=False)
    open_connections: list[http.client.HTTPConnection] = field(default_factory=list)

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPConnection:
        """Send a request and return its connection before any answer is read."""
        link = http.client.HTTPConnection(urlsplit(self.emulator.url).netloc, timeout=5)
        self.open_connections.append(link)
        fields = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if isinstance(body, dict):
            fields["Content-Type"] = "application/json"
            body = json.dumps(body)
        link.request(method, path, body, {**fields, **(headers or {})})
        return link

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request and read the answer to its end."""
        link = self.send(method, path, body, **more)
        response = link.getresponse()
        broken = False
        try:
            data = response.read()
        except http.client.IncompleteRead as error:
            data, broken = error.partial, True
        finally:
            link.close()
        return Reply(response.status, dict(response.getheaders()), data, broken)

    def create(self) -> str:
        """Make a conversation and return its id."""
        chat = self.call("POST", "/api/chat", {"name": "made up"}).json()
        return str(chat["id"])

    def ask(self, chat: str, text: str = "hello", **fields: Any) -> Reply:
        """Ask and read the answer to its end."""
        return self.call("POST", stream_path(chat), question(text, **fields))

    def begin(self, chat: str, text: str = "hello") -> http.client.HTTPResponse:
        """Ask and return the answer when its head has arrived."""
        return self.send("POST", stream_path(chat), question(text)).getresponse()

    def leave(self) -> None:
        """Close every connection at once."""
        for link in self.open_connections:
            link.close()
        self.open_connections.clear()


def stream_path(chat: str) -> str:
    """Return where a conversation is continued."""
    return f"/api/chat/{chat}/completion/stream"


def question(text: str, **fields: Any) -> dict[str, Any]:
    """Return a completion body in the form of the sheet's §4."""
    return {
        "kimiplus_id": "kimi",
        "messages": [{"role": "user", "content": text}],
        "refs": [],
        "refs_file": [],
        "use_math": False,
        "use_research": False,
        "use_search": False,
        "extend": {"sidebar": True},
        **fields,
    }


def login(emulator: KimiLegacyEmulator, name: str, **lives: float) -> Web:
    """Make an account and return its browser with an access token."""
    return Web(emulator, emulator.add_account(name, **lives).access)


def refresh(emulator: KimiLegacyEmulator, refresh_token: str) -> Reply:
    """Call the refresh route."""
    return Web(emulator, refresh_token).call("GET", "/api/auth/token/refresh")


def pair(reply: Reply) -> TokenPair:
    """Return the tokens of a refresh answer."""
    return TokenPair(reply.json()["access_token"], reply.json()["refresh_token"])


def eventually(condition: Callable[[], bool], timeout: float = 5.0) -> None:
    """Wait until a condition holds; raises AssertionError after `timeout` seconds."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.005)
