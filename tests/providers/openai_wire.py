"""Upstreams with OpenAI's API, for the contract's tests."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from emulators.moonshot import KimiCodeEmulator, MoonshotEmulator
from emulators.openai import Answer, Choice, OpenAIEmulator
from kimi_proxy.config.preset import PRESETS
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.openai_compatible import OpenAICompatible
from kimi_proxy.providers.openai_quirk import Quirks
from kimi_proxy.upstream import Upstream
from tests.providers.plain_account import PlainAccount

# By preset: whose server stands in for it, and a model of its.
_SERVICES: dict[str, tuple[type[OpenAIEmulator], str]] = {
    "openai": (OpenAIEmulator, "gpt-4o"),
    "moonshot-cn": (MoonshotEmulator, "kimi-k2.6"),
    "kimi-code": (KimiCodeEmulator, "kimi-for-coding"),
}


class OpenAIWire:
    """One service on an emulator of its own; see `wire.Wire`."""

    stream, refresh = "chat", ""

    def __init__(self, emulator: OpenAIEmulator, preset: str, model: str) -> None:
        self.emulator, self.model = emulator, model
        upstream = Upstream([emulator.url])
        provider = OpenAICompatible(
            "api",
            upstream,
            emulator.base_url,
            time.time,
            quirks=Quirks(**PRESETS[preset].quirks),
        )
        credential = Credential(access=emulator.add_key("alice"))
        self.account = PlainAccount(provider, upstream, credential)

    def say(self, *pieces: str) -> None:
        self.emulator.answer = Answer(Choice(pieces=pieces))

    def split(self, *sizes: int) -> None:
        self.emulator.knobs.split = sizes

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte)

    def stall(self, after: int) -> None:
        self.emulator.faults.add("stall", at=after)

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbled", at=after)

    def fail(self, after: int) -> None:
        self.emulator.faults.add("error_chunk", at=after)

    def revoke(self, kind: str) -> None:
        self.emulator.set_key("alice", state="invalid")

    def writes(self) -> bool:
        return False


@contextmanager
def opened(preset: str) -> Iterator[OpenAIWire]:
    """The wire of a preset's service."""
    service, model = _SERVICES[preset]
    with service() as emulator:
        wire = OpenAIWire(emulator, preset, model)
        yield wire
        wire.account.leave()
        assert emulator.violations() == []
