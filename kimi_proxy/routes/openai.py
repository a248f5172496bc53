"""POST /v1/chat/completions."""

from flask import Blueprint, Response

from kimi_proxy.chat import ChatRequest
from kimi_proxy.dialects import openai_request, responses_request
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.chat import respond
from kimi_proxy.routes.dialect import OPENAI
from kimi_proxy.routes.responses import recalled


def chat_completions() -> Response:
    """Answer a chat, streamed or whole."""
    return respond(_parsed(read_json()), OPENAI)


def _parsed(body: object) -> ChatRequest:
    """The chat; some clients send it here in the shape of Responses (Cursor does)."""
    if isinstance(body, dict) and "messages" not in body and "input" in body:
        return responses_request.as_chat(body, recalled())
    return openai_request.parse(body)


def register(blueprint: Blueprint) -> None:
    """Put the endpoint on the blueprint that keys guard, and as reverse-kimi's README
    spells it."""
    for rule in ("/v1/chat/completions", "/v1/chat/completitions"):
        name = rule.rpartition("/")[2]
        blueprint.add_url_rule(
            rule, endpoint=name, view_func=chat_completions, methods=["POST"]
        )
