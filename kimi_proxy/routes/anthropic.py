"""POST /v1/messages and /v1/messages/count_tokens."""

from flask import Blueprint, Response, request

from kimi_proxy.dialects import anthropic_request
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.chat import respond
from kimi_proxy.routes.count import counted
from kimi_proxy.routes.dialect import ANTHROPIC


def messages() -> Response:
    """Answer a chat, streamed or whole."""
    conversation = request.headers.get("x-conversation-id")
    asked = anthropic_request.parse(read_json(), conversation=conversation)
    return respond(asked, ANTHROPIC)


def count_tokens() -> Response:
    """What a chat's prompt would cost."""
    return counted(anthropic_request.parse(read_json(), counts_only=True))


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    blueprint.add_url_rule("/v1/messages", view_func=messages, methods=["POST"])
    blueprint.add_url_rule(
        "/v1/messages/count_tokens", view_func=count_tokens, methods=["POST"]
    )
