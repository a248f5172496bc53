"""Uploaded files: pre-signed, put, registered, parsed (legacy sheet §7)."""

import hashlib
import mimetypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from emulators.kimi_legacy.refusal import Refused, bad_request


@dataclass(slots=True)
class StoredFile:
    """One object of the bucket; `id` is set when it is registered."""

    account: str
    action: str
    name: str
    object_name: str
    file_id: str
    content: bytes | None = field(default=None, repr=False)
    content_type: str = ""
    id: str = ""
    asked: int = 0
    parsed_at: float | None = None
    broken: bool = False

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hex."""
        return hashlib.sha256(self.content or b"").hexdigest()

    def status(self, register_polls: int = 0) -> str:
        """Return how far the service is: uploading, initialized, parsed, failed."""
        if self.parsed_at is None:
            return "initialized" if self.asked > register_polls else "uploading"
        if time.monotonic() < self.parsed_at:
            return "parsing"
        return "failed" if self.broken else "parsed"

    def document(self, register_polls: int) -> dict[str, Any]:
        """Return what `POST /api/file` answers."""
        return {
            "id": self.id,
            "name": self.name,
            "type": self.action,
            "size": len(self.content or b""),
            "content_type": self.content_type,
            "status": self.status(register_polls),
        }


class StoredFiles:
    """The bucket and the register; safe for threads."""

    def __init__(self, identifier: Callable[[str], str]) -> None:
        self._identifier = identifier
        self._lock = threading.Lock()
        self._objects: dict[str, StoredFile] = {}

    def pre_sign(self, account: str, action: str, name: str) -> StoredFile:
        """Reserve an object."""
        suffix = mimetypes.guess_extension(mimetypes.guess_type(name)[0] or "") or ""
        file = StoredFile(
            account,
            action,
            name,
            self._identifier("obj") + suffix,
            self._identifier("fid"),
        )
        with self._lock:
            self._objects[file.object_name] = file
        return file

    def object(self, object_name: str) -> StoredFile | None:
        """Return a reserved object by its name in the bucket."""
        return self._objects.get(object_name)

    def register(self, account: str, **key: str) -> StoredFile:
        """Turn an uploaded object, found by one attribute, into a file.

        Raises Refused when there is none or its bytes never came.
        """
        ((attribute, value),) = key.items()
        for file in self._of(account):
            if value and getattr(file, attribute) == value:
                break
        else:
            raise bad_request(f"no object with {attribute} {value!r}")
        if file.content is None:
            raise bad_request("the object was never uploaded")
        with self._lock:
            file.id = file.id or self._identifier("d")
            file.asked += 1
        return file

    def find(self, file_id: str, account: str) -> StoredFile:
        """Return a registered file; raises Refused."""
        for file in self._of(account):
            if file.id == file_id and file_id:
                return file
        raise Refused("file not found")

    def all(self) -> list[StoredFile]:
        """Return every object."""
        with self._lock:
            return list(self._objects.values())

    def size(self, account: str) -> int:
        """Return how many bytes an account keeps."""
        return sum(len(file.content or b"") for file in self._of(account))

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._objects.clear()

    def _of(self, account: str) -> list[StoredFile]:
        return [file for file in self.all() if file.account == account]
