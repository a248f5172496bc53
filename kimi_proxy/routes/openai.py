"""POST /v1/chat/completions and GET /v1/models."""

import uuid
from contextlib import ExitStack
from functools import partial
from typing import Any

import orjson
from flask import Blueprint, Response, current_app, request

from kimi_proxy.dialects import openai_request
from kimi_proxy.dialects.openai_chat import Stamp
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.router import Listing
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.routes.job import Job
from kimi_proxy.routes.limiting import take_place
from kimi_proxy.routes.streaming import answer
from kimi_proxy.scope import Scope


def chat_completions() -> Response:
    """Answer a chat, streamed or whole."""
    ctx, entry = context(), record()
    chat = openai_request.parse(read_json())
    entry.model, entry.streamed = chat.model, chat.stream
    key().require(chat.model)
    ctx.router.resolve(chat.model)  # an unknown model is refused before any work
    scope = Scope(ctx.timeouts, ctx.clock.monotonic)
    stamp = Stamp(f"chatcmpl-{uuid.uuid4().hex}", int(ctx.clock.now()), chat.model)
    with ExitStack() as stack:
        stack.callback(take_place())
        stack.callback(ctx.watcher.watch(request.environ, scope))
        opener = partial(ctx.gateway.open, only=key().accounts, owner=key().owner)
        response = answer(Job(opener, chat, scope), chat, stamp, entry)
        response.call_on_close(stack.pop_all().close)
    return response


def models() -> Response:
    """All names the key may use, from memory."""
    listed = [m for m in context().router.listing() if key().allows(m.id)]
    return _json({"object": "list", "data": [_described(m) for m in listed]})


def model(name: str) -> Response:
    """One model; its id may hold slashes, sent plain or as %2F."""
    for listed in context().router.listing():
        if listed.id == name and key().allows(name):
            return _json(_described(listed))
    raise ModelNotFound(f"the model {name[:200]!r} does not exist", param="model")


def _described(listed: Listing) -> dict[str, Any]:
    """The model object with the context fields that clients look for (pain 38)."""
    found = listed.model
    described: dict[str, Any] = {
        "id": listed.id,
        "object": "model",
        "created": context().started,
        "owned_by": found.owner,
        "name": found.name,
        "root": found.id,
        "parent": None,
        "capabilities": {"reasoning": found.reasoning},
    }
    if found.context_length is not None:
        for field in ("context_length", "context_window", "max_model_len"):
            described[field] = found.context_length
    return described


def _json(value: object) -> Response:
    return current_app.response_class(orjson.dumps(value), mimetype="application/json")


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    rules: tuple[tuple[str, Any, list[str]], ...] = (
        ("/v1/chat/completions", chat_completions, ["POST"]),
        ("/v1/models", models, ["GET"]),
        ("/v1/models/<path:name>", model, ["GET"]),
    )
    for rule, view, methods in rules:
        blueprint.add_url_rule(rule, view_func=view, methods=methods)
