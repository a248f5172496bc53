"""What a prompt would cost, by estimate: nobody upstream is asked."""

import orjson
from flask import Response, current_app

from kimi_proxy.chat import ChatRequest
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.shaping.usage import prompt_tokens


def counted(asked: ChatRequest, **told: str) -> Response:
    """The number of a prompt's tokens, beside what else is to be told.

    Raises `Forbidden` and `ModelNotFound`, as the chat would.
    """
    record().model = asked.model
    key().require(asked.model)
    context().router.resolve(asked.model)
    body = orjson.dumps({**told, "input_tokens": prompt_tokens(asked)})
    response = current_app.response_class(body, mimetype="application/json")
    response.headers["x-kimi-proxy-estimated"] = "input_tokens"
    return response
