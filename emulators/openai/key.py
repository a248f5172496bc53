"""API keys, the state each is in, and how many calls each runs now."""

import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from emulators.openai.wait import Wait


@dataclass(slots=True)
class Key:
    """One key of one account; `state` is "ok" or one the vendor's rules refuse.

    `wait` is told by the refusals of `rate_limited` and `busy`. A state lasts until it
    is changed, or until `until` (of the emulator's clock). At most `max_parallel` calls
    run at once; one more is refused as `busy`. After `expires_at` the key is invalid.
    `extra` is what only some vendors tell of an account, such as its balance.
    """

    name: str
    secret: str = field(repr=False)
    state: str = "ok"
    wait: Wait = field(default_factory=lambda: Wait(1.0))
    until: float | None = None
    max_parallel: int | None = None
    expires_at: float | None = None
    extra: dict[str, Any] = field(default_factory=dict)
    running: int = 0


class Keys:
    """Every key; safe for threads. `states` are those a key may be in."""

    def __init__(self, clock: Callable[[], float], states: Collection[str]) -> None:
        self._clock = clock
        self._states = states
        self._lock = threading.Lock()
        self._by_secret: dict[str, Key] = {}

    def add(self, name: str, secret: str | None = None, **fields: Any) -> Key:
        """Make a key; raises ValueError for a name that exists or a wrong state."""
        if any(key.name == name for key in self._by_secret.values()):
            raise ValueError(f"key {name!r} exists already")
        key = Key(name, secret or f"sk-made-up-{name}-000000000000000000")
        self._change(key, fields)
        with self._lock:
            self._by_secret[key.secret] = key
        return key

    def set(self, name: str, **fields: Any) -> None:
        """Change a key; raises KeyError for an unknown name, ValueError as `add`."""
        self._change(self.named(name), fields)

    def named(self, name: str) -> Key:
        """Return a key by its name; raises KeyError."""
        for key in self.all():
            if key.name == name:
                return key
        raise KeyError(name)

    def find(self, secret: str | None) -> Key | None:
        """Return the key of this secret in the state it is in now."""
        key = self._by_secret.get(secret or "")
        if key is None:
            return None
        now = self._clock()
        if key.until is not None and key.until <= now:
            key.state, key.until = "ok", None
        if key.expires_at is not None and key.expires_at <= now:
            key.state = "invalid"
        return key

    def all(self) -> tuple[Key, ...]:
        """Return every key, oldest first."""
        with self._lock:
            return tuple(self._by_secret.values())

    @contextmanager
    def running(self, key: Key) -> Iterator[bool]:
        """Count a call while it runs; False: one more than the key may run."""
        with self._lock:
            key.running += 1
            room = key.max_parallel is None or key.running <= key.max_parallel
        try:
            yield room
        finally:
            with self._lock:
                key.running -= 1

    def _change(self, key: Key, fields: dict[str, Any]) -> None:
        if fields.get("state", "ok") not in self._states:
            raise ValueError(f"unknown state; known: {sorted(self._states)}")
        for name, value in fields.items():
            if name not in Key.__dataclass_fields__:
                raise ValueError(f"a key has no {name!r}")
            setattr(key, name, value)
