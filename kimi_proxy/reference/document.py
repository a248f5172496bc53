"""The whole document: OpenAPI 3.1, made of the models that requests are read with."""

from itertools import chain

import orjson

from kimi_proxy import __version__
from kimi_proxy.reference import chat, failure, plain, relayed
from kimi_proxy.reference.operation import KEYS, header_objects
from kimi_proxy.reference.shape import Json, Schemas

_ABOUT = """\
One endpoint for your own chat accounts and API keys.

A key of the gateway's own goes into `Authorization: Bearer …` or `x-api-key`. Where
none is configured only this machine may ask, without one. Every answer has an id in
`x-request-id`, every failure is an object in the dialect of its path. Each path also
answers OPTIONS, for pages of other origins, and HEAD where it answers GET; any other
method is a 405 that names those it has in `Allow`.
"""
_TAGS = {
    "Chat completions": "OpenAI's dialect.",
    "Responses": "OpenAI's other one, which Codex speaks.",
    "Messages": "Anthropic's dialect, which Claude Code speaks.",
    "Models": "What `model` may be.",
    "Files": "What clients upload, to name it in requests.",
    "Tokens": "Whether an account's token is still alive.",
    "Gateway": "Whether it lives, and how it is.",
    "Relayed": "Every other endpoint of OpenAI's API: an upstream's to answer.",
    "Gone": "Paths of predecessors.",
}
_SCHEMES = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key of the gateway's own; where `pass_through` is configured "
        "also upstream tokens, with commas between them.",
    },
    "apiKey": {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "The same, as Anthropic's clients send it.",
    },
}


def written(prefix: str) -> bytes:
    """The document as JSON, for a gateway below this path."""
    return orjson.dumps(_document(prefix))


def _document(prefix: str) -> Json:
    schemas = Schemas()
    headers = header_objects()
    paths: Json = {}
    parts = (chat, plain, relayed)
    for operation in chain(*(part.operations(schemas) for part in parts)):
        paths.setdefault(operation.path, {})[operation.method] = operation.described
    answers = failure.answers(schemas, _references(headers))
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "kimi-proxy",
            "version": __version__,
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "servers": [{"url": prefix or "/"}],
        "security": KEYS,
        "tags": [{"name": n, "description": words} for n, words in _TAGS.items()],
        "paths": {**paths, **relayed.paths()},
        "components": {
            "schemas": dict(sorted(schemas.gathered.items())),
            "responses": answers,
            "headers": headers,
            "pathItems": relayed.path_items(),
            "securitySchemes": _SCHEMES,
        },
    }


def _references(headers: Json) -> Json:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers}
