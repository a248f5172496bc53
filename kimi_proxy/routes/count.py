"""What a prompt would cost, by estimate: nobody upstream is asked."""

from flask import Response

from kimi_proxy.chat import ChatRequest
from kimi_proxy.routes.answer import in_json
from kimi_proxy.routes.context import context, key, record
from kimi_proxy.shaping.usage import prompt_tokens


def counted(asked: ChatRequest, **told: str) -> Response:
    """The number of a prompt's tokens, beside what else is to be told.

    Raises `Forbidden` and `ModelNotFound`, as the chat would.
    """
    record().model = asked.model
    key().require(asked.model)
    context().router.resolve(asked.model)
    response = in_json({**told, "input_tokens": prompt_tokens(asked)})
    response.headers["x-kimi-proxy-estimated"] = "input_tokens"
    return response
