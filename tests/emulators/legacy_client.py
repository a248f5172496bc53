"""A plain client of the legacy emulator."""

import http.client
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from emulators.kimi_legacy import KimiLegacyEmulator, TokenPair
from tests.emulators.plain_client import Client, Whole


class Reply(Whole):
    """A whole answer of the legacy emulator."""

    __slots__ = ()

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


class Web(Client):
    """One account's browser; `token` None sends no Authorization."""

    def __init__(self, emulator: KimiLegacyEmulator, token: str | None) -> None:
        super().__init__(emulator.url, token)
        self.emulator = emulator

    def call(self, method: str, path: str, body: Any = None, **more: Any) -> Reply:
        """Send a request and read the answer to its end."""
        whole = self.fetch(method, path, body, **more)
        return Reply(whole.status, whole.headers, whole.body, whole.broken)

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
