"""State that outlives a request: tokens, leases, cool-downs, counters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from kimi_proxy.storage.contents import Contents, DiskContents, MemoryContents, Spool
from kimi_proxy.storage.contract import Document, Documents, StorageUnavailable, Store
from kimi_proxy.storage.memory import MemoryStore
from kimi_proxy.storage.sqlite import SqliteStore

__all__ = [
    "Contents",
    "Document",
    "Documents",
    "Spool",
    "StorageUnavailable",
    "Store",
    "open_contents",
    "open_store",
]

Clock = Callable[[], float]


def open_store(uri: str, clock: Clock) -> Store:
    """Return the store that ``uri`` names; nothing is opened before its first use.

    ``sqlite:///data/kimi-proxy.db`` is relative to the working directory of now,
    ``sqlite:////var/lib/kimi-proxy.db`` absolute, ``memory://`` lasts as long as the
    process.  ``clock`` gives seconds since the epoch and decides what has expired.
    Raises ValueError for any other ``uri``, without repeating it: it may hold a
    password.
    """
    scheme, separator, rest = uri.partition("://")
    opener = _OPENERS.get(scheme) if separator else None
    if opener is None:
        supported = ", ".join(f"{name}://" for name in _OPENERS)
        raise ValueError(f"unknown kind of state store; supported: {supported}")
    return opener(rest, clock)


def open_contents(uri: str) -> Contents:
    """Return what keeps large contents beside the store that ``uri`` names.

    Beside ``kimi-proxy.db`` that is the directory ``kimi-proxy.files``, made on first
    use.  Raises ValueError for a ``uri`` that names no store.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "memory":
        return MemoryContents()
    path = _sqlite_path(rest)
    return DiskContents(path.with_name(f"{path.stem}.files"))


def _open_memory(rest: str, clock: Clock) -> Store:
    if rest:
        raise ValueError("memory:// takes nothing after it")
    return MemoryStore(clock)


def _open_sqlite(rest: str, clock: Clock) -> Store:
    return SqliteStore(_sqlite_path(rest), clock)


def _sqlite_path(rest: str) -> Path:
    path = rest.removeprefix("/")
    if path == rest or not path or path.endswith("/"):
        raise ValueError(
            "a SQLite store is sqlite:///relative/file.db or sqlite:////absolute/file.db"
        )
    if path == ":memory:":
        raise ValueError("for a store in memory use memory://")
    return Path(path).absolute()


_OPENERS: dict[str, Callable[[str, Clock], Store]] = {
    "sqlite": _open_sqlite,
    "memory": _open_memory,
}
