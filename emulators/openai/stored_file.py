"""Files and batches."""

import json
from typing import Any

from emulators.openai import chat
from emulators.openai.refusal import Refused
from emulators.openai.stored import Item, page
from emulators.openai.world import Call


def upload(call: Call) -> Any:
    """Keep a file."""
    form = call.form("file", "purpose")
    part, purpose = form.file("file"), form.get("purpose")
    call.world.rules.check_file(part, purpose, call)
    return keep(call, part.filename or "file", part.content, purpose).document


def keep(call: Call, name: str, content: bytes, purpose: str) -> Item:
    """Store a file of the calling key."""
    document = {
        "id": call.world.new_id("file-"),
        "object": "file",
        "bytes": len(content),
        "created_at": call.world.now(),
        "filename": name,
        "purpose": purpose,
        "status": call.world.rules.file_status,
        "status_details": None,
    }
    return call.world.stored.add(Item("file", call.key.name, document, content))


def files(call: Call) -> Any:
    """Return the files of the key."""
    purpose = call.exchange.request.query.get("purpose")
    rows = [item.document for item in call.world.stored.all("file", call.key.name)]
    return page([row for row in rows if purpose in (None, row["purpose"])])


def file(call: Call) -> Any:
    """Return one file."""
    return found(call, "file").document


def delete(call: Call) -> Any:
    """Forget a file."""
    item = found(call, "file")
    call.world.stored.remove(item)
    return {"id": item.id, "object": "file", "deleted": True}


def content(call: Call) -> None:
    """Return a file's bytes, or what the vendor makes of them."""
    item = found(call, "file")
    body, kind = call.world.rules.file_content(item, call.world.knobs)
    call.exchange.answer(200, body, kind)


def found(call: Call, kind: str, name: str | None = None) -> Item:
    """Return an object of the key; raises Refused."""
    wanted = name or call.params["id"]
    item = call.world.stored.get(kind, call.key.name, wanted)
    if item is None:
        raise Refused(call.world.rules.not_found(kind, wanted))
    return item


def start_batch(call: Call) -> Any:
    """Take a batch; each later look at it moves it one step on."""
    body = call.json()
    source = found(call, "file", call.need(body, "input_file_id", str))
    endpoint = call.need(body, "endpoint", str)
    window = call.need(body, "completion_window", str)
    call.world.rules.check_batch(source, endpoint, window)
    document = {
        "id": call.world.new_id("batch_"),
        "object": "batch",
        "endpoint": endpoint,
        "errors": None,
        "input_file_id": source.id,
        "completion_window": window,
        "status": "validating",
        "output_file_id": None,
        "error_file_id": None,
        "created_at": call.world.now(),
        "request_counts": {"total": 0, "completed": 0, "failed": 0},
        "metadata": body.get("metadata"),
    }
    return call.world.stored.add(Item("batch", call.key.name, document)).document


def batches(call: Call) -> Any:
    """Return the batches of the key."""
    items = call.world.stored.all("batch", call.key.name)
    return page([item.document for item in items])


def batch(call: Call) -> Any:
    """Return one batch, one step further."""
    item = found(call, "batch")
    document = item.document
    shown = dict(document)
    following = {"validating": "in_progress", "cancelling": "cancelled"}
    if document["status"] == "in_progress":
        _finish(call, item)
    else:
        document["status"] = following.get(document["status"], document["status"])
    return shown


def cancel_batch(call: Call) -> Any:
    """Stop a batch."""
    document = found(call, "batch").document
    if document["status"] not in ("validating", "in_progress"):
        message = f"Cannot cancel a batch with status '{document['status']}'."
        raise Refused(call.world.rules.invalid(message, None, None))
    document["status"] = "cancelling"
    return document


def _finish(call: Call, item: Item) -> None:
    source = found(call, "file", item.document["input_file_id"])
    lines = [json.loads(line) for line in source.content.splitlines() if line.strip()]
    rows = [
        {
            "id": call.world.new_id("batch_req_"),
            "custom_id": line["custom_id"],
            "response": {"status_code": 200, "body": chat.whole(call, line["body"])},
            "error": None,
        }
        for line in lines
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    output = keep(call, "output.jsonl", text.encode(), "batch_output")
    counts = {"total": len(rows), "completed": len(rows), "failed": 0}
    item.document.update(
        status="completed", output_file_id=output.id, request_counts=counts
    )
