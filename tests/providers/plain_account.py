"""An account of an upstream without chats, and what the gateway hands a provider."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.upstream import Upstream
from tests.providers.legacy_account import Notes, scope


@dataclass
class PlainAccount:
    """An account at a running emulator, seen through the provider."""

    provider: Any
    upstream: Upstream
    credential: Credential
    notes: Notes = field(default_factory=Notes)

    def lease(self, **timeouts: float) -> Lease:
        return Lease("alice", self.credential, scope(**timeouts), self.notes)

    def ask(self, request: ChatRequest) -> Iterator[Event]:
        events: Iterator[Event] = self.provider.stream(request, self.lease())
        return events

    def outcome(
        self, request: ChatRequest | None = None
    ) -> tuple[list[Event], GatewayError | None]:
        """The events of one answer, and the error that ended it."""
        assert request is not None
        seen: list[Event] = []
        try:
            seen.extend(self.ask(request))
        except GatewayError as exc:
            return seen, exc
        return seen, None

    def chat_ids(self) -> list[str]:
        """There are no chats."""
        return []

    def leave(self) -> None:
        self.upstream.close()
