"""An account of the Connect emulator, and what the gateway hands a provider for it."""

import threading
import time
from collections.abc import Callable, Iterator

from emulators.kimi_connect import KimiConnectEmulator
from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event, TextDelta
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_connect import KimiConnect
from kimi_proxy.providers.kimi_connect_call import hosts, origins
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Upstream
from tests.providers.legacy_account import Notes, asking, scope

NOW = 1_790_000_000.0


class Account:
    """`alice` at a running emulator, seen through the provider."""

    def __init__(self, emulator: KimiConnectEmulator) -> None:
        self.emulator = emulator
        by_region = hosts(emulator.url, f"{emulator.url}/")
        self.upstream = Upstream(origins(by_region))
        self.provider = KimiConnect(
            "kimi",
            self.upstream,
            hosts=by_region,
            now=lambda: NOW,
            monotonic=time.monotonic,
        )
        pair = emulator.add_account("alice")
        self.credential = self.provider.read_token(f"{pair.access} {pair.refresh}")
        self.notes = Notes()

    @property
    def refresh_only(self) -> Credential:
        return self.provider.read_token(self.credential.refresh or "")

    def lease(self, within: Scope | None = None) -> Lease:
        return Lease("alice", self.credential, within or scope(), self.notes)

    def ask(
        self, request: ChatRequest | None = None, within: Scope | None = None
    ) -> Iterator[Event]:
        request = request or asking(model="k2d6-chat")
        return self.provider.stream(request, self.lease(within))

    def outcome(
        self, request: ChatRequest | None = None
    ) -> tuple[list[Event], GatewayError | None]:
        """The events of one answer, and the error that ended it."""
        seen: list[Event] = []
        try:
            seen.extend(self.ask(request))
        except GatewayError as exc:
            return seen, exc
        return seen, None

    def chat_ids(self) -> list[str]:
        """The chats that exist at the emulator, newest first."""
        return [chat.id for chat in self.emulator.chats("alice")]

    def leave(self) -> None:
        self.upstream.close()


def words(events: list[Event]) -> str:
    """The answer's text in some events."""
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def until(condition: Callable[[], bool]) -> None:
    """Return once the condition holds; fails after five seconds."""
    pause, deadline = threading.Event(), time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        pause.wait(0.005)
