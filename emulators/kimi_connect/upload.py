"""File upload and its parse progress (connect sheet §11)."""

import hashlib
import time
import uuid
from collections.abc import Mapping
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

from emulators.exchange import Exchange
from emulators.http_server import Request
from emulators.kimi_connect.caller import Caller, authenticate, locale
from emulators.kimi_connect.error import (
    ConnectError,
    Refusal,
    invalid,
    missing,
    unauthenticated,
)
from emulators.kimi_connect.world import StoredFile, World, timestamp

_NUMBERS = {
    "PROCESS_STATUS_PROCESSING": 2,
    "PROCESS_STATUS_SUCCESS": 3,
    "PROCESS_STATUS_FAIL": 4,
}


def upload(world: World, exchange: Exchange) -> None:
    """Take one multipart field `file` and answer with its id and description."""
    try:
        caller = authenticate(world, exchange.request)
        file, answer = _store(world, caller, _only_file(exchange.request))
        exchange.note(facts={"file": file.name, "type": file.kind, "of": file.digest})
    except Refusal as refusal:
        body = refusal.error.body(locale(exchange.request))
        exchange.json(body, refusal.error.status)
        return
    exchange.json(answer)


def get_file_parse_progress(
    world: World, caller: Caller, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the state of each file; `PROCESSING` until its parsing is over."""
    file_ids = body.get("file_ids")
    if not isinstance(file_ids, list) or not file_ids:
        raise invalid("file_ids", "value is required")
    progresses = []
    for file_id in file_ids:
        file = world.files.get(file_id)
        if file is None or file.owner != caller.account.name:
            raise missing("file")
        status: Any = file.status()
        if world.knobs.numeric_file_status:
            status = _NUMBERS[status]
        progresses.append({"fileId": file_id, "status": status})
    return {"progresses": progresses}


def _only_file(request: Request) -> EmailMessage:
    if request.content_type != "multipart/form-data":
        raise invalid("file", "multipart/form-data is required")
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser(policy=policy.HTTP).parsebytes(head + request.body)
    parts = [part for part in message.iter_parts() if isinstance(part, EmailMessage)]
    names = [part.get_param("name", header="content-disposition") for part in parts]
    if names != ["file"] or not _name(parts[0]):
        raise invalid("file", "exactly one file field is required")
    return parts[0]


def _name(part: EmailMessage) -> str:
    """Return the file's name, which browsers send in UTF-8 as it is."""
    name = part.get_filename() or ""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _store(
    world: World, caller: Caller, part: EmailMessage
) -> tuple[StoredFile, dict[str, Any]]:
    content = part.get_payload(decode=True)
    if not isinstance(content, bytes):
        raise unauthenticated()
    owner, knobs = caller.account.name, world.knobs
    name, kind = _name(part), part.get_content_type()
    if len(content) > knobs.file_limit:
        raise Refusal(ConnectError("invalid_argument", "file too large", http=413))
    if kind in knobs.refused_types:
        raise invalid("file", f"unsupported type {kind}")
    used = sum(file.size for file in world.files.values() if file.owner == owner)
    if used + len(content) > knobs.storage_limit:
        raise Refusal(ConnectError("resource_exhausted", "storage quota exceeded"))
    ready = time.monotonic() + knobs.parse_delay
    digest = hashlib.sha256(content).hexdigest()
    file = StoredFile(
        id=str(uuid.uuid4()),
        owner=owner,
        size=len(content),
        ready=ready,
        fails=knobs.parse_fails,
        name=name,
        kind=kind,
        digest=digest,
    )
    world.files[file.id] = file
    image = kind.startswith("image/")
    meta = {
        "name": name,
        "contentType": kind,
        "sizeBytes": str(len(content)),
        "checksum": digest,
        "ext": name.rpartition(".")[2],
        "createTime": timestamp(),
        "type": "FILE_TYPE_IMAGE" if image else "FILE_TYPE_DOCUMENT",
    }
    link = f"https://files.example.org/{file.id}"
    return file, {
        "file": {
            "id": file.id,
            "meta": meta,
            "blob": {"signUrl": link, "previewUrl": link},
            "parseResult": {"thumbnail": {}},
        }
    }
