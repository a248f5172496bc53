"""An account of the legacy emulator, and what the gateway hands a provider for it."""

import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field

from emulators.kimi_legacy import KimiLegacyEmulator
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_legacy import KimiLegacy
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream

NOW = 1_790_000_000.0


@dataclass
class Notes:
    """A chat log that remembers what was said to it, in order."""

    said: list[tuple[str, str]] = field(default_factory=list)

    def sending(self, fingerprint: str) -> None:
        self.said.append(("sending", fingerprint))

    def opened(self, chat_id: str) -> None:
        self.said.append(("opened", chat_id))


def scope(**timeouts: float) -> Scope:
    times = {"connect": 5.0, "headers": 5.0, "idle": 5.0, "total": 20.0} | timeouts
    return Scope(Timeouts(**times), time.monotonic)


def asking(
    text: str = "hi",
    *,
    model: str = "kimi",
    search: bool | None = None,
    history: tuple[Message, ...] = (),
) -> ChatRequest:
    return ChatRequest(model, (*history, Message("user", text)), search=search)


def hang_up(events: Iterator[Event]) -> None:
    """Close an answer, which `Provider.stream` allows at any moment."""
    assert isinstance(events, Generator)
    events.close()


class Account:
    """`alice` at a running emulator, seen through the provider."""

    def __init__(self, emulator: KimiLegacyEmulator) -> None:
        self.emulator = emulator
        self.upstream = Upstream([emulator.url])
        self.provider = KimiLegacy(
            "kimi", self.upstream, now=lambda: NOW, host=emulator.url
        )
        pair = emulator.add_account("alice")
        self.credential = Credential(
            access=pair.access, refresh=pair.refresh, region="cn"
        )
        self.notes = Notes()

    def lease(self, **timeouts: float) -> Lease:
        return Lease("alice", self.credential, scope(**timeouts), self.notes)

    def ask(self, request: ChatRequest | None = None) -> Iterator[Event]:
        return self.provider.stream(request or asking(), self.lease())

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
