"""The chats the gateway makes upstream, written down before they are made.

When its request is over a chat is due to be deleted, at once or, if it is kept to be
gone on with, when its time is over. `sweeper.py` deletes what is due.
"""

import threading
import uuid
from collections.abc import Callable

from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    AccountBusy,
    AccountExhausted,
    AccountSuspended,
    ClientError,
    ClientGone,
    FileLost,
    GatewayError,
    StateUnavailable,
    StorageFull,
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
from kimi_proxy.storage import Document, Documents
from kimi_proxy.worker import Presence, Worker

PREFIX = "chat/"
SEARCH_AFTER = 2.0  # a new chat shows in the feed 1.5 s after the send (sheet §10)
_GLANCE = 0.02
_TOO_LATE = 30.0  # a sweeper may be deleting what has no more seconds than this left
# Refusals: the upstream said no, so it made no chat. After anything else it may have:
# Kimi says "overloaded" within an answer that has begun, and the frame that names the
# chat may be what was to come next.
_REFUSALS = (
    ClientError,
    TokenRejected,
    UpstreamRateLimited,
    AccountBusy,
    AccountExhausted,
    AccountSuspended,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnsupported,
    UpstreamMoved,
    UpstreamBlocked,
    UpstreamUnreachable,
    FileLost,
    StorageFull,
)


class Entry:
    """One upstream chat in the journal, from before it exists until it is deleted."""

    def __init__(
        self,
        journal: "Journal",
        provider: str,
        account: str,
    ) -> None:
        self._journal = journal
        self._prefix = f"{PREFIX}{provider}/"
        self._account = account
        self._key = ""
        self._document: Document = {}
        # What a chat taken up goes back to if the upstream refuses this turn.
        self._before: Document | None = None

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
            "turn": uuid.uuid4().hex,
        }
        journal.open_turns.add(self._document["turn"])
        try:
            journal.documents.put(key, self._document)
        except BaseException:
            journal.open_turns.discard(self._document["turn"])
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
        if not self._key:
            return
        refused = isinstance(error, _REFUSALS) and not isinstance(error, ClientGone)
        if refused and self._before is not None:
            self._document["kept"] = self._before
        if self.kept:
            self._rest()
        else:
            self._hand_over(lost=not refused)
        self._key = ""

    @property
    def chat(self) -> str | None:
        """The upstream's id of the chat, once it is known."""
        return self._document.get("chat")

    @property
    def key(self) -> str:
        """The journal's own name for the chat; empty before it is written down."""
        return self._key

    @property
    def kept(self) -> bool:
        """Whether the chat will be put aside at `close`."""
        return "kept" in self._document

    def keep(self, facts: Document, ttl: float) -> None:
        """Do not delete the chat before `ttl` seconds without use are over.

        `facts` are what is needed to go on with it; they may be changed by the next
        `keep`. Takes effect at `close`.
        """
        self._document["kept"] = {**facts, "ttl": ttl}

    def touched(self) -> None:
        """This turn may have left something in a chat that was taken up."""
        self._before = None

    def discard(self) -> None:
        """Delete a kept chat after all."""
        self._before = None
        self._document.pop("kept", None)

    def _resume(self, key: str, document: Document, before: Document) -> None:
        self._key, self._document, self._before = key, document, before

    def _rest(self) -> None:
        """Put a kept chat aside: as it was when its latest turn did not succeed."""
        journal = self._journal
        due = journal.clock.now() + self._document["kept"]["ttl"]
        # `at` is what a deletion that keeps failing is given up by.
        self._document.update(due=due, at=due)
        self._write(lambda: journal.documents.put(self._key, self._document))
        journal.open_turns.discard(self._document["turn"])

    def _hand_over(self, *, lost: bool) -> None:
        journal, document, key = self._journal, self._document, self._key
        if document["chat"] is None and not lost:
            self._write(lambda: journal.documents.delete(key))
        else:
            document["due"] = journal.clock.now()
            if document["chat"] is None:
                document["due"] += SEARCH_AFTER
            self._write(lambda: journal.documents.put(key, document))
        journal.open_turns.discard(document["turn"])
        journal.nudge()

    def _write(self, write: Callable[[], None]) -> None:
        """What cannot be written does no harm: the sweeper sees the chat is over."""
        try:
            write()
        except StateUnavailable as exc:
            logger.warning("the journal of chats: %s", exc.message)


class Journal:
    """Where upstream chats are written down; survives `kill -9`.

    `open_turns` name the requests on chats that run in this process now. One chat may
    be taken up by the next request before the one before it has let go of its name.
    """

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self.documents = documents
        self.worker = worker
        self.clock = clock
        self.presence = Presence(documents, worker, clock)
        self.open_turns: set[str] = set()
        self.nudge: Callable[[], None] = _nobody_listens

    def open(self, provider: str, account: str) -> Entry:
        """An entry for a chat that may be made; nothing is written down yet."""
        return Entry(self, provider, account)

    def await_turns(self, seconds: float) -> None:
        """Let the requests that run here hand their chats over, for so long."""
        pause = threading.Event()
        for _ in range(round(seconds / _GLANCE)):
            if not self.open_turns:
                return
            pause.wait(_GLANCE)

    def rests(self, document: Document) -> bool:
        """Whether a chat is kept, not in use, and not about to be deleted."""
        if "kept" not in document or "due" not in document:
            return False
        soon = min(_TOO_LATE, document["kept"]["ttl"] / 4)
        return bool(document["due"] >= self.clock.now() + soon)

    def resume(self, key: str, expected: Document, *, spare: bool) -> Entry | None:
        """Take up a kept chat, if it still rests with `expected` as its facts.

        Only one of several who try at once succeeds. None when it is in use, changed,
        deleted or about to be. With `spare` the chat is kept whatever becomes of this
        turn; without, it is deleted if the turn leaves it in doubt, even by a crash.
        """
        turn = uuid.uuid4().hex

        def change(found: Document | None) -> tuple[Document | None, Document | None]:
            if found is None or found.get("kept") != expected or not self.rests(found):
                return found, None
            del found["due"]
            if not spare:
                del found["kept"]
            found.update(worker=self.worker.id, turn=turn, at=self.clock.now())
            return found, found

        self.open_turns.add(turn)
        taken = None
        try:
            taken = self.documents.update(key, change)
        finally:
            if taken is None:
                self.open_turns.discard(turn)
        if taken is None:
            return None
        entry = Entry(self, key.split("/")[1], taken["account"])
        entry._resume(key, taken, expected)
        return entry

    def claim(self, key: str, seen: Document, due: float) -> Document | None:
        """Let a kept chat be deleted at `due`; None when it is not as `seen` any more.

        From here on nobody can take it up.
        """

        def change(found: Document | None) -> tuple[Document | None, Document | None]:
            if found is None or found != seen:
                return found, None
            del found["kept"]
            found["due"] = found["at"] = due
            return found, found

        return self.documents.update(key, change)


def _nobody_listens() -> None:
    """Until a sweeper runs there is nobody to wake."""
