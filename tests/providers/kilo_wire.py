"""Kilo, for the contract's tests and those of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from emulators.kilo import Answer, KiloEmulator
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import GatewayError
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kilo import GATEWAY, Kilo
from kimi_proxy.upstream import Upstream
from tests.providers.plain_account import PlainAccount

MODEL = "anthropic/claude-sonnet-4.5"


def account_of(emulator: KiloEmulator, credential: Credential) -> PlainAccount:
    upstream = Upstream([emulator.url])
    provider = Kilo(
        "kilo",
        upstream,
        base=emulator.url + GATEWAY,
        api=emulator.url,
        origins=frozenset({emulator.url}),
        now=time.time,
    )
    return PlainAccount(provider, upstream, credential)


class KiloWire:
    """The gateway on an emulator of its own; see `wire.Wire`."""

    model, stream, refresh = MODEL, "chat", ""

    def __init__(self, emulator: KiloEmulator) -> None:
        self.emulator = emulator
        token = emulator.add_account("alice")
        self.account = account_of(emulator, Credential(access=token))

    def say(self, *pieces: str) -> None:
        self.emulator.answer = Answer(pieces)

    def split(self, *sizes: int) -> None:
        self.emulator.knobs.split = sizes

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte)

    def stall(self, after: int) -> None:
        self.emulator.faults.add("stall", at=after)

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbled", at=after)

    def fail(self, after: int) -> None:
        self.emulator.faults.add("broken_off", at=after)

    def revoke(self, kind: str) -> None:
        self.emulator.accounts.revoke("alice")

    def writes(self) -> bool:
        return False


@contextmanager
def opened() -> Iterator[KiloWire]:
    with KiloEmulator() as emulator:
        wire = KiloWire(emulator)
        yield wire
        wire.account.leave()
        assert emulator.violations() == []


def asking(text: str = "hi", *, stream: bool = True, to: str = MODEL) -> ChatRequest:
    """A question of one message."""
    return ChatRequest(to, (Message("user", text),), stream=stream)


def failure(wire: KiloWire, request: ChatRequest | None = None) -> GatewayError:
    """Why there was no answer at all."""
    seen, error = wire.account.outcome(request or asking())
    assert seen == [] and error is not None
    return error
