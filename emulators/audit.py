"""What an emulator saw: an append-only, thread-safe record without any token in it."""

import hashlib
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization"})


@dataclass(frozen=True, slots=True)
class Entry:
    """One request as the emulator saw it; times are `time.monotonic()` seconds.

    `status` is None until an answer began. `aborted_at` is when the peer was seen to
    have left before the answer was complete. `opened_at` and `closed_at` bound a
    streamed answer (or a hang); `closed_at` stays None while it is open. `raw` is the
    body as it came, where the emulator keeps it.
    """

    id: int
    at: float
    method: str
    path: str
    name: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    peer: int = 0
    account: str | None = None
    token_kind: str | None = None
    token_hash: str | None = None
    status: int | None = None
    outcome: str | None = None
    frames: int = 0
    sent: int = 0
    opened_at: float | None = None
    closed_at: float | None = None
    aborted_at: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
    raw: bytes = field(default=b"", repr=False)


class AuditLog:
    """The list of entries; an entry appears on arrival and is completed in place."""

    def __init__(self) -> None:
        self._entries: dict[int, Entry] = {}
        self._last = 0
        self._changed = threading.Condition()

    def add(self, method: str, path: str, name: str, **fields: Any) -> Entry:
        """Record an arriving request and return its entry."""
        with self._changed:
            self._last += 1
            entry = Entry(self._last, time.monotonic(), method, path, name, **fields)
            self._entries[entry.id] = entry
            self._changed.notify_all()
            return entry

    def update(self, entry_id: int, **changes: Any) -> None:
        """Complete an entry; one that `clear` removed meanwhile is left alone."""
        with self._changed:
            entry = self._entries.get(entry_id)
            if entry is not None:
                self._entries[entry_id] = replace(entry, **changes)
                self._changed.notify_all()

    def all(self) -> tuple[Entry, ...]:
        """Return every entry, oldest first."""
        with self._changed:
            return tuple(self._entries.values())

    def of(self, name: str, account: str | None = None) -> tuple[Entry, ...]:
        """Return the entries of one route (and one account), oldest first."""
        return tuple(
            entry
            for entry in self.all()
            if entry.name == name and account in (None, entry.account)
        )

    def open(self) -> tuple[Entry, ...]:
        """Return the entries whose streamed answer is still open."""
        return tuple(
            entry
            for entry in self.all()
            if entry.opened_at is not None and entry.closed_at is None
        )

    def wait_for(
        self, predicate: Callable[[tuple[Entry, ...]], Any], timeout: float = 5.0
    ) -> tuple[Entry, ...]:
        """Return all entries once the predicate holds for them.

        Raises TimeoutError after `timeout` seconds.
        """
        with self._changed:
            if not self._changed.wait_for(
                lambda: predicate(tuple(self._entries.values())), timeout
            ):
                seen = [(e.name, e.status, e.outcome) for e in self._entries.values()]
                raise TimeoutError(f"not in the log within {timeout} s; saw {seen}")
            return tuple(self._entries.values())

    def clear(self) -> None:
        """Forget everything."""
        with self._changed:
            self._entries.clear()
            self._changed.notify_all()


def fingerprint(token: str) -> str:
    """Return a short SHA-256 prefix that names a token without telling it."""
    return hashlib.sha256(token.encode()).hexdigest()[:12]


def safe_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, lower-case, with the values that are credentials hidden.

    Their names stay: what was sent along without need has to be seen.
    """
    return {
        name.lower(): "(hidden)" if name.lower() in _SECRET_HEADERS else value
        for name, value in headers.items()
    }


def redact(value: Any) -> Any:
    """Return a JSON value with every string that looks like a JWT replaced."""
    if isinstance(value, str):
        return f"token:{fingerprint(value)}" if value.startswith("eyJ") else value
    if isinstance(value, list):
        return [redact(item) for item in value]
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items()}
    return value
