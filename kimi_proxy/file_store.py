"""Files that clients upload to the gateway, to name them in requests by their ids.

Each belongs to one owner (`ClientKey.owner`); to all others it does not exist. Equal
contents are stored once. What is known of a file is a durable document
`file/OWNER/ID`, OWNER being a digest, which expires with it.
"""

import hashlib
import mimetypes
import re
import secrets
from contextlib import closing
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Literal

from kimi_proxy.clock import Clock
from kimi_proxy.errors import InvalidRequest, NotFound, PayloadTooLarge
from kimi_proxy.remote.file_name import clean
from kimi_proxy.storage import (
    Contents,
    Document,
    Documents,
    Spool,
    StorageUnavailable,
)

_PREFIX = "file/"
_ID = re.compile(r"file-[0-9a-f]{24}")
_MEDIA_TYPE = re.compile(
    r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,60}"
)
_UNKNOWN = "application/octet-stream"
_MOST_OF_ONE = 2_000  # files; all that an upload looks at while it has its turn
_MOST = 10_000


@dataclass(frozen=True, slots=True)
class Caps:
    """How much is stored: bytes of one file, of all, of one owner; seconds it stays.

    Equal contents count once in `max_total`, each time in `per_key`.
    """

    max_file: int
    max_total: int
    per_key: int
    ttl: float


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it is kept; `size` in bytes, `created` and `expires` in epoch seconds.

    `media_type` is what the client said, in lower case and without parameters, or else
    what the name suggests, or else application/octet-stream: nobody has looked inside.
    `name` is harmless to show and has no directories. `digest` is the SHA-256 of the
    content in hex. The content is not held but read on demand: `data`, `open`.
    """

    id: str
    name: str
    media_type: str
    purpose: str
    size: int
    created: float
    expires: float
    digest: str
    content: Path | bytes = field(repr=False)

    def open(self) -> BinaryIO:
        """The content as a stream, to be closed; it stays whole if the file is deleted.

        Raises `NotFound` when the file was deleted since, and `StateUnavailable`.
        """
        if isinstance(self.content, bytes):
            return BytesIO(self.content)
        try:
            return self.content.open("rb")
        except FileNotFoundError:
            raise _missing(self.id) from None
        except OSError as exc:
            raise StorageUnavailable(exc.strerror or type(exc).__name__) from exc

    @property
    def data(self) -> bytes:
        """The content, read now; at most `Caps.max_file` bytes. Raises as `open`."""
        with self.open() as stream:
            return stream.read()


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing; `more`: others follow."""

    files: tuple[Stored, ...]
    more: bool


class Upload:
    """A content that arrives piece by piece; who opens it closes it, kept or not."""

    def __init__(self, spool: Spool, most: int) -> None:
        self.spool = spool
        self._most = most

    def write(self, data: bytes) -> None:
        """Add bytes; raises `PayloadTooLarge` past `file_store.max_file`."""
        if self.spool.size + len(data) > self._most:
            raise PayloadTooLarge(
                f"the file has more than the {self._most} bytes that are the limit "
                "(file_store.max_file)",
                param="file",
            )
        self.spool.write(data)

    def close(self) -> None:
        self.spool.close()


class FileStore:
    """The files of all owners; every method may raise `StateUnavailable`."""

    def __init__(
        self, contents: Contents, documents: Documents, clock: Clock, caps: Caps
    ) -> None:
        self._contents = contents
        self._documents = documents
        self._clock = clock
        self._caps = caps

    def upload(self) -> Upload:
        """Begin a content that arrives piece by piece, for `put`."""
        return Upload(self._contents.spool(), self._caps.max_file)

    def put(
        self,
        owner: str,
        *,
        name: str,
        media_type: str | None,
        purpose: str,
        content: bytes | Upload,
        expires_after: float | None = None,
    ) -> Stored:
        """Store a file; what the client says of it is made harmless.

        It stays `expires_after` seconds, at most `Caps.ttl`. Raises `InvalidRequest`
        for an empty file and `PayloadTooLarge`, which names the limit.
        """
        ttl = self._caps.ttl
        life = ttl if expires_after is None else min(expires_after, ttl)
        cleaned = clean(name) or "file"
        kind = _media_type(media_type, cleaned)
        about: Document = {"name": cleaned, "type": kind, "purpose": purpose}
        if isinstance(content, Upload):
            return self._keep(owner, content, about, life)
        with closing(self.upload()) as upload:
            upload.write(content)
            return self._keep(owner, upload, about, life)

    def _keep(self, owner: str, upload: Upload, about: Document, life: float) -> Stored:
        spool = upload.spool
        if not spool.size:
            raise InvalidRequest("the file is empty", param="file")
        digest, now = spool.finish(), self._clock.now()
        known = {"size": spool.size, "created": now, "expires": now + life}
        file_id = _new_id(now)
        with self._contents.alone():
            self._require_room(owner, digest, spool.size)
            spool.keep()
            document = {**about, **known, "digest": digest}
            self._documents.put(_key(owner, file_id), document, ttl=life)
        return self.get(owner, file_id)

    def _require_room(self, owner: str, digest: str, size: int) -> None:
        everything = self._documents.scan(_PREFIX)
        own = [doc["size"] for key, doc in everything if key.startswith(_key(owner))]
        sizes = {doc["digest"]: doc["size"] for _, doc in everything} | {digest: size}
        caps, own_size, total = self._caps, sum(own) + size, sum(sizes.values())
        _require("your files", len(own) + 1, _MOST_OF_ONE, "files a key")
        _require("your files", own_size, caps.per_key, "bytes (file_store.per_key)")
        _require("all files", len(everything) + 1, _MOST, "files")
        _require("all files", total, caps.max_total, "bytes (file_store.max_total)")

    def get(self, owner: str, file_id: str) -> Stored:
        """The file; raises `NotFound`, also for another owner's.

        For a request's part that names it: `data` is the content, to go with `name`,
        `media_type` and `digest`; reading it may raise `NotFound`, too.
        """
        stored = self._stored(file_id, self._document(owner, file_id))
        if stored is None:
            raise _missing(file_id)
        return stored

    def list(
        self,
        owner: str,
        *,
        purpose: str | None = None,
        limit: int = _MOST,
        after: str | None = None,
        order: Literal["asc", "desc"] = "desc",
    ) -> Page:
        """At most `limit` of the owner's files by age, those that come after an id.

        Ids grow with time, so `after` may name a file that is deleted by now.
        """
        prefix = _key(owner)
        documents = self._documents.scan(prefix)
        found = [(key.removeprefix(prefix), doc) for key, doc in documents]
        if order == "desc":
            found.reverse()
        if after is not None:
            ascends = order == "asc"
            found = [(id, doc) for id, doc in found if _follows(id, after, ascends)]
        if purpose is not None:
            found = [(id, doc) for id, doc in found if doc["purpose"] == purpose]
        shown = (self._stored(id, doc) for id, doc in found[:limit])
        return Page(tuple(filter(None, shown)), more=len(found) > limit)

    def delete(self, owner: str, file_id: str) -> None:
        """Remove a file, and its content if no other file has the same."""
        digest = self._document(owner, file_id)["digest"]
        with self._contents.alone():
            self._documents.delete(_key(owner, file_id))
            if digest not in self._wanted():
                self._contents.drop(digest)

    def sweep(self) -> None:
        """Remove contents of no file: expired ones, and what a killed upload left."""
        self._contents.sweep(self._wanted)

    def _wanted(self) -> set[str]:
        return {document["digest"] for _, document in self._documents.scan(_PREFIX)}

    def _document(self, owner: str, file_id: str) -> Document:
        known = _ID.fullmatch(file_id) and self._documents.get(_key(owner, file_id))
        if not known:
            raise _missing(file_id)
        return known

    def _stored(self, file_id: str, document: Document) -> Stored | None:
        """None when its content went away at this moment, as memory shows at once."""
        content = self._contents.find(document["digest"])
        if content is None:
            return None
        return Stored(
            id=file_id,
            name=document["name"],
            media_type=document["type"],
            purpose=document["purpose"],
            size=document["size"],
            created=document["created"],
            expires=document["expires"],
            digest=document["digest"],
            content=content,
        )


def _key(owner: str, file_id: str = "") -> str:
    # A digest: an owner may be named anything, also like the beginning of another.
    return f"{_PREFIX}{hashlib.sha256(owner.encode()).hexdigest()[:32]}/{file_id}"


def _new_id(now: float) -> str:
    """Grows with time, so that a listing can go on after a file that is gone."""
    return f"file-{int(now * 1000):012x}{secrets.token_hex(6)}"


def _follows(file_id: str, after: str, ascends: bool) -> bool:
    return file_id > after if ascends else file_id < after


def _media_type(claimed: str | None, name: str) -> str:
    kind = (claimed or "").partition(";")[0].strip().lower()
    if _MEDIA_TYPE.fullmatch(kind) and kind != _UNKNOWN:
        return kind
    return mimetypes.guess_type(name)[0] or _UNKNOWN


def _missing(file_id: str) -> NotFound:
    return NotFound(f"there is no file {file_id[:40]!r}", param="file_id")


def _require(whose: str, number: int, most: int, unit: str) -> None:
    if number > most:
        raise PayloadTooLarge(
            f"with this one {whose} are more than the limit of {most} {unit}; "
            "delete some first",
            param="file",
        )
