"""Which files an account has upstream already: each goes up once, then it is known.

Kept in the live store by content, so that it holds for all workers and survives them.
Who uploads says so there, and others wait for the outcome, unless that worker died.
An upstream forgets files without telling; it says so when one is asked about, and then
what is known of the account's files is forgotten here, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from kimi_proxy.chat import File
from kimi_proxy.clock import Clock
from kimi_proxy.errors import GatewayError, StateUnavailable
from kimi_proxy.logs import logger
from kimi_proxy.parallel import each
from kimi_proxy.providers.base import Upload, Uploaded
from kimi_proxy.scope import Scope
from kimi_proxy.storage import Document, Documents
from kimi_proxy.worker import Presence, Worker

_PREFIX = "upload/"
_AT_ONCE = 3
_CLAIM = 120.0  # seconds; beside an upload that is slower another one begins
_LOOK_AGAIN = 0.2
_BUSY = Uploaded("")
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
        self, files: Sequence[File], upload: Upload, *, space: str, scope: Scope
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
            new = each(
                lambda file, inner: self._put(file, upload, space, inner),
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
        return _uploaded(self.desk.documents.get(key))

    def _put(self, file: File, upload: Upload, space: str, scope: Scope) -> Uploaded:
        key = f"{self.place}{space}/{file.digest}"
        found = self._claim(key)
        while found is _BUSY:
            scope.pause(_LOOK_AGAIN)
            found = self._claim(key)
        if found is not None:
            return found
        try:
            uploaded = upload(file, scope)
        except BaseException as exc:
            self._give_up(key)
            if isinstance(exc, GatewayError) and exc.status in _OF_THE_FILE:
                exc.param = exc.param or file.param
            raise
        self._remember(key, uploaded)
        return uploaded

    def _claim(self, key: str) -> Uploaded | None:
        """What is there; `_BUSY` while another request uploads it; None: upload it."""

        claim: Document = {"by": self.desk.worker.id, "at": self.desk.clock.now()}

        def change(found: Document | None) -> tuple[Document | None, Uploaded | None]:
            if found is None or found == deserted:
                return claim, None
            return found, _uploaded(found) or _BUSY

        try:
            deserted = self._deserted(key)
            return self.desk.documents.update(key, change, ttl=_CLAIM)
        except StateUnavailable:
            return None  # then it may go up twice

    def _deserted(self, key: str) -> Document | None:
        """The claim that is there, if its worker died."""
        desk, claim = self.desk, self.desk.documents.get(key)
        if claim is None or "by" not in claim:
            return None
        presence = Presence(desk.documents, desk.worker, desk.clock)
        return claim if presence.is_gone(claim["by"], claim["at"]) else None

    def _give_up(self, key: str) -> None:
        try:
            self.desk.documents.delete(key)
        except StateUnavailable as exc:
            logger.warning("an upload that failed stays claimed: %s", exc.message)

    def _remember(self, key: str, uploaded: Uploaded) -> None:
        """What cannot be remembered is only uploaded again."""
        document: Document = {"id": uploaded.id, "details": dict(uploaded.details)}
        try:
            self.desk.documents.put(key, document, ttl=self.desk.remember)
        except StateUnavailable as exc:
            logger.warning("an uploaded file is not remembered: %s", exc.message)


def _uploaded(document: Document | None) -> Uploaded | None:
    """The file, once it is up."""
    if document is None or "id" not in document:
        return None
    return Uploaded(document["id"], document["details"])
