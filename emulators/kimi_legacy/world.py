"""Everything the emulated service remembers."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from emulators.exchange import Exchange
from emulators.kimi_legacy.answer import Answer, Script, quote
from emulators.kimi_legacy.chat import Chats
from emulators.kimi_legacy.credential import Credentials
from emulators.kimi_legacy.knob import Knobs
from emulators.kimi_legacy.refusal import Refused, bad_request
from emulators.kimi_legacy.stored_file import StoredFiles


@dataclass(frozen=True, slots=True)
class Call:
    """One request past the door: who asks, and the JSON body (None without one)."""

    exchange: Exchange
    account: str
    body: Any

    @property
    def params(self) -> Mapping[str, str]:
        """The placeholders of the route's path."""
        return self.exchange.request.params

    def need(self, name: str, kind: type, default: Any = ...) -> Any:
        """Return a field of the body; raises Refused for a wrong type or none."""
        value = self.body.get(name, default)
        if value is ... or not isinstance(value, kind):
            raise bad_request(f"{name} must be a {kind.__name__}")
        return value


class Research:
    """The quota of research mode, the same for every account (sheet §3)."""

    def __init__(self) -> None:
        self._used: dict[str, int] = {}
        self._lock = threading.Lock()

    def usage(self, account: str, total: int) -> dict[str, int]:
        """Return what `GET /api/chat/research/usage` says."""
        used = self._used.get(account, 0)
        return {"remain": max(0, total - used), "total": total, "used": used}

    def spend(self, account: str, total: int) -> None:
        """Count one use; raises Refused, with an invented error, when none is left."""
        with self._lock:
            if self.usage(account, total)["remain"] == 0:
                raise Refused("no research left", error_type="chat.research_limit")
            self._used[account] = self._used.get(account, 0) + 1

    def clear(self) -> None:
        """Forget what was used."""
        with self._lock:
            self._used.clear()


class World:
    """Accounts, conversations, files and the switches of one emulator."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.credentials = Credentials(clock)
        self.chats = Chats(clock)
        self.files = StoredFiles(self.chats.identifier)
        self.research = Research()
        self.knobs = Knobs()
        self.answer: Script = quote

    def script(self, prompt: str, body: Mapping[str, Any]) -> Answer:
        """Return the answer to a prompt."""
        answer = self.answer
        return answer if isinstance(answer, Answer) else answer(prompt, body)

    def clear(self) -> None:
        """Forget everything but the accounts."""
        self.knobs = Knobs()
        self.answer = quote
        self.chats.clear()
        self.files.clear()
        self.research.clear()
