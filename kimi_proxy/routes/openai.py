"""POST /v1/chat/completions."""

from flask import Blueprint, Response

from kimi_proxy.dialects import openai_request
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.chat import respond
from kimi_proxy.routes.dialect import OPENAI


def chat_completions() -> Response:
    """Answer a chat, streamed or whole."""
    return respond(openai_request.parse(read_json()), OPENAI)


def register(blueprint: Blueprint) -> None:
    """Put the endpoint on the blueprint that keys guard."""
    blueprint.add_url_rule(
        "/v1/chat/completions", view_func=chat_completions, methods=["POST"]
    )
