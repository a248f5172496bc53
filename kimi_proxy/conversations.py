"""The chats the gateway makes upstream, and that none of them is left behind.

Every chat is written to a journal before it is made. When its request is over the
sweeper deletes it; when its worker died the sweeper of another worker does. A chat
whose id was never heard (the connection broke first) is searched for by fingerprint.
"""

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    AccountBusy,
    AccountExhausted,
    ClientError,
    ClientGone,
    GatewayError,
    Penalty,
    StateUnavailable,
    TokenRejected,
    UpstreamBlocked,
    UpstreamForbidden,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnreachable,
    UpstreamUnsupported,
)
from kimi_proxy.logs import logger
from kimi_proxy.providers.base import Credential, KeepsChats
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents
from kimi_proxy.worker import Presence, Worker

_TIMEOUTS = Timeouts(connect=5, headers=10, first_content=15, idle=10, total=20)
_SEARCH_AFTER = 2.0  # a new chat shows in the feed 1.5 s after the send (sheet §10)
_SEARCHES = 3
_SKEW = 5.0  # the upstream's clock may be behind ours
_MAX_REST = 7 * 86_400.0  # a dead account's chats wait this long for a new log-in
_LONGEST_REST = 300.0
_LONGEST_RETRY_AFTER = 1800.0
_PREFIX = "chat/"
# Refusals: the upstream said no, so it made no chat. After anything else it may have:
# Kimi says "overloaded" within an answer that has begun, and the frame that names the
# chat may be what was to come next.
_REFUSALS = (
    ClientError,
    TokenRejected,
    UpstreamRateLimited,
    AccountBusy,
    AccountExhausted,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnsupported,
    UpstreamMoved,
    UpstreamBlocked,
    UpstreamUnreachable,
)


class Entry:
    """One upstream chat in the journal, from before it exists until it is deleted."""

    def __init__(self, journal: "Journal", provider: str, account: str) -> None:
        self._journal = journal
        self._prefix = f"{_PREFIX}{provider}/"
        self._account = account
        self._key = ""
        self._document: Document = {}

    def sending(self, fingerprint: str) -> None:
        """A chat is about to be made; raises `StateUnavailable`: then none must be.

        A second call begins anew: whatever came of the first is over, and it was
        refused unless it has a name.
        """
        if self._key:
            self._hand_over(lost=False)
        journal = self._journal
        key = f"{self._prefix}{uuid.uuid4().hex}"
        self._document = {
            "account": self._account,
            "worker": journal.worker.id,
            "fingerprint": fingerprint,
            "chat": None,
            "at": journal.clock.now(),
        }
        journal.open_keys.add(key)
        try:
            journal.documents.put(key, self._document)
        except BaseException:
            journal.open_keys.discard(key)
            raise
        self._key = key

    def opened(self, chat_id: str) -> None:
        """The upstream named it."""
        if self._key and self._document["chat"] != chat_id:
            self._document["chat"] = chat_id
            self._write(lambda: self._journal.documents.put(self._key, self._document))

    def close(self, error: GatewayError | None) -> None:
        """The request is over: hand the chat to the sweeper.

        Without an id there is a chat to look for, unless the upstream refused the
        request. `error` is None after a success or a defect.
        """
        if self._key:
            refused = isinstance(error, _REFUSALS) and not isinstance(error, ClientGone)
            self._hand_over(lost=not refused)
            self._key = ""

    def _hand_over(self, *, lost: bool) -> None:
        journal, document, key = self._journal, self._document, self._key
        if document["chat"] is None and not lost:
            self._write(lambda: journal.documents.delete(key))
        else:
            document["due"] = journal.clock.now()
            if document["chat"] is None:
                document["due"] += _SEARCH_AFTER
            self._write(lambda: journal.documents.put(key, document))
        journal.open_keys.discard(key)
        journal.nudge()

    def _write(self, write: Callable[[], None]) -> None:
        """What cannot be written does no harm: the sweeper sees the chat is over."""
        try:
            write()
        except StateUnavailable as exc:
            logger.warning("the journal of chats: %s", exc.message)


class Journal:
    """Where upstream chats are written down; survives `kill -9`.

    `open_keys` are the entries whose requests run in this process now.
    """

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self.documents = documents
        self.worker = worker
        self.clock = clock
        self.presence = Presence(documents, worker, clock)
        self.open_keys: set[str] = set()
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
            except BaseException:
                # A defect met on this chat must not keep the others from their turn.
                self._postpone(key, document, keeper, None)
                raise

    def _due(self) -> Iterator[tuple[str, Document, Keeper]]:
        now = self._journal.clock.now()
        for key, document in self._journal.documents.scan(_PREFIX):
            keeper = self._keepers.get(key.split("/")[1])
            if keeper is None or document["account"] not in keeper.accounts:
                if now - document["at"] > _MAX_REST:
                    self._journal.documents.delete(key)
                continue
            mine = document["worker"] == self._journal.worker.id
            over = self._is_over if mine else self._inherit
            if not over(key, document):
                continue
            # Later than ever said: then the clock was set back.
            if now < document["due"] <= now + _LONGEST_RETRY_AFTER:
                continue
            if not self._is_resting(keeper, document["account"]):
                yield key, document, keeper
            elif now - document["at"] > keeper.ttl + _MAX_REST:
                self._journal.documents.delete(key)

    def _is_over(self, key: str, document: Document) -> bool:
        """Whether this worker's own request is over; sees to it that `due` is set."""
        if "due" in document:
            return True
        if key in self._journal.open_keys:
            return False
        # Its end came after the look at the journal, or could not be written down.
        final = self._journal.documents.get(key)
        document.update(final or {})
        # Not "now": by the time it is compared that would always be in the future.
        document.setdefault("due", document["at"])
        return final is not None

    def _inherit(self, key: str, document: Document) -> bool:
        """Take over what a dead worker left; only one of the living succeeds."""
        worker, now = self._journal.worker, self._journal.clock.now()
        old: str = document["worker"]
        last_sign: float = document.get("due") or document["at"]
        if not self._journal.presence.is_gone(old, last_sign):
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
        try:
            self._delete_with(credential, key, document, keeper, scope)
        except GatewayError as exc:
            if exc.penalty is not Penalty.REFRESH or account.renewer is None:
                raise
            credential = self._refresher.renew(account, credential, scope)
            self._delete_with(credential, key, document, keeper, scope)

    def _delete_with(
        self,
        credential: Credential,
        key: str,
        document: Document,
        keeper: Keeper,
        scope: Scope,
    ) -> None:
        if document["chat"] is not None:
            keeper.provider.delete_chat(credential, document["chat"], scope)
            self._journal.documents.delete(key)
            return
        named, twins = self._others_like(key, document)
        if twins:
            # Its own chat and the running one would look alike.
            document["due"] = self._journal.clock.now() + _SEARCH_AFTER
            self._journal.documents.put(key, document)
            return
        found = keeper.provider.find_chats(
            credential, document["fingerprint"], document["at"] - _SKEW, scope
        )
        lost = [chat for chat in found if chat not in named]
        for chat in lost:
            keeper.provider.delete_chat(credential, chat, scope)
        searches = document.get("searches", 0) + 1
        if lost or searches >= _SEARCHES:
            self._journal.documents.delete(key)
            return
        document["searches"] = searches
        document["due"] = self._again(document, None)
        self._journal.documents.put(key, document)

    def _others_like(self, key: str, document: Document) -> tuple[set[str], bool]:
        """The chats that other entries name, and whether one without a name runs now
        that would be found by the same search."""
        named, twins = set(), False
        for other_key, other in self._journal.documents.scan(_PREFIX):
            if other_key == key:
                continue
            if other["chat"] is not None:
                named.add(other["chat"])
            elif "due" not in other:
                same = ("account", "fingerprint")
                twins = twins or all(other[k] == document[k] for k in same)
        return named, twins

    def _postpone(
        self, key: str, document: Document, keeper: Keeper, error: GatewayError | None
    ) -> None:
        if self._journal.clock.now() - document["at"] > keeper.ttl:
            why = "a defect" if error is None else error.message
            logger.warning("giving up on deleting a chat: %s", why)
            self._journal.documents.delete(key)
            return
        document["tries"] = document.get("tries", 0) + 1
        document["due"] = self._again(document, error)
        self._journal.documents.put(key, document)

    def _again(self, document: Document, error: GatewayError | None) -> float:
        """When to try again: twice as late each time, later if the upstream says so."""
        tries: int = document.get("tries", 0) + document.get("searches", 0)
        asked = 0.0 if error is None else error.retry_after or 0.0
        pause = max(
            min(2.0 ** min(tries, 20), _LONGEST_REST), min(asked, _LONGEST_RETRY_AFTER)
        )
        return self._journal.clock.now() + pause
