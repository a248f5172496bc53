"""POST /v1/messages and /v1/messages/count_tokens."""

import orjson
from flask import Blueprint, Response, current_app, request

from kimi_proxy.dialects import anthropic_request
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.chat import respond
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.routes.dialect import ANTHROPIC
from kimi_proxy.shaping.usage import prompt_tokens


def messages() -> Response:
    """Answer a chat, streamed or whole."""
    conversation = request.headers.get("x-conversation-id")
    asked = anthropic_request.parse(read_json(), conversation=conversation)
    return respond(asked, ANTHROPIC)


def count_tokens() -> Response:
    """What a chat's prompt would cost, by estimate; nobody upstream is asked."""
    asked = anthropic_request.parse(read_json(), counts_only=True)
    record().model = asked.model
    key().require(asked.model)
    context().router.resolve(asked.model)
    body = orjson.dumps({"input_tokens": prompt_tokens(asked)})
    response = current_app.response_class(body, mimetype="application/json")
    response.headers["x-kimi-proxy-estimated"] = "input_tokens"
    return response


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    blueprint.add_url_rule("/v1/messages", view_func=messages, methods=["POST"])
    blueprint.add_url_rule(
        "/v1/messages/count_tokens", view_func=count_tokens, methods=["POST"]
    )
