"""The request's body: bounded, read whole, parsed as JSON."""

from collections.abc import Iterable
from typing import Any

import orjson
from flask import current_app, request
from werkzeug.exceptions import RequestEntityTooLarge

from kimi_proxy.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from kimi_proxy.routes.context import record

_BLOCK = 1 << 16
_DRAIN_LIMIT = 1 << 28
_DEEPEST = 100  # orjson reads 1024 levels but writes no more than 254
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json() -> object:
    """The body as JSON; raises for a wrong type, a wrong size or malformed text."""
    _check_kind()
    data = _read(current_app.config["MAX_CONTENT_LENGTH"])
    record().bytes_in = len(data)
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if not data:
        raise InvalidRequest("the request body is empty; send a JSON object")
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(
            f"the request body is not valid JSON: {exc.msg} at line {exc.lineno}, "
            f"column {exc.colno}"
        ) from None
    # Counting costs nothing, walking does: few bodies have so many brackets at all.
    if data.count(b"[") + data.count(b"{") > _DEEPEST and _is_deep(value):
        raise InvalidRequest(
            f"the request body is nested deeper than {_DEEPEST} levels"
        )
    return value


def _check_kind() -> None:
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"the body is sent as {kind[:80]}; send it as application/json"
        )
    if request.content_encoding not in {None, "identity"}:
        raise UnsupportedMediaType("compressed request bodies are not understood")


def _read(limit: int) -> bytes:
    announced = request.content_length
    if announced is not None and announced > limit:
        _drain(announced)
        raise PayloadTooLarge(
            f"the request body has {announced} bytes, the limit is {limit} "
            "(server.max_body)"
        )
    try:
        return request.get_data(cache=False)
    except RequestEntityTooLarge:
        _drain(_DRAIN_LIMIT)
        raise PayloadTooLarge(
            f"the request body has more than the {limit} bytes that are the limit "
            "(server.max_body)"
        ) from None
    except Exception as exc:  # each server has its own for a body that breaks off
        raise InvalidRequest(
            f"the request body could not be read ({type(exc).__name__})"
        ) from None


def _drain(length: int) -> None:
    """Read and drop a refused body, within bounds.

    A client that is still sending when the socket closes sees a reset connection
    instead of the answer that says why.
    """
    left = min(length, _DRAIN_LIMIT)
    while left > 0:
        block = request.environ["wsgi.input"].read(min(_BLOCK, left))
        if not block:
            return
        left -= len(block)


def _is_deep(value: object) -> bool:
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: Any) -> Iterable[object]:
    inside = value.values() if isinstance(value, dict) else value
    return (child for child in inside if isinstance(child, dict | list))
