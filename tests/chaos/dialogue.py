"""A client that sends all of its dialogue again with each question."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from emulators.audit import Entry
from emulators.kimi_connect import Answer
from emulators.kimi_legacy import Answer as LegacyAnswer
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.chaos.conftest import Emulator
from tests.chaos.gateway import Gateway
from tests.chaos.reply import Reply

AUTO = {"mode": "auto"}
_QUESTION = re.compile(r"question \d+")


def words(number: str) -> str:
    """The answer to a question: the same whatever stood before it."""
    return f"The answer to {number} is long. " * 20


def speaks(emulator: Emulator, **shape: Any) -> None:
    """Let the model answer the last question that it sees."""
    form: Any = LegacyAnswer if isinstance(emulator, KimiLegacyEmulator) else Answer

    def answer(prompt: str, body: Mapping[str, Any]) -> Any:
        return form(words(_QUESTION.findall(prompt)[-1]), pieces=50, **shape)

    emulator.answer = answer


def sent(emulator: Emulator) -> tuple[Entry, ...]:
    """The questions the upstream got."""
    legacy = isinstance(emulator, KimiLegacyEmulator)
    return emulator.log.of("completion" if legacy else "Chat")


def bytes_up(emulator: Emulator) -> int:
    """What all questions weigh, as JSON."""
    return sum(len(json.dumps(entry.body)) for entry in sent(emulator))


def chat_ids(emulator: Emulator) -> list[str]:
    """The chat of each question that was answered."""
    return [
        str(entry.facts.get("chat_id") or entry.facts.get("chat"))
        for entry in sent(emulator)
        if entry.facts.get("chat_id") or entry.facts.get("chat")
    ]


class Dialogue:
    """Its history; `ask` sends the whole of it and a new question."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self._number = 0

    def turn(self) -> list[dict[str, Any]]:
        """The history with the next question at its end."""
        text = f"question {self._number}"
        return [*self.messages, {"role": "user", "content": text}]

    def ask(self, gateway: Gateway, **body: Any) -> Reply:
        """One turn; the answer is part of the history if there is one."""
        messages = self.turn()
        reply = gateway.ask("", messages=messages, **body)
        if reply.status == 200 and reply.error is None:
            said = {"role": "assistant", "content": reply.text.strip()}
            self.messages, self._number = [*messages, said], self._number + 1
        return reply
