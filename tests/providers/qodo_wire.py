"""Qodo's two wires, for the contract's tests and those of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from emulators.qodo import QodoEmulator
from kimi_proxy.providers import qodo_token
from kimi_proxy.providers.qodo import Hosts, Qodo
from kimi_proxy.upstream import Upstream
from tests.providers.legacy_account import scope
from tests.providers.plain_account import PlainAccount


def account_of(emulator: QodoEmulator, token: str) -> PlainAccount:
    """The account of a configured token, with an access token."""
    upstream, url = Upstream([emulator.url]), emulator.url
    provider = Qodo(
        "qodo", upstream, hosts=Hosts(cli=url, ide=url, firebase=url), now=time.time
    )
    credential = qodo_token.read(token)
    if credential.access is None:
        credential = provider.refresh(credential, scope())
    emulator.log.clear()
    return PlainAccount(provider, upstream, credential)


class QodoWire:
    """One generation on an emulator of its own; see `wire.Wire`."""

    def __init__(self, emulator: QodoEmulator, kind: str) -> None:
        self.emulator = emulator
        self.kind = kind
        is_cli = kind == "cli"
        self.model = "gpt-5.1" if is_cli else "claude-3-7-sonnet"
        self.stream, self.refresh = ("start" if is_cli else "chat"), "renew"
        token = emulator.add_key("alice") if is_cli else emulator.add_pair("alice")
        self.account = account_of(emulator, token)

    def say(self, *pieces: str) -> None:
        self.emulator.answer = pieces

    def split(self, *sizes: int) -> None:
        self.emulator.knobs.split = sizes

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte)

    def stall(self, after: int) -> None:
        self.emulator.faults.add("stall", at=after)

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbled", at=after)

    def fail(self, after: int) -> None:
        self.emulator.faults.add("error_line", at=after)

    def revoke(self, kind: str) -> None:
        kind = "key" if (self.kind, kind) == ("cli", "access") else kind
        self.emulator.credentials.revoke("alice", kind)

    def writes(self) -> bool:
        return False


@contextmanager
def opened(kind: str) -> Iterator[QodoWire]:
    """The wire of generation C ("cli") or A ("ide")."""
    with QodoEmulator() as emulator:
        wire = QodoWire(emulator, kind)
        yield wire
        wire.account.leave()
        assert emulator.violations() == []
