"""Which account has an object: it exists there and nowhere else."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from kimi_proxy.errors import StateUnavailable
from kimi_proxy.logs import logger
from kimi_proxy.storage import Documents

_PREFIX = "home/"
_TTL = 30 * 86_400.0  # as long as OpenAI keeps what it stores by itself


@dataclass(frozen=True, slots=True)
class Home:
    """A provider's account."""

    provider: str
    account: str


class Homes:
    """Remembers by the object's id, for 30 days without use; only a convenience.

    Of what is forgotten the accounts are asked in turn, so a store that fails at it
    fails no request.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def find(self, ids: Iterable[str]) -> Home | None:
        """The home of the first of these objects that has one."""
        try:
            for name in ids:
                found = self._documents.get(_key(name))
                if found is not None:
                    return Home(found["provider"], found["account"])
        except StateUnavailable as exc:
            logger.warning("where objects live: %s", exc.message)
        return None

    def remember(self, ids: Iterable[str], home: Home) -> None:
        """From now on these objects are known to live there.

        No provider takes what is another's, by naming it in an answer of its own.
        """
        document = {"provider": home.provider, "account": home.account}
        try:
            for name in ids:
                found = self._documents.get(_key(name))
                if found is None or found["provider"] == home.provider:
                    self._documents.put(_key(name), document, ttl=_TTL)
        except StateUnavailable as exc:
            logger.warning("where objects live: %s", exc.message)


def ids_in(body: bytes) -> Iterator[str]:
    """Ids of what was made, in the answer's words: its own, and its parts'.

    An upload that is complete tells the id of its file that way.
    """
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return
    if isinstance(document, dict):
        parts = [part for part in document.values() if isinstance(part, dict)]
        for holder in (document, *parts):
            if isinstance(name := holder.get("id"), str):
                yield name


def _key(name: str) -> str:
    # A digest: an id may be as long as an upstream likes.
    return f"{_PREFIX}{hashlib.sha256(name.encode()).hexdigest()[:32]}"
