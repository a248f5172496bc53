"""Every call of the API: method, path below the prefix, name, and who answers."""

from collections.abc import Callable
from typing import Any
from urllib.parse import unquote

from emulators.openai import (
    chat,
    embedding,
    media,
    response,
    stored_file,
    text_completion,
)
from emulators.openai.refusal import Refused
from emulators.openai.world import Call

# What is returned is sent as JSON; None: the call was answered already.
Answering = Callable[[Call], Any]
Row = tuple[str, str, str, Answering]


def models(call: Call) -> Any:
    """Return the list of models."""
    rows = [model.row() for model in call.world.models.values()]
    return {"object": "list", "data": rows}


def model(call: Call) -> Any:
    """Return one model; an id may have a slash, plain or quoted."""
    name = unquote("/".join(call.params.values()))
    found = call.world.models.get(name)
    if found is None:
        raise Refused(call.world.rules.unknown_model(name))
    return found.row()


# The name is how the log and faults call it.
ENDPOINTS: tuple[Row, ...] = (
    ("GET", "/models", "models", models),
    ("GET", "/models/{id}", "model", model),
    ("GET", "/models/{owner}/{id}", "model", model),
    ("POST", "/chat/completions", "chat", chat.complete),
    ("GET", "/chat/completions", "stored-list", chat.stored_list),
    ("GET", "/chat/completions/{id}", "stored", chat.stored_one),
    ("GET", "/chat/completions/{id}/messages", "stored-messages", chat.stored_messages),
    ("POST", "/chat/completions/{id}", "stored-update", chat.stored_update),
    ("DELETE", "/chat/completions/{id}", "stored-delete", chat.stored_delete),
    ("POST", "/completions", "completions", text_completion.complete),
    ("POST", "/responses", "responses", response.respond),
    ("GET", "/responses/{id}", "response", response.response),
    ("DELETE", "/responses/{id}", "response-delete", response.delete),
    ("POST", "/embeddings", "embeddings", embedding.embed),
    ("POST", "/moderations", "moderations", embedding.moderate),
    ("POST", "/audio/speech", "speech", media.speak),
    ("POST", "/audio/transcriptions", "transcriptions", media.transcribe),
    ("POST", "/audio/translations", "translations", media.transcribe),
    ("POST", "/images/generations", "images", media.draw),
    ("POST", "/images/edits", "image-edits", media.edit),
    ("POST", "/images/variations", "image-variations", media.vary),
    ("GET", "/images/{kind}/made-up.png", "picture", media.picture),
    ("POST", "/files", "file-upload", stored_file.upload),
    ("GET", "/files", "files", stored_file.files),
    ("GET", "/files/{id}", "file", stored_file.file),
    ("DELETE", "/files/{id}", "file-delete", stored_file.delete),
    ("GET", "/files/{id}/content", "file-content", stored_file.content),
    ("POST", "/batches", "batch-create", stored_file.start_batch),
    ("GET", "/batches", "batches", stored_file.batches),
    ("GET", "/batches/{id}", "batch", stored_file.batch),
    ("POST", "/batches/{id}/cancel", "batch-cancel", stored_file.cancel_batch),
)
