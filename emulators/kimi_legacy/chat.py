"""Conversations and their turns: one running turn per account (legacy sheet §3, §6)."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from emulators.kimi_legacy.answer import Answer
from emulators.kimi_legacy.refusal import (
    FORBIDDEN,
    STREAM_PUSHING,
    chat_not_found,
    refusal,
)

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Turn:
    """One question and its answer; `segment_id` and `answer_id` name the two.

    A turn runs until it ends, is cancelled, or, when its client has left, until the
    time at which it would have ended by itself.
    """

    def __init__(
        self,
        ids: tuple[str, str, str],
        prompt: str,
        answer: Answer,
        *,
        searched: bool = False,
        refs: tuple[str, ...] = (),
    ) -> None:
        self.segment_id, self.answer_id, self.group_id = ids
        self.prompt = prompt
        self.answer = answer
        self.searched = searched
        self.refs = refs
        self.deltas = answer.deltas()
        self.position = 0
        self.at_limit = False
        self.cancelled = False
        self._ended = False
        self._over_at: float | None = None
        self._on_cancel: Callable[[], None] | None = None

    @property
    def running(self) -> bool:
        """Whether the service is still writing this answer."""
        left = self._over_at is None or time.monotonic() < self._over_at
        return not self._ended and left

    @property
    def text(self) -> str:
        """The answer as far as it was written."""
        left_alone = self._over_at is not None and not self.cancelled
        whole = left_alone and not self.running
        return "".join(self.deltas if whole else self.deltas[: self.position])

    def restart(self) -> None:
        """Go on after the output limit."""
        self.at_limit, self._ended, self._over_at = False, False, None

    def end(self) -> None:
        """Stop running; the account may ask again."""
        self._ended = True

    def abandon(self, seconds: float) -> None:
        """Let the turn run on without a client for so many seconds."""
        self._over_at = time.monotonic() + seconds

    def watch(self, on_cancel: Callable[[], None] | None) -> None:
        """Call this when the turn is cancelled."""
        self._on_cancel = on_cancel

    def cancel(self) -> None:
        """Stop because the conversation is deleted."""
        running, wake = self.running, self._on_cancel
        self.cancelled = self.cancelled or running
        self.end()
        if running and wake is not None:
            wake()


@dataclass(slots=True)
class Chat:
    """One conversation on the service."""

    id: str
    account: str
    name: str
    kimiplus_id: str
    created_at: str
    updated_at: str
    turns: list[Turn] = field(default_factory=list)
    forbidden: bool = False

    def row(self) -> dict[str, Any]:
        """Return the conversation as `POST /api/chat` and the list show it."""
        return {
            "id": self.id,
            "name": self.name,
            "kimiplus_id": self.kimiplus_id,
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }

    def segments(self) -> Iterator[dict[str, Any]]:
        """Return the history, question and answer in turn."""
        for turn in self.turns:
            common = {"created_at": self.updated_at, "group_id": turn.group_id}
            yield {
                "id": turn.segment_id,
                "role": "user",
                "content": turn.prompt,
                **common,
            }
            yield {
                "id": turn.answer_id,
                "role": "assistant",
                "content": turn.text,
                "search_plus": [
                    {"event": "search_plus", "msg": msg} for msg in hits(turn)
                ],
                **common,
            }


def hits(turn: Turn) -> list[dict[str, Any]]:
    """Return the `get_res` messages of a turn's search (sheet §5)."""
    if not turn.searched:
        return []
    return [
        {"type": "get_res", "successNum": number, "title": hit.title, "url": hit.url}
        for number, hit in enumerate(turn.answer.search, start=1)
    ]


class Chats:
    """Every conversation; safe for threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._chats: dict[str, Chat] = {}
        self._running: dict[str, Turn] = {}
        self._numbers = itertools.count(1)

    def create(self, account: str, name: str, kimiplus_id: str) -> Chat:
        """Make an empty conversation."""
        now = self._now()
        with self._lock:
            chat = Chat(self.identifier("cn"), account, name, kimiplus_id, now, now)
            self._chats[chat.id] = chat
        return chat

    def find(self, chat_id: str, account: str, status: int | None = None) -> Chat:
        """Return an account's own conversation; raises Refused."""
        with self._lock:
            chat = self._chats.get(chat_id)
        if chat is None or chat.account != account:
            raise chat_not_found(status)
        return chat

    def delete(self, chat_id: str, account: str) -> Chat:
        """Remove a conversation and cancel its running turn; raises Refused."""
        chat = self.find(chat_id, account, status=404)
        with self._lock:
            self._chats.pop(chat_id, None)
        for turn in chat.turns:
            turn.cancel()
        return chat

    def all(self, account: str | None = None) -> tuple[Chat, ...]:
        """Return the conversations, newest first."""
        with self._lock:
            chats = [c for c in self._chats.values() if account in (None, c.account)]
        return tuple(chats[::-1])

    def turn_ids(self) -> tuple[str, str, str]:
        """Return new ids of a question, its answer and the two together."""
        return self.identifier("seg"), self.identifier("seg"), self.identifier("grp")

    def occupy(self, chat: Chat, turn: Turn) -> None:
        """Let a turn be the one its account runs; raises Refused."""
        if chat.forbidden:
            raise refusal(FORBIDDEN)
        with self._lock:
            running = self._running.get(chat.account)
            if running is not None and running.running:
                raise refusal(STREAM_PUSHING)
            self._running[chat.account] = turn
        chat.updated_at = self._now()

    def running(self, account: str | None = None) -> tuple[Turn, ...]:
        """Return the turns that run now."""
        with self._lock:
            latest = list(self._running.items())
        return tuple(
            turn for name, turn in latest if turn.running and account in (None, name)
        )

    def clear(self) -> None:
        """Forget all conversations and cancel what runs."""
        for chat in self.all():
            self.delete(chat.id, chat.account)

    def identifier(self, prefix: str) -> str:
        """Return a new id of 20 characters [0-9a-z]."""
        number, tail = next(self._numbers), ""
        while number:
            number, digit = divmod(number, 36)
            tail = _DIGITS[digit] + tail
        return prefix + tail.rjust(20 - len(prefix), "0")

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).isoformat()
