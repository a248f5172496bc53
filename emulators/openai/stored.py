"""What stays on the service: files, batches, stored completions, responses."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Item:
    """One stored object of a key; `content` is a file's bytes or a list of messages."""

    kind: str
    owner: str
    document: dict[str, Any]
    content: Any = field(default=None, repr=False)
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """The object's id."""
        return str(self.document["id"])


class Stored:
    """Every stored object; safe for threads."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._lock = threading.Lock()

    def add(self, item: Item) -> Item:
        """Keep an object."""
        with self._lock:
            self._items[item.id] = item
        return item

    def get(self, kind: str, owner: str, name: str) -> Item | None:
        """Return an owner's object."""
        item = self._items.get(name)
        if item is None or (item.kind, item.owner) != (kind, owner):
            return None
        return item

    def all(self, kind: str, owner: str | None = None) -> list[Item]:
        """Return the objects of a kind, oldest first."""
        with self._lock:
            items = list(self._items.values())
        return [i for i in items if i.kind == kind and owner in (None, i.owner)]

    def remove(self, item: Item) -> None:
        """Forget an object."""
        with self._lock:
            self._items.pop(item.id, None)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._items.clear()


def page(rows: list[Mapping[str, Any]]) -> dict[str, Any]:
    """Return objects as one page of a list."""
    ids = [row["id"] for row in rows]
    return {
        "object": "list",
        "data": rows,
        "first_id": ids[0] if ids else None,
        "last_id": ids[-1] if ids else None,
        "has_more": False,
    }
