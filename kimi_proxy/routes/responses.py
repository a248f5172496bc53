"""/v1/responses: a response made, and those that are stored.

What only OpenAI's own service has (its tools, its stored prompts and conversations,
responses that were made there) is relayed where an upstream may have it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from flask import Blueprint, Response, g, request
from flask.blueprints import BlueprintSetupState
from werkzeug.routing import BaseConverter

from kimi_proxy.dialects import responses_request
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.dialects.responses_answer import OpenAIResponses
from kimi_proxy.dialects.responses_request import Asked
from kimi_proxy.errors import (
    Forbidden,
    GatewayError,
    InvalidRequest,
    ModelNotFound,
    NotFound,
    StateUnavailable,
    Unsupported,
)
from kimi_proxy.logs import logger
from kimi_proxy.response_store import ResponseStore
from kimi_proxy.routes import query
from kimi_proxy.routes.answer import in_json
from kimi_proxy.routes.body import read_document, read_json
from kimi_proxy.routes.chat import respond
from kimi_proxy.routes.context import context, key
from kimi_proxy.routes.count import counted
from kimi_proxy.routes.relay import relayed

_ENDPOINT = "responses"
_NO_OBJECT = "the request body must be a JSON object"
_LONGEST_PAGE, _USUAL_PAGE = 100, 20


@dataclass(frozen=True, slots=True)
class Recalled:
    """What one owner has stored."""

    store: ResponseStore
    owner: str

    def history(self, response_id: str) -> Sequence[Mapping[str, Any]]:
        return self.store.history(self.owner, response_id)

    def item(self, item_id: str) -> Mapping[str, Any]:
        return self.store.item(self.owner, item_id)

    def keep(self, asked: Asked, response: Mapping[str, Any]) -> bool:
        """Store an answer; where that fails the client has it all the same."""
        put, owner = self.store.put, self.owner
        try:
            try:
                return put(owner, response, asked.items, asked.previous)
            except TypeError:  # half a surrogate pair, as a model may write it
                mended = orjson.loads(dump(response))
                return put(owner, mended, asked.items, asked.previous)
        except StateUnavailable as exc:
            logger.warning("a response cannot be stored: %s", exc.message)
            return False


def recalled() -> Recalled:
    """What the key of the request at hand has stored."""
    return Recalled(context().responses, key().owner)


def create() -> Response:
    """Answer, streamed or whole; a body in the shape of a chat is understood, too."""
    data, body = read_document()
    if not isinstance(body, dict):
        raise InvalidRequest(_NO_OBJECT)
    mine = recalled()
    if body.get("input") is None and body.get("messages") is not None:
        asked = responses_request.parse_chat(body)
    else:
        try:
            asked = responses_request.parse(body, mine)
        except (Unsupported, NotFound) as exc:
            if _is_ours(body.get("previous_response_id")):
                raise  # others would answer without all that was said before
            g.document = data, body
            return _elsewhere(exc)
    dialect = OpenAIResponses(asked, lambda response: mine.keep(asked, response))
    return respond(asked.chat, dialect)


def _is_ours(response_id: object) -> bool:
    """Whether a response is stored here, though one before it may be gone."""
    if not isinstance(response_id, str):
        return False
    try:
        recalled().store.get(key().owner, response_id)
    except NotFound:
        return False
    return True


def count() -> Response:
    """What a request's prompt would cost, its history included."""
    body = read_json()
    if not isinstance(body, dict):
        raise InvalidRequest(_NO_OBJECT)
    asked = responses_request.parse(body, recalled())
    return counted(asked.chat, object="response.input_tokens")


def retrieve(response_id: str) -> Response:
    """A stored response as it was answered."""
    try:
        kept = recalled().store.get(key().owner, response_id)
    except NotFound as exc:
        return _elsewhere(exc, response_id)
    if request.args.get("stream") in {"true", "1"}:
        raise Unsupported("a stored response is told whole", param="stream")
    return in_json(kept.response)


def delete(response_id: str) -> Response:
    """Forget a stored response."""
    try:
        recalled().store.delete(key().owner, response_id)
    except NotFound as exc:
        return _elsewhere(exc, response_id)
    return in_json({"id": response_id, "object": "response", "deleted": True})


def cancel(response_id: str) -> Response:
    """Refuse: what is stored has ended, as nothing is made in the background here.

    The service says the same of a response that the client waits for.
    """
    try:
        recalled().store.get(key().owner, response_id)
    except NotFound as exc:
        return _elsewhere(exc, f"{response_id}/cancel")
    raise InvalidRequest(
        "only a response that is made in the background can be cancelled; hang up to "
        "end one that is streamed",
        param="response_id",
    )


def input_items(response_id: str) -> Response:
    """What the model was given, the latest first unless the client asks otherwise."""
    order, limit = query.order(), query.limit(_USUAL_PAGE, _LONGEST_PAGE)
    try:
        items = recalled().store.input(key().owner, response_id)
    except NotFound as exc:
        return _elsewhere(exc, f"{response_id}/input_items")
    if order == "desc":
        items = items[::-1]
    start = _place_after(items, request.args.get("after"))
    shown = items[start : start + limit]
    return in_json(
        {
            "object": "list",
            "data": shown,
            "first_id": shown[0].get("id") if shown else None,
            "last_id": shown[-1].get("id") if shown else None,
            "has_more": start + limit < len(items),
        }
    )


def _place_after(items: Sequence[Mapping[str, Any]], after: str | None) -> int:
    if after is None:
        return 0
    for place, item in enumerate(items, start=1):
        if item.get("id") == after:
            return place
    raise NotFound(f"there is no item {after[:80]!r}", param="after")


def _elsewhere(refusal: GatewayError, rest: str | None = None) -> Response:
    """Ask an upstream that has this API itself, if there is one for it; else the
    gateway's own word stands."""
    try:
        return relayed(_ENDPOINT, rest)
    except ModelNotFound:
        raise  # a model that nobody has is the first thing to know
    except (Unsupported, NotFound) as exc:
        raise refusal from exc
    except Forbidden as exc:
        if rest is None:
            raise
        raise refusal from exc  # what the key may not ask for does not exist for it


class _ResponseId(BaseConverter):
    """A path's part that may be an id: not the name of another endpoint there."""

    regex = r"(?!input_tokens\Z)[^/]+"


def _know_ids(state: BlueprintSetupState) -> None:
    state.app.url_map.converters["response"] = _ResponseId


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    blueprint.record_once(_know_ids)
    one = "/v1/responses/<response:response_id>"
    rules: tuple[tuple[str, Any, list[str]], ...] = (
        ("/v1/responses", create, ["POST"]),
        ("/v1/responses/input_tokens", count, ["POST"]),
        (one, retrieve, ["GET"]),
        (one, delete, ["DELETE"]),
        (f"{one}/cancel", cancel, ["POST"]),
        (f"{one}/input_items", input_items, ["GET"]),
    )
    for rule, view, methods in rules:
        name = f"responses_{view.__name__}"
        blueprint.add_url_rule(rule, name, view_func=view, methods=methods)
