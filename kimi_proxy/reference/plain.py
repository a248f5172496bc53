"""The operations besides chats: models, files, tokens, and the gateway itself."""

from collections.abc import Iterator

from kimi_proxy.reference import messages_shape, object_shape
from kimi_proxy.reference.operation import (
    GUARDED,
    KEYS,
    OPEN,
    TAKES_BODY,
    Operation,
    by_id,
    in_header,
    in_path,
    in_query,
    json_of,
    sent_json,
    whole,
)
from kimi_proxy.reference.shape import Json, Schemas

_TEXT: Json = {"text/plain": {"schema": {"type": "string"}}}
_BYTES: Json = {"*/*": {"schema": {"type": "string", "format": "binary"}}}
_VERSION = in_header(
    "anthropic-version", "Whoever sends it is answered in Anthropic's shape."
)
_FILE = in_path("file_id", "The id of a file.")


def operations(schemas: Schemas) -> Iterator[Operation]:
    """All of them."""
    yield from _models(schemas)
    yield from _uploads(schemas)
    yield from _files(schemas)
    yield Operation(
        "post",
        "/token/check",
        "Tokens",
        "Ask whether a token is alive",
        json_of(schemas.add(object_shape.TokenReport)),
        GUARDED | TAKES_BODY,
        description="The upstream is asked at most once in ten minutes.",
        body=sent_json(schemas.add(object_shape.TokenQuestion), {"token": "eyJ…"}),
    )
    yield from _gateway(schemas)
    yield from _pages()


def _models(schemas: Schemas) -> Iterator[Operation]:
    for path, ours, theirs, words, parameters, failures in (
        (
            "/v1/models",
            object_shape.Models,
            messages_shape.AnthropicModels,
            "List the models that the key may use",
            (_VERSION,),
            GUARDED,
        ),
        (
            "/v1/models/{name}",
            object_shape.Model,
            messages_shape.AnthropicModel,
            "Describe one model",
            (in_path("name", "Its id, which may hold slashes."), _VERSION),
            GUARDED | {404},
        ),
    ):
        shapes = [schemas.add(ours), schemas.add(theirs)]
        yield Operation(
            "get",
            path,
            "Models",
            words,
            json_of({"anyOf": shapes}),
            failures,
            parameters=parameters,
            dialect="EitherError",
        )


def _uploads(schemas: Schemas) -> Iterator[Operation]:
    """What a multipart form has to have is no model: it is read part by part."""
    purposes = ["assistants", "batch", "fine-tune", "vision", "user_data", "evals"]
    form = {
        "type": "object",
        "required": ["file"],
        "properties": {
            "file": {"type": "string", "format": "binary"},
            "purpose": {"enum": purposes, "default": "user_data"},
            "expires_after[anchor]": {"enum": ["created_at"]},
            "expires_after[seconds]": {"type": "integer", "minimum": 1},
            "expires_in_seconds": {"type": "integer", "minimum": 1},
        },
    }
    shapes = (object_shape.File, messages_shape.AnthropicFile)
    yield Operation(
        "post",
        "/v1/files",
        "Files",
        "Upload a file, to name it in requests by its id",
        json_of({"anyOf": [schemas.add(shape) for shape in shapes]}),
        GUARDED | TAKES_BODY,
        description="It has to have a purpose, unless Anthropic's client sends it.",
        parameters=(_VERSION,),
        dialect="EitherError",
        body={"required": True, "content": {"multipart/form-data": {"schema": form}}},
        links=by_id(
            "file_id",
            describe="GET /v1/files/{file_id}",
            read="GET /v1/files/{file_id}/content",
            delete="DELETE /v1/files/{file_id}",
        ),
    )


def _files(schemas: Schemas) -> Iterator[Operation]:
    theirs = messages_shape
    file, pages, deleted = (
        json_of({"anyOf": [schemas.add(ours), schemas.add(other)]})
        for ours, other in (
            (object_shape.File, theirs.AnthropicFile),
            (object_shape.Files, theirs.AnthropicFiles),
            (object_shape.DeletedFile, theirs.DeletedAnthropicFile),
        )
    )
    page = (
        in_query("purpose", "Only these.", {"type": "string"}),
        in_query("limit", "At most so many.", whole(10_000, default=10_000)),
        in_query("order", "By age.", {"enum": ["asc", "desc"], "default": "desc"}),
        in_query("after", "The id of the file before.", {"type": "string"}),
    )
    one = "/v1/files/{file_id}"
    rows: tuple[tuple[str, str, str, Json, tuple[Json, ...], int], ...] = (
        ("get", "/v1/files", "List the key's files", pages, page, 400),
        ("get", one, "Describe a file", file, (_FILE,), 404),
        ("delete", one, "Delete a file", deleted, (_FILE,), 404),
        ("get", f"{one}/content", "Read a file", _BYTES, (_FILE,), 404),
    )
    for method, path, words, content, parameters, failing in rows:
        yield Operation(
            method,
            path,
            "Files",
            words,
            content,
            GUARDED | {failing},
            parameters=(*parameters, _VERSION),
            dialect="EitherError",
        )


def _gateway(schemas: Schemas) -> Iterator[Operation]:
    alive = json_of(schemas.add(object_shape.Alive))
    ready = json_of(schemas.add(object_shape.Readiness))
    unready = {"503": {"description": "Not ready", "content": ready}}
    front = json_of(schemas.add(object_shape.FrontDoor))
    rows: tuple[tuple[str, str, Json, Json], ...] = (
        ("/", "What this is", front, {}),
        ("/healthz", "Whether the process answers", alive, {}),
        ("/health", "The same", alive, {}),
        ("/readyz", "Whether requests can be answered", ready, unready),
        ("/ping", "Whether the process answers, in one word", _TEXT, {}),
    )
    for path, words, content, more in rows:
        yield Operation(
            "get", path, "Gateway", words, content, OPEN, security=[], more=more
        )
    yield Operation(
        "get",
        "/metrics",
        "Gateway",
        "What Prometheus collects",
        _TEXT,
        OPEN | {403},
        description="For this machine, or with the admin key.",
        security=[*KEYS, {}],
    )


def _pages() -> Iterator[Operation]:
    yield Operation(
        "get",
        "/openapi.json",
        "Gateway",
        "This document",
        json_of({"type": "object"}),
        OPEN,
        security=[],
    )
    yield Operation(
        "get",
        "/docs",
        "Gateway",
        "The page that shows it",
        {"text/html": {"schema": {"type": "string"}}},
        OPEN,
        security=[],
    )
    yield Operation(
        "get",
        "/docs/{name}",
        "Gateway",
        "What that page is made of",
        _BYTES,
        OPEN | {404},
        parameters=(in_path("name", "The file's name."),),
        security=[],
    )
