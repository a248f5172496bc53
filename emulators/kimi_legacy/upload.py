"""The file calls: pre-sign, bucket, register, parse (legacy sheet §7)."""

import json
import mimetypes
import time
from typing import Any

from emulators.exchange import Exchange
from emulators.kimi_legacy.refusal import Refused, bad_request
from emulators.kimi_legacy.stored_file import StoredFile
from emulators.kimi_legacy.world import Call, World

_SIGNATURE = "made-up-signature"


def pre_sign(world: World, call: Call, bucket: str) -> Any:
    """Reserve an object and return where to put its bytes."""
    action, name = call.need("action", str), call.need("name", str)
    if action not in ("file", "image") or not name:
        raise bad_request("action must be file or image, name must not be empty")
    if world.files.size(call.account) >= world.knobs.storage_limit:
        raise Refused("the storage of this account is full")
    file = world.files.pre_sign(call.account, action, name)
    return {
        "url": f"{bucket}/{file.object_name}?signature={_SIGNATURE}",
        "object_name": file.object_name,
        "file_id": file.file_id,
    }


def put(world: World, exchange: Exchange) -> None:
    """Take the bytes of a pre-signed object.

    A bucket is a foreign host: the Kimi bearer must not arrive here.
    """
    request = exchange.request
    file = world.files.object(request.params["object"])
    trouble = _trouble_with(exchange, file)
    if file is None or trouble:
        exchange.note(facts={"violation": trouble})
        body = f"<Error><Code>AccessDenied</Code><Message>{trouble}</Message></Error>"
        exchange.answer(403, body.encode(), "application/xml")
        return
    if len(request.body) > world.knobs.file_limit:
        exchange.answer(413, b"<Error><Code>EntityTooLarge</Code></Error>", "text/xml")
        return
    file.content, file.content_type = request.body, request.content_type
    exchange.note(
        facts={"file": file.name, "type": file.content_type, "of": file.digest}
    )
    exchange.answer(200, b"", "application/octet-stream")


def register(world: World, call: Call) -> Any:
    """Turn an uploaded object into a file of the account."""
    kind, name = call.need("type", str), call.need("name", str)
    if kind == "image":
        key = {"file_id": call.need("file_id", str)}
    elif kind == "file":
        if call.need("file_id", str):
            raise bad_request("file_id must be empty for a file")
        world.chats.find(call.need("chat_id", str), call.account)
        key = {"object_name": call.need("object_name", str)}
    else:
        raise bad_request("type must be file or image")
    file = world.files.register(call.account, **key)
    if file.action != kind or file.name != name:
        raise bad_request("type and name must be those of the pre-sign call")
    if world.knobs.parsed_at_once:
        file.parsed_at = 0.0
    return file.document(world.knobs.register_polls)


def parse_process(world: World, call: Call) -> None:
    """Parse files, streaming progress of invented event names until all are done."""
    ids = call.need("ids", list)
    files = [world.files.find(str(file_id), call.account) for file_id in ids]
    if not files:
        raise bad_request("ids must not be empty")
    broken = call.exchange.fault("parse_fails") is not None
    for file in files:
        if file.status(world.knobs.register_polls) == "uploading":
            raise bad_request("the file is not initialized yet")
        if file.parsed_at is None:
            file.parsed_at = time.monotonic() + world.knobs.parse_delay
            file.broken = broken or file.content_type in world.knobs.refused_types
    _report(call.exchange, files)


def _report(exchange: Exchange, files: list[StoredFile]) -> None:
    writer = exchange.stream("text/event-stream")
    while True:
        rows = [{"id": file.id, "status": file.status()} for file in files]
        event = {"event": "made_up_progress", "files": rows}
        if not writer.write(f"data: {json.dumps(event)}\n\n".encode()):
            return
        left = [f.parsed_at - time.monotonic() for f in files if f.parsed_at]
        if max(left, default=0.0) <= 0:
            done = [file.status() for file in files]
            if done == [row["status"] for row in rows]:
                return
            continue
        if not writer.pause(max(left)):
            return


def _trouble_with(exchange: Exchange, file: StoredFile | None) -> str:
    request = exchange.request
    if request.headers.get("authorization") or request.headers.get("cookie"):
        return "credentials were sent to the bucket"
    if file is None or request.query.get("signature") != _SIGNATURE:
        return "no such pre-signed object"
    guessed, _ = mimetypes.guess_type(file.name)
    if not request.content_type or request.content_type != (
        guessed or request.content_type
    ):
        return f"wrong content type {request.content_type!r}"
    return ""
