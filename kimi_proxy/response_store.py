"""Responses that clients may ask for again, or go on with, by their ids.

Each belongs to one owner (`ClientKey.owner`); to all others it does not exist. A
response is a document `response/OWNER/ID`, OWNER being a digest, with its own input and
the id of the one that it goes on with: a history is the chain of them. Beside it stands
`kept/OWNER/TIME-ID`, by which `sweep` finds the oldest without reading them. The
documents may be large, so they have a space of their own, in which nothing waits for
the disk.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import orjson

from kimi_proxy.clock import Clock
from kimi_proxy.errors import NotFound
from kimi_proxy.storage import Document, Documents

Item = Mapping[str, Any]

_RESPONSES, _MARKS = "response/", "kept/"
_ID = re.compile(r"resp_[0-9a-f]{32}")
_ITEM_ID = re.compile(r"[a-z]{2,4}_([0-9a-f]{32})[0-9a-z]{4,12}")
_MOST_BYTES = 256 << 20  # of all that one owner has
_LARGEST = 32 << 20  # bytes of one response with its input
_LONGEST_CHAIN = 10_000
_PREVIOUS = "previous_response_id"


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored response as it was answered, `made` in epoch seconds; `items` are its
    own input, with ids."""

    response: Item = field(repr=False)
    items: Sequence[Item] = field(repr=False)
    previous: str | None
    made: float


class ResponseStore:
    """The responses of all owners: for `ttl` seconds without use, `most` of each.

    Every method may raise `StateUnavailable`.
    """

    def __init__(
        self, documents: Documents, clock: Clock, *, ttl: float, most: int
    ) -> None:
        self._documents = documents
        self._clock = clock
        self._ttl = ttl
        self._most = most
        self._grew = False

    def put(
        self, owner: str, response: Item, items: Sequence[Item], previous: str | None
    ) -> bool:
        """Store an answer with its input; False for one that is too large to be."""
        name, now = response["id"], self._clock.now()
        token = name.removeprefix("resp_")
        document: Document = {
            "response": dict(response),
            "items": [_with_id(i, token, n) for n, i in enumerate(items)],
            "previous": previous,
            "made": now,
            "expires": now + self._ttl,
        }
        size = len(orjson.dumps(document))
        if size > _LARGEST:
            return False
        self._documents.put(_key(owner, name), document, ttl=self._ttl)
        self._documents.put(_mark(owner, name, now), {"size": size}, ttl=self._ttl)
        self._grew = True
        return True

    def sweep(self) -> None:
        """Let the oldest of each owner make room, as far as there are too many.

        Nothing is looked at unless this process has stored something since.
        """
        if not self._grew:
            return
        self._grew = False
        marks = self._documents.scan(_MARKS)
        for _, held in groupby(marks, lambda mark: mark[0].rpartition("/")[0]):
            count = size = 0
            for mark, document in reversed(list(held)):
                count, size = count + 1, size + document["size"]
                if count > self._most or size > _MOST_BYTES:
                    self._drop(mark)

    def _drop(self, mark: str) -> None:
        _, owner, named = mark.split("/")
        name = named.partition("-")[2]
        self._documents.delete(f"{_RESPONSES}{owner}/{name}")
        self._documents.delete(mark)

    def get(self, owner: str, response_id: str) -> Kept:
        """One response; raises `NotFound`, also for another owner's."""
        return self._kept(owner, response_id, "response_id")

    def delete(self, owner: str, response_id: str) -> None:
        """Forget one response; raises `NotFound`. Nobody can go on with it then."""
        made = self.get(owner, response_id).made
        self._documents.delete(_key(owner, response_id))
        self._documents.delete(_mark(owner, response_id, made))

    def history(self, owner: str, response_id: str) -> list[Item]:
        """Input and output of a response and of all that it goes on with, in order.

        Raises `NotFound` where one of them is gone. All are kept for another while.
        """
        chain: list[Kept] = []
        link: str | None = response_id
        while link is not None and len(chain) < _LONGEST_CHAIN:
            chain.append(self._kept(owner, link, _PREVIOUS, renew=True))
            link = chain[-1].previous
        return [
            item
            for kept in reversed(chain)
            for item in (*kept.items, *kept.response["output"])
        ]

    def input(self, owner: str, response_id: str) -> list[Item]:
        """All that the model was given: the history, and the response's own input."""
        kept = self.get(owner, response_id)
        past = [] if kept.previous is None else self.history(owner, kept.previous)
        return [*past, *kept.items]

    def item(self, owner: str, item_id: str) -> Item:
        """One item of a response, by the id it has there; raises `NotFound`."""
        found = _ITEM_ID.fullmatch(item_id)
        if found is not None:
            kept = self._kept(owner, f"resp_{found[1]}", "input")
            for item in (*kept.items, *kept.response["output"]):
                if item.get("id") == item_id:
                    return dict(item)
        raise NotFound(f"there is no item {item_id[:80]!r}", param="input")

    def _kept(
        self, owner: str, response_id: str, param: str, *, renew: bool = False
    ) -> Kept:
        known = _ID.fullmatch(response_id)
        document = self._documents.get(_key(owner, response_id)) if known else None
        if document is None:
            raise _missing(response_id, param)
        if renew and document["expires"] - self._clock.now() < self._ttl / 2:
            document["expires"] = self._clock.now() + self._ttl
            self._documents.put(_key(owner, response_id), document, ttl=self._ttl)
        return Kept(
            document["response"],
            document["items"],
            document["previous"],
            document["made"],
        )


def _missing(response_id: str, param: str) -> NotFound:
    error = NotFound(f"there is no response {response_id[:80]!r}", param=param)
    if param == _PREVIOUS:
        error.shown_code = "previous_response_not_found"
    return error


def _with_id(item: Item, token: str, number: int) -> Item:
    if isinstance(item.get("id"), str):
        return item
    return {**item, "id": f"{_kind(item)}_{token}in{number:04d}"}


def _kind(item: Item) -> str:
    kind = item.get("type")
    return "msg" if kind == "message" else "rs" if kind == "reasoning" else "fc"


def _key(owner: str, response_id: str) -> str:
    return f"{_RESPONSES}{_digest(owner)}/{response_id}"


def _mark(owner: str, response_id: str, made: float) -> str:
    return f"{_MARKS}{_digest(owner)}/{int(made * 1000):012x}-{response_id}"


def _digest(owner: str) -> str:
    # An owner may be named anything, also like the beginning of another.
    return hashlib.sha256(owner.encode()).hexdigest()[:32]
