"""The chats the gateway makes upstream, and that none of them is left behind.

Every chat is written to a journal before it is made. When its request is over the
sweeper deletes it; when its worker died the sweeper of another worker does. A chat
whose id was never heard (the connection broke first) is searched for by fingerprint.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kimi_proxy.clock import Clock
from kimi_proxy.errors import ClientGone, GatewayError, UpstreamCut, UpstreamTimeout
from kimi_proxy.logs import logger
from kimi_proxy.pool import Worker
from kimi_proxy.providers.base import KeepsChats
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents

_TIMEOUTS = Timeouts(connect=5, headers=10, first_content=15, idle=10, total=20)
_SEARCH_AFTER = 2.0  # a new chat shows in the feed 1.5 s after the send (sheet §10)
_SEARCHES = 3
_MAX_REST = 7 * 86_400.0  # a dead account's chats wait this long for a new log-in
_PREFIX = "chat/"


class Entry:
    """One upstream chat in the journal, from before it exists until it is deleted."""

    def __init__(self, journal: "Journal", provider: str, account: str) -> None:
        self._journal = journal
        self._key = f"{_PREFIX}{provider}/{uuid.uuid4().hex}"
        self._document: Document = {"account": account}
        self._sent = False

    def sending(self, fingerprint: str) -> None:
        """A chat is about to be made."""
        self._sent = True
        self._document.update(
            worker=self._journal.worker.id,
            fingerprint=fingerprint,
            chat=None,
            at=self._journal.clock.now(),
        )
        self._journal.documents.put(self._key, self._document)

    def opened(self, chat_id: str) -> None:
        """The upstream named it."""
        if self._document.get("chat") != chat_id:
            self._document["chat"] = chat_id
            self._journal.documents.put(self._key, self._document)

    def close(self, error: GatewayError | None) -> None:
        """The request is over: hand the chat to the sweeper.

        Without an id there is a chat to look for only if the connection broke; an
        upstream that refused the request made none.
        """
        if not self._sent:
            return
        lost = isinstance(error, ClientGone | UpstreamCut | UpstreamTimeout)
        if self._document["chat"] is None and not lost:
            self._journal.documents.delete(self._key)
            return
        self._document["due"] = self._journal.clock.now()
        if self._document["chat"] is None:
            self._document["due"] += _SEARCH_AFTER
        self._journal.documents.put(self._key, self._document)
        self._journal.nudge()


class Journal:
    """Where upstream chats are written down; survives `kill -9`."""

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self.documents = documents
        self.worker = worker
        self.clock = clock
        self.nudge: Callable[[], None] = _nobody_listens

    def open(self, provider: str, account: str) -> Entry:
        return Entry(self, provider, account)


def _nobody_listens() -> None:
    """Until a sweeper runs there is nobody to wake."""


@dataclass(frozen=True, slots=True)
class Keeper:
    """How to reach a provider's chats: its accounts by name, and for how long to try.

    `ttl` (seconds) bounds how long a chat that cannot be deleted is tried again.
    """

    provider: KeepsChats
    accounts: Mapping[str, Account]
    ttl: float


class Sweeper:
    """Deletes what the journal says is over; one call of `sweep` is one pass."""

    def __init__(
        self, journal: Journal, keepers: Mapping[str, Keeper], refresher: Refresher
    ) -> None:
        self._journal = journal
        self._keepers = keepers
        self._refresher = refresher

    def sweep(self) -> None:
        """Delete every chat that is due and whose account may be used now."""
        for key, document, keeper in self._due():
            try:
                self._delete(key, document, keeper)
            except GatewayError as exc:
                logger.info("a chat could not be deleted yet: %s", exc.message)
                self._postpone(key, document, keeper, exc)

    def _due(self) -> Iterator[tuple[str, Document, Keeper]]:
        now = self._journal.clock.now()
        for key, document in self._journal.documents.scan(_PREFIX):
            keeper = self._keepers.get(key.split("/")[1])
            if keeper is None or document["account"] not in keeper.accounts:
                continue
            mine = document["worker"] == self._journal.worker.id
            if not mine and not self._inherit(key, document):
                continue
            if document.get("due") is None or document["due"] > now:
                continue
            if not self._is_resting(keeper, document["account"]):
                yield key, document, keeper
            elif now - document["at"] > keeper.ttl + _MAX_REST:
                self._journal.documents.delete(key)

    def _inherit(self, key: str, document: Document) -> bool:
        """Take over what a dead worker left; only one of the living succeeds."""
        worker, now = self._journal.worker, self._journal.clock.now()
        old: str = document["worker"]
        last_sign: float = document.get("due") or document["at"]
        if worker.alive(old, now - last_sign):
            return False

        def change(found: Document | None) -> tuple[Document | None, bool]:
            if found is None or found["worker"] != old:
                return found, False
            found["worker"] = worker.id
            found.setdefault("due", now + _SEARCH_AFTER)
            return found, True

        taken = self._journal.documents.update(key, change)
        if taken:
            document["worker"] = worker.id
            document.setdefault("due", now + _SEARCH_AFTER)
        return taken

    def _is_resting(self, keeper: Keeper, name: str) -> bool:
        state = keeper.accounts[name].pool.state(name).state
        return state in {"cooling", "exhausted", "disabled", "dead"}

    def _delete(self, key: str, document: Document, keeper: Keeper) -> None:
        scope = Scope(_TIMEOUTS, self._journal.clock.monotonic)
        account = keeper.accounts[document["account"]]
        credential = self._refresher.ready(account, scope)
        if document["chat"] is not None:
            keeper.provider.delete_chat(credential, document["chat"], scope)
            self._journal.documents.delete(key)
            return
        found = keeper.provider.find_chats(
            credential, document["fingerprint"], document["at"] - 5, scope
        )
        for chat in found:
            keeper.provider.delete_chat(credential, chat, scope)
        searches = document.get("searches", 0) + 1
        if found or searches >= _SEARCHES:
            self._journal.documents.delete(key)
            return
        document.update(searches=searches, due=self._again(document))
        self._journal.documents.put(key, document)

    def _postpone(
        self, key: str, document: Document, keeper: Keeper, error: GatewayError
    ) -> None:
        if self._journal.clock.now() - document["at"] > keeper.ttl:
            logger.warning("giving up on deleting a chat: %s", error.message)
            self._journal.documents.delete(key)
            return
        document["tries"] = document.get("tries", 0) + 1
        document["due"] = self._again(document)
        self._journal.documents.put(key, document)

    def _again(self, document: Document) -> float:
        tries: int = document.get("tries", 0) + document.get("searches", 0)
        return self._journal.clock.now() + min(2.0**tries, 300.0)
