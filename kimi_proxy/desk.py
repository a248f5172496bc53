"""Which files an account has upstream already: each goes up once, then it is known.

Kept in the live store by content, so that it holds for all workers and survives them.
Who uploads says so there, and others wait for the outcome, unless that worker died. A
file that is up but not read yet when its request ends is the next one's to wait for.
An upstream forgets files without telling; it says so when one is asked about, and then
what is known of the account's files is forgotten here, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kimi_proxy.chat import File
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    ShuttingDown,
    StateUnavailable,
    UpstreamTimeout,
)
from kimi_proxy.logs import logger
from kimi_proxy.parallel import each
from kimi_proxy.providers.base import Settle, Upload, Uploaded
from kimi_proxy.scope import Scope
from kimi_proxy.storage import Document, Documents
from kimi_proxy.worker import Presence, Worker

_PREFIX = "upload/"
_AT_ONCE = 3
_CLAIM = 120.0  # seconds; beside an upload that is slower another one begins
_UNREAD = 600.0  # seconds that a file which nobody waited for is given to be read
_LOOK_AGAIN = 0.2
_FACTS = ("id", "details")
# Who leaves, or waited too long, leaves a good file behind.
_INTERRUPTIONS = (ClientGone, ShuttingDown, UpstreamTimeout)
_OF_THE_FILE = frozenset({400, 413})


@dataclass(frozen=True, slots=True)
class Desk:
    """What all accounts have upstream; `remember` is in seconds since the upload."""

    documents: Documents
    worker: Worker
    clock: Clock
    remember: float

    def of(self, provider: str, account: str) -> "AccountDesk":
        """The desk of one account."""
        return AccountDesk(self, f"{_PREFIX}{provider}/{account}/")


@dataclass(slots=True)
class AccountDesk:
    """One account's files, as one request needs them."""

    desk: Desk
    place: str
    used: set[str] = field(default_factory=set)

    def ensure(
        self,
        files: Sequence[File],
        upload: Upload,
        *,
        space: str,
        scope: Scope,
        settle: Settle | None = None,
    ) -> list[Uploaded]:
        """See `FileDesk.ensure`.

        An error that is about a file names its `param`. The wait for the first content
        starts anew afterwards: a large file takes its time.
        """
        wanted = {file.digest: file for file in files}
        there = {digest: self._known(space, digest) for digest in wanted}
        missing = [file for digest, file in wanted.items() if there[digest] is None]
        if missing:
            scope.content_seen()
            way = _Way(upload, settle)
            new = each(
                lambda file, inner: self._put(file, way, space, inner),
                missing,
                most=_AT_ONCE,
                scope=scope,
                monotonic=self.desk.clock.monotonic,
            )
            scope.expect_content()
            there.update((f.digest, u) for f, u in zip(missing, new, strict=True))
        found = (there[file.digest] for file in files)
        return [uploaded for uploaded in found if uploaded is not None]

    def forget(self) -> None:
        """The upstream does not know some file that this request used: any of them."""
        for key in self.used:
            self.desk.documents.delete(key)

    def _known(self, space: str, digest: str) -> Uploaded | None:
        key = f"{self.place}{space}/{digest}"
        self.used.add(key)
        return _ready(self.desk.documents.get(key))

    def _put(self, file: File, way: "_Way", space: str, scope: Scope) -> Uploaded:
        key = f"{self.place}{space}/{file.digest}"
        turn = self._claim(key)
        while not turn.mine and turn.there is None:
            scope.pause(_LOOK_AGAIN)
            turn = self._claim(key)
        if not turn.mine and turn.there is not None:
            return turn.there
        return self._bring(key, file, turn.there, way, scope)

    def _bring(
        self, key: str, file: File, there: Uploaded | None, way: "_Way", scope: Scope
    ) -> Uploaded:
        try:
            if there is None:
                there = way.upload(file, scope)
            if way.settle is not None:
                self._write(key, {**_told(there), **self._mark()}, _CLAIM)
                way.settle(file, there, scope)
        except BaseException as exc:
            self._give_up(key, there if isinstance(exc, _INTERRUPTIONS) else None)
            if isinstance(exc, GatewayError) and exc.status in _OF_THE_FILE:
                exc.param = exc.param or file.param
            raise
        self._write(key, _told(there), self.desk.remember)
        return there

    def _claim(self, key: str) -> "_Turn":
        """Whose turn it is; this request's if nobody else is at it."""
        mark = self._mark()

        def change(found: Document | None) -> tuple[Document | None, _Turn]:
            if found is None:
                return mark, _Turn(True)
            if found == deserted or "unread" in found:
                there = {name: found[name] for name in _FACTS if name in found}
                return {**there, **mark}, _Turn(True, _uploaded(found))
            return found, _Turn(False, _ready(found))

        try:
            deserted = self._deserted(key)
            return self.desk.documents.update(key, change, ttl=_CLAIM)
        except StateUnavailable:
            return _Turn(True)  # then it may go up twice

    def _mark(self) -> Document:
        return {"by": self.desk.worker.id, "at": self.desk.clock.now()}

    def _deserted(self, key: str) -> Document | None:
        """The claim that is there, if its worker died."""
        desk, claim = self.desk, self.desk.documents.get(key)
        if claim is None or "by" not in claim:
            return None
        presence = Presence(desk.documents, desk.worker, desk.clock)
        return claim if presence.is_gone(claim["by"], claim["at"]) else None

    def _give_up(self, key: str, there: Uploaded | None) -> None:
        """Let others begin anew, or go on with what is up already."""
        if there is not None:
            self._write(key, {**_told(there), "unread": True}, _UNREAD)
            return
        try:
            self.desk.documents.delete(key)
        except StateUnavailable as exc:
            logger.warning("an upload that failed stays claimed: %s", exc.message)

    def _write(self, key: str, document: Document, ttl: float) -> None:
        """What cannot be remembered is only uploaded again."""
        try:
            self.desk.documents.put(key, document, ttl=ttl)
        except StateUnavailable as exc:
            logger.warning("an uploaded file is not remembered: %s", exc.message)


@dataclass(frozen=True, slots=True)
class _Way:
    """How a file gets there, and how to wait until it may be used."""

    upload: Upload
    settle: Settle | None


@dataclass(frozen=True, slots=True)
class _Turn:
    """Who brings a file: this request, or another; and what is there already."""

    mine: bool
    there: Uploaded | None = None


def _told(uploaded: Uploaded) -> Document:
    return {"id": uploaded.id, "details": dict(uploaded.details)}


def _uploaded(document: Document) -> Uploaded | None:
    """The file, once it is up."""
    if "id" not in document:
        return None
    return Uploaded(document["id"], document["details"])


def _ready(document: Document | None) -> Uploaded | None:
    """The file, once it may be used."""
    if document is None or not document.keys().isdisjoint(("by", "unread")):
        return None
    return _uploaded(document)
