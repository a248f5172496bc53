"""POST /token/check: is this token still alive, and if not, why."""

from flask import Blueprint, Response

from kimi_proxy.errors import InvalidRequest
from kimi_proxy.routes.answer import in_json
from kimi_proxy.routes.body import read_json
from kimi_proxy.routes.context import context


def check() -> Response:
    """`{"token": "..."}` in any form; `live` first, as the predecessors answer it.

    `provider` names whose token it is, where several could have issued it.
    """
    body = read_json()
    if not isinstance(body, dict):
        raise InvalidRequest("the request body must be a JSON object")
    token = body.get("token")
    if not isinstance(token, str) or not token.strip():
        raise InvalidRequest("must be a non-empty string", param="token")
    provider = body.get("provider")
    if provider is not None and not isinstance(provider, str):
        raise InvalidRequest("must be the name of a provider", param="provider")
    return in_json(context().tokens.report(token, provider))


def register(blueprint: Blueprint) -> None:
    """Put the endpoint on the blueprint that keys guard."""
    blueprint.add_url_rule("/token/check", view_func=check, methods=["POST"])
