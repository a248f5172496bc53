"""kimi-ai.chat, for the contract's tests and those of its own."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from emulators.kimi_ai_chat import KimiAiChatEmulator
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kimi_ai_chat import KimiAiChat
from kimi_proxy.providers.kimi_ai_chat_prompt import Overlong
from kimi_proxy.upstream import Upstream
from tests.providers.plain_account import PlainAccount


def account_of(
    emulator: KimiAiChatEmulator, limit: int = 1000, overlong: Overlong = "refuse"
) -> PlainAccount:
    upstream = Upstream([emulator.url])
    provider = KimiAiChat(
        "site",
        upstream,
        site=emulator.url,
        limit=limit,
        overlong=overlong,
        now=time.time,
    )
    return PlainAccount(provider, upstream, Credential(access="-"))


class KimiAiChatWire:
    """The site on an emulator of its own; see `wire.Wire`.

    Its answer is one piece: what breaks it breaks all of it.
    """

    model, stream, refresh = "kimi-k2-instruct", "message", ""

    def __init__(self, emulator: KimiAiChatEmulator) -> None:
        self.emulator = emulator
        self.account = account_of(emulator)

    def say(self, *pieces: str) -> None:
        self.emulator.answer = "".join(pieces)

    def split(self, *sizes: int) -> None:
        self.emulator.knobs.split = sizes

    def cut(self, at_byte: int) -> None:
        self.emulator.faults.add("cut", at_byte=at_byte)

    def stall(self, after: int) -> None:
        self.emulator.faults.add("hang", on="message")

    def garble(self, after: int) -> None:
        self.emulator.faults.add("garbled")

    def fail(self, after: int) -> None:
        self.emulator.faults.add("refused", times=2)

    def revoke(self, kind: str) -> None:
        raise AssertionError("there are no tokens")

    def writes(self) -> bool:
        return False


@contextmanager
def opened() -> Iterator[KimiAiChatWire]:
    with KimiAiChatEmulator() as emulator:
        wire = KimiAiChatWire(emulator)
        yield wire
        wire.account.leave()
        assert emulator.violations() == []
