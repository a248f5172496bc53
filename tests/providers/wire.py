"""One interface to the accounts of the emulators, for the contract's tests.

Each wire tells here how its emulator is made to say or break something; the promises
themselves stand in `test_contract.py`, once.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from emulators import kimi_connect, kimi_legacy
from emulators.server import Emulator
from kimi_proxy.chat import ChatRequest
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import Event
from kimi_proxy.providers.base import Credential
from kimi_proxy.scope import Scope
from tests.providers import (
    connect_account,
    kilo_wire,
    kimi_ai_chat_wire,
    legacy_account,
    openai_wire,
    qodo_wire,
)
from tests.providers.legacy_account import Notes, asking


class Account(Protocol):
    """An account at an emulator, as either wire's module makes it."""

    provider: Any
    credential: Credential
    notes: Notes

    def lease(self) -> Any: ...

    def outcome(
        self, request: ChatRequest | None = None
    ) -> tuple[list[Event], GatewayError | None]: ...

    def chat_ids(self) -> list[str]: ...


class Wire(Protocol):
    """A running emulator with one account; faults hit the next answer only."""

    emulator: Emulator
    account: Account
    model: str
    stream: str  # the streaming call's name in the emulator's log
    refresh: str  # the refresh call's

    def say(self, *pieces: str) -> None:
        """Let every answer consist of these pieces of text, nothing else."""

    def split(self, *sizes: int) -> None:
        """Send the bytes of answers in pieces of these sizes."""

    def cut(self, at_byte: int) -> None:
        """Cut the connection before this byte of the body."""

    def stall(self, after: int) -> None:
        """Say nothing more after so many pieces."""

    def garble(self, after: int) -> None:
        """Send a malformed event after so many pieces."""

    def fail(self, after: int) -> None:
        """Send an error event after so many pieces."""

    def revoke(self, kind: str) -> None:
        """Kill the account's `access` or `refresh` tokens."""

    def writes(self) -> bool:
        """Whether an answer is being generated now."""


def question(wire: Wire, text: str = "hi") -> ChatRequest:
    return replace(asking(text, model=wire.model), stream=True)


def ask(wire: Wire, text: str = "hi", within: Scope | None = None) -> Iterator[Event]:
    lease = wire.account.lease()
    if within is not None:
        lease = type(lease)(lease.account, lease.credential, within, lease.chat)
    events: Iterator[Event] = wire.account.provider.stream(question(wire, text), lease)
    return events


class Connect:
    """The Connect wire."""

    model, stream, refresh = "k2d6-chat", "Chat", "RefreshToken"

    def __init__(self, emulator: kimi_connect.KimiConnectEmulator) -> None:
        self.emulator = emulator
        self.account = connect_account.Account(emulator)
        emulator.knobs.feed_delay = 0
        emulator.knobs.texts = "append"

    def say(self, *pieces: str) -> None:
        self.emulator.answer = kimi_connect.Answer("".join(pieces), pieces=pieces)

    def split(self, *sizes: int) -> None:
        self.emulator.faults.add("split", pieces=sizes, times=-1)

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte)

    def stall(self, after: int) -> None:
        self.emulator.faults.add("silence", after_content=after)

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbage", after_content=after)

    def fail(self, after: int) -> None:
        self.emulator.faults.add("error", error="internal", after_content=after)

    def revoke(self, kind: str) -> None:
        self.emulator.revoke("alice", kind)

    def writes(self) -> bool:
        return bool(self.emulator.running())


class Legacy:
    """The legacy wire."""

    model, stream, refresh = "kimi", "completion", "refresh"

    def __init__(self, emulator: kimi_legacy.KimiLegacyEmulator) -> None:
        self.emulator = emulator
        self.account = legacy_account.Account(emulator)

    def say(self, *pieces: str) -> None:
        self.emulator.answer = kimi_legacy.Answer(pieces=pieces)

    def split(self, *sizes: int) -> None:
        self.emulator.knobs.split = sizes

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte, on="completion")

    def stall(self, after: int) -> None:
        self.emulator.faults.add("stall", at=after)

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbled", at=after)

    def fail(self, after: int) -> None:
        self.emulator.faults.add("error_event", at=after, error_type="made.up")

    def revoke(self, kind: str) -> None:
        self.emulator.revoke("alice", kind)

    def writes(self) -> bool:
        return bool(self.emulator.running())


@contextmanager
def _connect() -> Iterator[Wire]:
    with kimi_connect.KimiConnectEmulator() as emulator:
        wire = Connect(emulator)
        yield wire
        wire.account.leave()


@contextmanager
def _legacy() -> Iterator[Wire]:
    with kimi_legacy.KimiLegacyEmulator() as emulator:
        wire = Legacy(emulator)
        yield wire
        wire.account.leave()


_WIRES: Mapping[str, Callable[[], AbstractContextManager[Wire]]] = {
    "connect": _connect,
    "legacy": _legacy,
    "qodo-cli": partial(qodo_wire.opened, "cli"),
    "qodo-ide": partial(qodo_wire.opened, "ide"),
    "kimi-ai-chat": kimi_ai_chat_wire.opened,
    "kilo": kilo_wire.opened,
    "openai": partial(openai_wire.opened, "openai"),
    "moonshot": partial(openai_wire.opened, "moonshot-cn"),
    "kimi-code": partial(openai_wire.opened, "kimi-code"),
}
# Which type of provider each is in a configuration.
KINDS: Mapping[str, str] = {
    **dict.fromkeys(("connect", "legacy"), "kimi"),
    **dict.fromkeys(("qodo-cli", "qodo-ide"), "qodo"),
    "kimi-ai-chat": "kimi-ai-chat",
    "kilo": "kilo",
    **dict.fromkeys(("openai", "moonshot", "kimi-code"), "openai"),
}
# What an upstream can do beyond answering.
KEEPING = ("connect", "legacy")
RENEWING = (*KEEPING, "qodo-ide")
UNLISTED = ("kilo", "openai", "moonshot", "kimi-code")  # they have to be asked
CHECKING = (*RENEWING, "qodo-cli", *UNLISTED)
STREAMING = tuple(name for name in _WIRES if name != "kimi-ai-chat")
LISTED = tuple(name for name in _WIRES if name not in UNLISTED)
ALL = tuple(_WIRES)


def opened(name: str) -> AbstractContextManager[Wire]:
    """The wire of that name, on an emulator of its own."""
    return _WIRES[name]()
