"""Files in hand: what clients attached, as bytes with a type, a name and a digest.

Everything about a file that can be wrong on the client's side is found here, before an
account is leased and before anything goes to an upstream.
"""

import hashlib
import threading
from collections.abc import Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from kimi_proxy import file_type
from kimi_proxy.chat import Attachment, ChatRequest, File, Message
from kimi_proxy.errors import InvalidRequest, NotFound, PayloadTooLarge
from kimi_proxy.file_store import FileStore
from kimi_proxy.parallel import each
from kimi_proxy.remote import RemoteFiles
from kimi_proxy.remote.file_name import clean
from kimi_proxy.scope import Scope

_AT_ONCE = 4


@dataclass(frozen=True, slots=True)
class FileLimits:
    """Bytes of one file, bytes of all files of one request, and their number."""

    size: int = 100 * 2**20
    total: int = 200 * 2**20
    number: int = 50


@dataclass(frozen=True, slots=True)
class _Raw:
    """Bytes, and what their source says of them."""

    data: bytes = field(repr=False)
    name: str | None
    media_type: str | None


class Loader:
    """Turns attachments into files."""

    def __init__(
        self,
        remote: RemoteFiles,
        store: FileStore,
        limits: FileLimits,
        monotonic: Callable[[], float],
    ) -> None:
        self._remote = remote
        self._limits = limits
        self._monotonic = monotonic
        self._store = store

    def load(
        self,
        request: ChatRequest,
        owner: str,
        scope: Scope,
        known: MutableMapping[str, File] | None = None,
    ) -> ChatRequest:
        """The request with the files of its messages beside their attachments.

        `known` has those that were loaded before by their `param`, and gets the new
        ones. Raises `PayloadTooLarge`, `NotFound`, `InvalidRequest` for whatever else
        is wrong with an attachment, and what ends the scope.
        """
        found = {} if known is None else known
        attached = [a for message in request.messages for a in message.attachments]
        if not attached:
            return request
        self._require_few(attached)
        load = _Weighed(self._file, owner, self._limits.total)
        for a in attached:
            if a.param in found:
                load.weigh(found[a.param], a.param)
            elif a.data is not None:
                found[a.param] = load(a, scope)
        missing = [a for a in attached if a.param not in found]
        loaded = each(
            load, missing, most=_AT_ONCE, scope=scope, monotonic=self._monotonic
        )
        found.update((a.param, f) for a, f in zip(missing, loaded, strict=True))
        messages = tuple(_with_files(message, found) for message in request.messages)
        return replace(request, messages=messages)

    def load_stored(
        self,
        request: ChatRequest,
        owner: str,
        scope: Scope,
        known: MutableMapping[str, File] | None = None,
    ) -> ChatRequest:
        """The request with the contents of the stored files that it names by their ids.

        For an upstream that takes files within messages: whatever else is attached it
        reads itself, and an id that is none of this owner's may be one of its own.
        `known` is as for `load`. Raises `PayloadTooLarge` and `InvalidRequest`.
        """
        found = {} if known is None else known
        attached = [a for message in request.messages for a in message.attachments]
        named = [a for a in attached if a.file_id is not None]
        if not named:
            return request
        self._require_few(named)
        load = _Weighed(self._file, owner, self._limits.total)
        for a in named:
            if a.param in found:
                load.weigh(found[a.param], a.param)
                continue
            with suppress(NotFound):
                found[a.param] = load(a, scope)
        messages = tuple(_with_contents(message, found) for message in request.messages)
        return replace(request, messages=messages)

    def _file(self, attachment: Attachment, owner: str, scope: Scope) -> File:
        raw = self._raw(attachment, owner, scope)
        param = attachment.param
        if not raw.data:
            raise InvalidRequest("the file is empty", param=param)
        if len(raw.data) > self._limits.size:
            raise PayloadTooLarge(
                f"the file has {len(raw.data)} bytes; the limit is "
                f"{self._limits.size} bytes (files.max_size)",
                param=param,
            )
        return read(raw.data, attachment.kind, raw.name, raw.media_type, param)

    def _raw(self, attachment: Attachment, owner: str, scope: Scope) -> _Raw:
        name, told = attachment.name, attachment.media_type
        if attachment.data is not None:
            return _Raw(attachment.data, name, told)
        if attachment.url is not None:
            got = self._remote.get(attachment.url, scope, attachment.param)
            return _Raw(got.data, name or got.name, got.media_type or told)
        try:
            stored = self._store.get(owner, attachment.file_id or "")
            return _Raw(stored.data, name or stored.name, stored.media_type)
        except NotFound as exc:
            raise NotFound(exc.message, param=attachment.param) from exc

    def _require_few(self, attached: list[Attachment]) -> None:
        if len(attached) > self._limits.number:
            raise InvalidRequest(
                f"{len(attached)} files in one request; the limit is "
                f"{self._limits.number} (files.max_count)",
                param=attached[self._limits.number].param,
            )


class _Weighed:
    """Loads the files of one request until they are too heavy together.

    Counted as they come: a client may name fifty large files that lie elsewhere, and
    memory is not to be filled by them only to find that three are too many.
    """

    def __init__(
        self, load: Callable[[Attachment, str, Scope], File], owner: str, limit: int
    ) -> None:
        self._load = load
        self._owner = owner
        self._limit = limit
        self._total = 0
        self._lock = threading.Lock()

    def __call__(self, attachment: Attachment, scope: Scope) -> File:
        self._require_light(attachment.param)
        file = self._load(attachment, self._owner, scope)
        self.weigh(file, attachment.param)
        return file

    def weigh(self, file: File, param: str) -> None:
        """Count a file that is at hand; raises `PayloadTooLarge`."""
        with self._lock:
            self._total += len(file.data)
        self._require_light(param)

    def _require_light(self, param: str) -> None:
        if self._total > self._limit:
            raise PayloadTooLarge(
                f"the files of one request may have {self._limit} bytes together "
                "(files.max_total)",
                param=param,
            )


def read(
    data: bytes,
    kind: Literal["image", "file"],
    name: str | None,
    told: str | None,
    param: str | None,
) -> File:
    """The file that these bytes are; raises `InvalidRequest` for an image that is none.

    `kind` is what the client calls it; a file that is an image becomes one.
    """
    name = clean(name or "")
    found = file_type.media_type(data, told, name)
    is_image = found.startswith("image/") and found != "image/svg+xml"
    if kind == "image" and not is_image:
        raise InvalidRequest(
            f"this is no image of a known kind but {found}; images are PNG, JPEG, "
            "GIF, WebP, BMP, TIFF, HEIC or AVIF, anything else goes into a `file` part",
            param=param,
        )
    if found == file_type.OTHER and not file_type.suffix(name):
        raise InvalidRequest(
            "nothing tells what kind of file this is: give it a `filename`",
            param=param,
        )
    digest = hashlib.sha256(data).hexdigest()
    made_up = f"{'image' if is_image else 'file'}-{digest[:8]}"
    return File(
        kind="image" if is_image else "file",
        name=file_type.fitting_name(name, found, made_up),
        media_type=found,
        data=data,
        digest=digest,
        param=param,
    )


def _with_contents(message: Message, found: Mapping[str, File]) -> Message:
    """The message with the contents of stored files beside their ids."""
    if not message.attachments:
        return message
    attachments = tuple(
        a if a.file_id is None else _in_hand(a, found.get(a.param))
        for a in message.attachments
    )
    return replace(message, attachments=attachments)


def _in_hand(attachment: Attachment, file: File | None) -> Attachment:
    """The attachment with its content, as what the content is."""
    if file is None:
        return attachment
    kind, name, media_type = file.kind, file.name, file.media_type
    return replace(
        attachment, kind=kind, data=file.data, name=name, media_type=media_type
    )


def _with_files(message: Message, found: MutableMapping[str, File]) -> Message:
    if not message.attachments:
        return message
    files = tuple(found[attachment.param] for attachment in message.attachments)
    return replace(message, files=files)
