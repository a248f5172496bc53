"""Answers of JSON, besides those of chats."""

import orjson
from flask import Response, current_app


def in_json(value: object) -> Response:
    """The value as an answer."""
    return written(orjson.dumps(value))


def written(data: bytes) -> Response:
    """JSON that is written already, as an answer."""
    return current_app.response_class(data, mimetype="application/json")
