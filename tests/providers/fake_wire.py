"""Two fake wires, and the provider that is made of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from dataclasses import replace as changed
from typing import Literal

from kimi_proxy.chat import ChatRequest, File, Message, Model
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event, Finished, TextDelta, collect
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi import Kimi
from kimi_proxy.scope import Scope
from tests.providers.legacy_account import Notes, scope

CN = Credential(access="made-up", refresh="made-up", region="cn")
UUID = "1a2b3c4d-0000-4000-8000-00000000c0de"


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class FakeWire:
    """A wire that answers with its name, or fails as told; it remembers its calls."""

    name: str
    ids: tuple[str, ...]
    honours: frozenset[str] = frozenset()
    unlisted: tuple[str, ...] = ()
    fails: GatewayError | None = None
    breaks: GatewayError | None = None
    calls: list[tuple[str, str]] = field(default_factory=list)
    closed: int = 0

    def _called(self, what: str, detail: str = "") -> None:
        self.calls.append((what, detail))
        if self.fails is not None:
            raise self.fails

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        self._called("stream", request.model)
        lease.chat.sending(f"chat of {self.name}")
        lease.chat.opened(UUID)
        try:
            yield TextDelta(self.name)
            if self.breaks is not None:
                raise self.breaks
            yield Finished("stop")
        finally:
            self.closed += 1

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        self._called("refresh")
        return changed(credential, access=f"made-up by {self.name}")

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        self._called("models")
        return self.known_models()

    def known_models(self) -> list[Model]:
        return [Model(name, name, self.name) for name in self.ids]

    def offers(self, model: str) -> bool:
        return model in self.ids or model in self.unlisted

    def read_token(self, text: str) -> Credential:
        return Credential(access=text)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        self._called("check")

    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        self._called("delete", chat_id)

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        self._called("find", fingerprint)
        return [f"found by {self.name}"]


class Pair:
    """Two fake wires and the provider over them."""

    def __init__(self, wire: Literal["auto", "connect", "legacy"] = "auto") -> None:
        self.connect = FakeWire("connect", ("k2", "k3", "both"))
        self.legacy = FakeWire("legacy", ("kimi", "k1", "both"))
        self.clock = Clock(1000.0)
        self.notes = Notes()
        self.kimi = Kimi(
            "kimi",
            connect=self.connect,
            legacy=self.legacy,
            monotonic=self.clock,
            wire=wire,
        )

    def events(
        self, model: str, credential: Credential = CN, *files: File
    ) -> Iterator[Event]:
        request = ChatRequest(model, (Message("user", "hi", files=files),))
        return self.kimi.stream(request, Lease("a", credential, scope(), self.notes))

    def text(self, model: str, credential: Credential = CN, *files: File) -> str:
        return collect(self.events(model, credential, *files)).text

    def asked(self) -> list[tuple[str, str]]:
        """The models asked for, wire by wire, since the last look."""
        calls = [
            (wire.name, model)
            for wire in (self.connect, self.legacy)
            for what, model in wire.calls
            if what == "stream"
        ]
        self.connect.calls.clear()
        self.legacy.calls.clear()
        return calls
