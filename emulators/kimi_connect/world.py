"""What the emulated service holds: knobs, accounts, chats, turns, files."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from emulators.kimi_connect.account import Account, Accounts
from emulators.kimi_connect.error import ERRORS, Refusal, missing
from emulators.stream import Connection


def timestamp() -> str:
    """Return now as the service writes times: RFC 3339 with nanoseconds, in UTC."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")


@dataclass(slots=True)
class Knobs:
    """Standing behaviour, changed at will while the emulator runs; times in seconds.

    `rotation_wrap`: the new route's answer as `plain`, inside `data`, or in `snake`
    case. `region`: refuse tokens of the other one. `masks`: `plain`, `comma` lists, or
    `paths` (with `OPERATOR_SET`). `texts`: `append` only, growing `set`s, or `mixed`
    with repeated sets. `generates_after_disconnect`: how long at most a turn lives on
    when its client left without CancelChat (0: ends at once).
    """

    strict_rotation: bool = False
    rotation_wrap: str = "plain"
    expired_in_trailer: bool = False
    region: str | None = None
    refuse_empty_chat_id: bool = False
    check_identity_headers: bool = True
    turns_per_account: int = 1
    generates_after_disconnect: float = 10.0
    delete_stops_turn: bool = False
    heartbeat_interval: float = 5.0
    feed_delay: float = 1.5
    masks: str = "plain"
    texts: str = "mixed"
    old_build: bool = False
    parse_delay: float = 0.2
    parse_fails: bool = False
    numeric_file_status: bool = False
    storage_limit: int = 524_288_000
    file_limit: int = 104_857_600
    refused_types: tuple[str, ...] = ()
    agents: tuple[str, ...] = ("fakeagent00000000020",)


@dataclass(slots=True)
class Message:
    """One stored message of a chat."""

    id: str
    parent_id: str
    role: str
    status: str
    blocks: list[dict[str, Any]]
    created: str = field(default_factory=timestamp)

    def json(self) -> dict[str, Any]:
        """Return the message as ListMessages shows it."""
        return {
            "id": self.id,
            "parentId": self.parent_id,
            "role": self.role,
            "status": self.status,
            "blocks": self.blocks,
            "createTime": self.created,
        }


@dataclass(slots=True)
class Chat:
    """One stored conversation; `born` is monotonic seconds."""

    id: str
    owner: str
    name: str
    born: float
    status: str = "STATUS_COMPLETED"
    last_request: dict[str, Any] = field(default_factory=dict)
    messages: list[Message] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        """Return the chat as GetChat shows it."""
        return {
            "id": self.id,
            "name": self.name,
            "status": self.status,
            "lastRequest": self.last_request,
        }


class Turn:
    """One running generation; `cancel` ends it from any thread.

    `ended_at` is the moment from which the account may ask again, in monotonic seconds.
    """

    def __init__(self, account: str, chat_id: str, connection: Connection) -> None:
        self.account = account
        self.chat_id = chat_id
        self.cancelled = threading.Event()
        self.asking = False
        self.ended_at: float | None = None
        self._connection = connection

    def cancel(self) -> None:
        """Stop generating, waking the thread that streams."""
        self.cancelled.set()
        self._connection.wake()


class Turns:
    """The running turns; at most so many for one account."""

    def __init__(self) -> None:
        self._running: list[Turn] = []
        self._closed = False
        self._changed = threading.Condition()

    def begin(self, turn: Turn, limit: int) -> None:
        """Register a turn; raises Refusal (`session in progress`) when one runs.

        A turn that waits for the user's word in the same chat gives way (§12).
        """
        with self._changed:
            for other in self._running:
                if other.asking and other.chat_id == turn.chat_id:
                    other.cancel()
                    self._changed.wait_for(partial(self._over, other), 5)
                    break
            if sum(t.account == turn.account for t in self._running) >= limit:
                raise Refusal(ERRORS["session_in_progress"])
            self._running.append(turn)
            if self._closed:
                turn.cancel()

    def _over(self, turn: Turn) -> bool:
        return turn not in self._running

    def end(self, turn: Turn) -> None:
        """Forget a turn; ending twice is harmless."""
        with self._changed:
            if turn in self._running:
                turn.ended_at = time.monotonic()
                self._running.remove(turn)
                self._changed.notify_all()

    def running(self) -> tuple[Turn, ...]:
        """Return the turns generating now."""
        with self._changed:
            return tuple(self._running)

    def open(self) -> None:
        """Let turns run (again)."""
        with self._changed:
            self._closed = False

    def close(self) -> None:
        """Cancel every turn, and those that begin from now on."""
        with self._changed:
            self._closed = True
        self.cancel()

    def cancel(self, chat_id: str | None = None) -> None:
        """Cancel the turns of a chat, or all."""
        for turn in self.running():
            if chat_id in (None, turn.chat_id):
                turn.cancel()

    def stop(self, chat_id: str) -> None:
        """Cancel the turns of a chat and see them end, for 5 s at most."""
        turns = [turn for turn in self.running() if turn.chat_id == chat_id]
        for turn in turns:
            turn.cancel()
        with self._changed:
            self._changed.wait_for(lambda: all(map(self._over, turns)), 5)


class Chats:
    """The conversations that exist; deleted ones are gone. Thread-safe."""

    def __init__(self) -> None:
        self._chats: dict[str, Chat] = {}
        self.lock = threading.RLock()

    def create(self, owner: Account, chat_id: str, name: str = "Untitled") -> Chat:
        """Store a new, empty chat."""
        chat = Chat(chat_id, owner.name, name, time.monotonic())
        with self.lock:
            self._chats[chat.id] = chat
        return chat

    def get(self, owner: Account, chat_id: Any) -> Chat:
        """Return an account's own chat; raises Refusal (`not_found`)."""
        with self.lock:
            chat = self._chats.get(chat_id) if isinstance(chat_id, str) else None
            if chat is None or chat.owner != owner.name:
                raise missing("chat")
            return chat

    def delete(self, owner: Account, chat_id: Any) -> None:
        """Remove a chat; raises Refusal (`not_found`)."""
        with self.lock:
            del self._chats[self.get(owner, chat_id).id]

    def all(self, owner: str | None = None) -> tuple[Chat, ...]:
        """Return the chats (of one account), newest first."""
        with self.lock:
            chats = [c for c in self._chats.values() if owner in (None, c.owner)]
        return tuple(sorted(chats, key=lambda chat: chat.born, reverse=True))

    def clear(self) -> None:
        """Remove every chat."""
        with self.lock:
            self._chats.clear()


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file; `ready` is when its parsing ends, monotonic seconds, `digest`
    the SHA-256 of its content in hex."""

    id: str
    owner: str
    size: int
    ready: float
    fails: bool
    name: str = ""
    kind: str = ""
    digest: str = ""

    def status(self) -> str:
        """Return the parse status as of now (§11)."""
        if time.monotonic() < self.ready:
            return "PROCESS_STATUS_PROCESSING"
        return "PROCESS_STATUS_FAIL" if self.fails else "PROCESS_STATUS_SUCCESS"


class World:
    """Everything the handlers share."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.knobs = Knobs()
        self.accounts = Accounts(clock)
        self.chats = Chats()
        self.turns = Turns()
        self.files: dict[str, StoredFile] = {}
