"""No upstream chat is left behind: what the journal says is over is deleted.

When a worker died the sweeper of another one takes over what it left. A chat whose id
was never heard (the connection broke first) is searched for by fingerprint.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from kimi_proxy.errors import GatewayError
from kimi_proxy.journal import PREFIX, SEARCH_AFTER, Journal
from kimi_proxy.logs import logger
from kimi_proxy.providers.base import Credential, KeepsChats
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document

_TIMEOUTS = Timeouts(connect=5, headers=10, first_content=15, idle=10, total=20)
_SEARCHES = 3
_SKEW = 5.0  # the upstream's clock may be behind ours
_MAX_REST = 7 * 86_400.0  # a dead account's chats wait this long for a new log-in
_LONGEST_REST = 300.0
_LONGEST_RETRY_AFTER = 1800.0


@dataclass(frozen=True, slots=True)
class Keeper:
    """How to reach a provider's chats: its accounts by name, and for how long to try.

    `ttl` (seconds) bounds how long a chat that cannot be deleted is tried again, `most`
    how many chats are kept on one account to be gone on with.
    """

    provider: KeepsChats
    accounts: Mapping[str, Account]
    ttl: float
    most: int


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
        found = self._journal.documents.scan(PREFIX)
        surplus = self._surplus(found)
        for key, document, keeper in self._due(found, surplus):
            try:
                self._delete(key, document, keeper)
            except GatewayError as exc:
                logger.info("a chat could not be deleted yet: %s", exc.message)
                self._postpone(key, document, keeper, exc)
            except BaseException:
                # A defect met on this chat must not keep the others from their turn.
                self._postpone(key, document, keeper, None)
                raise

    def give_up(self, *, everything: bool) -> None:
        """Before the process ends: let the chats go that nobody could delete later.

        These are those of guests, or `everything` where the state ends as well.
        """
        journal = self._journal
        for key, document in journal.documents.scan(PREFIX):
            keeper = self._keepers.get(key.split("/")[1])
            mine = document["worker"] == journal.worker.id
            account = keeper and keeper.accounts.get(document["account"])
            if not (account and mine and "kept" in document and "due" in document):
                continue
            if everything or account.name not in account.pool.names:
                journal.claim(key, document, journal.clock.now())

    def _surplus(self, found: Sequence[tuple[str, Document]]) -> set[str]:
        """Of too many chats kept on one account those unused for longest."""
        resting: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for key, document in found:
            if "kept" in document and "due" in document:
                owner = (key.split("/")[1], document["account"])
                resting.setdefault(owner, []).append((document["due"], key))
        surplus: set[str] = set()
        for (provider, _), chats in resting.items():
            if (keeper := self._keepers.get(provider)) is not None:
                oldest = sorted(chats)[: max(0, len(chats) - keeper.most)]
                surplus.update(key for _, key in oldest)
        return surplus

    def _due(
        self, found: Sequence[tuple[str, Document]], surplus: Collection[str]
    ) -> Iterator[tuple[str, Document, Keeper]]:
        now = self._journal.clock.now()
        for key, document in found:
            keeper = self._keepers.get(key.split("/")[1])
            if keeper is None or document["account"] not in keeper.accounts:
                if now - document["at"] > _MAX_REST:
                    self._journal.documents.delete(key)
                continue
            mine = document["worker"] == self._journal.worker.id
            over = self._is_over if mine else self._inherit
            if not over(key, document):
                continue
            if "kept" in document:
                if not self._claim(key, document, key in surplus):
                    continue
            # Later than any pause there is: the clock was set back since.
            elif now < document["due"] <= now + _LONGEST_RETRY_AFTER:
                continue
            account = keeper.accounts[document["account"]]
            if account.pool.state(account.name).usable:
                yield key, document, keeper
            elif now - document["at"] > keeper.ttl + _MAX_REST:
                self._journal.documents.delete(key)

    def _claim(self, key: str, document: Document, surplus: bool) -> bool:
        """Whether a kept chat is over, so that nobody takes it up from now on."""
        now, ttl = self._journal.clock.now(), document["kept"]["ttl"]
        # Later than any pause there is: the clock was set back since.
        lasts = now < document["due"] <= now + ttl + _LONGEST_RETRY_AFTER
        if lasts and not surplus:
            return False
        claimed = self._journal.claim(key, document, now)
        if claimed is None:
            return False
        document.clear()
        document.update(claimed)
        return True

    def _is_over(self, key: str, document: Document) -> bool:
        """Whether this worker's own request is over; sees to it that `due` is set."""
        if "due" in document:
            return True
        if document.get("turn") in self._journal.open_turns:
            return False
        # Its end came after the look at the journal, or could not be written down.
        return self._set_due(key, document)

    def _inherit(self, key: str, document: Document) -> bool:
        """Take over what a dead worker left; only one of the living succeeds."""
        old: str = document["worker"]
        last_sign: float = document.get("due") or document["at"]
        if not self._journal.presence.is_gone(old, last_sign):
            return False
        return self._set_due(key, document)

    def _set_due(self, key: str, document: Document) -> bool:
        """Make the entry this worker's, and let it be over; one of several succeeds.

        A kept chat rests from now on, as it was.
        """
        worker, seen = self._journal.worker.id, document.get("turn")
        old, now = document["worker"], self._journal.clock.now()

        def change(found: Document | None) -> tuple[Document | None, Document | None]:
            if found is None or (found["worker"], found.get("turn")) != (old, seen):
                return found, None
            if "kept" in found:
                found.setdefault("due", now + found["kept"]["ttl"])
                found["at"] = found["due"]
            elif old == worker:
                # Not "now": by the time it is compared that would be in the future.
                found.setdefault("due", found["at"])
            else:
                found.setdefault("due", now + SEARCH_AFTER)
            found["worker"] = worker
            return found, found

        taken = self._journal.documents.update(key, change)
        if taken is not None:
            document.update(taken)
        return taken is not None

    def _delete(self, key: str, document: Document, keeper: Keeper) -> None:
        scope = Scope(_TIMEOUTS, self._journal.clock.monotonic)
        account = keeper.accounts[document["account"]]
        self._refresher.use(
            account,
            scope,
            lambda credential: self._delete_with(
                credential, key, document, keeper, scope
            ),
        )

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
            document["due"] = self._journal.clock.now() + SEARCH_AFTER
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
        for other_key, other in self._journal.documents.scan(PREFIX):
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
