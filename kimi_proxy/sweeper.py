"""No upstream chat is left behind: what the journal says is over is deleted.

When a worker died the sweeper of another one takes over what it left. A chat whose id
was never heard (the connection broke first) is searched for by fingerprint.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from kimi_proxy.errors import GatewayError, Penalty
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
    most: int = 1000


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
        self._give_up_surplus()
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

    def _give_up_surplus(self) -> None:
        """Of too many chats kept on one account those unused for longest are over."""
        resting: dict[tuple[str, str], list[tuple[float, str]]] = {}
        for key, document in self._journal.documents.scan(PREFIX):
            if "kept" in document and "due" in document:
                owner = (key.split("/")[1], document["account"])
                resting.setdefault(owner, []).append((document["due"], key))
        for (provider, _), chats in resting.items():
            keeper = self._keepers.get(provider)
            surplus = len(chats) - (keeper.most if keeper else len(chats))
            for _, key in sorted(chats)[: max(0, surplus)]:
                self._journal.give_up(key)

    def _due(self) -> Iterator[tuple[str, Document, Keeper]]:
        now = self._journal.clock.now()
        for key, document in self._journal.documents.scan(PREFIX):
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
        rest: float = document.get("kept", {}).get("ttl", SEARCH_AFTER)
        if not self._journal.presence.is_gone(old, last_sign):
            return False

        def change(found: Document | None) -> tuple[Document | None, bool]:
            if found is None or found["worker"] != old:
                return found, False
            found["worker"] = worker.id
            found.setdefault("due", now + rest)
            return found, True

        taken = self._journal.documents.update(key, change)
        if taken:
            document["worker"] = worker.id
            document.setdefault("due", now + rest)
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
