"""Every failure as the dialect's error object with its right status; never HTML."""

from flask import Flask, Response, current_app, g, request
from flask_limiter import RateLimitExceeded
from werkzeug.exceptions import HTTPException

from kimi_proxy.dialects.openai_errors import retry_headers
from kimi_proxy.errors import (
    GatewayError,
    InternalError,
    InvalidKey,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    PoolEmpty,
    TokenRejected,
)
from kimi_proxy.logs import logger
from kimi_proxy.routes import body
from kimi_proxy.routes.dialect import OPENAI, spoken
from kimi_proxy.routes.limiting import context_limiter, exceeded
from kimi_proxy.routes.record import new_id

# What gunicorn refuses though it is HTTP.
_REFUSED = {
    414: "the address is longer than 8190 bytes",
    417: "only 100-continue may be expected",
    431: "a header field is longer than 64 KiB, or there are more than 100",
}


def install(app: Flask) -> None:
    """Handle errors of ours, of werkzeug and of flask-limiter, and defects."""
    app.register_error_handler(GatewayError, _ours)
    app.register_error_handler(RateLimitExceeded, _limited)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _defect)


def _respond(error: GatewayError) -> Response:
    entry = g.get("record")
    if entry is not None:
        entry.failed(error)
    body.drop()
    answer = spoken().error(error, entry.id if entry is not None else "")
    response = current_app.response_class(answer, mimetype="application/json")
    response.status_code = error.status
    response.headers.update(retry_headers(error))
    return response


def _ours(error: GatewayError) -> Response:
    """A token that the client brought itself is the client's to replace."""
    brought = "key" in g and bool(g.key.accounts)
    if brought and isinstance(error, TokenRejected | PoolEmpty):
        error = InvalidKey(f"the token you sent cannot be used: {error.message}")
    return _respond(error)


def _limited(_: RateLimitExceeded) -> Response:
    return _respond(exceeded(context_limiter()))


def _http(exc: HTTPException) -> Response:
    response = _respond(_as_ours(exc))
    allow = exc.get_headers(None)
    response.headers.update({k: v for k, v in allow if k.lower() == "allow"})
    return response


def _as_ours(exc: HTTPException) -> GatewayError:
    match exc.code:
        case 404:
            return NotFound(f"there is no {request.method} {request.path[:200]}")
        case 405:
            allowed = ", ".join(sorted(getattr(exc, "valid_methods", None) or ()))
            return MethodNotAllowed(f"{request.method} is not allowed; use {allowed}")
        case int() as code if 400 <= code < 500:
            return InvalidRequest("the request is malformed")
        case _:
            return InternalError("internal error")


def _defect(exc: Exception) -> Response:
    """The outermost handler: whatever else went wrong is our defect."""
    logger.exception("a request failed by a defect")
    return _respond(InternalError(f"internal error ({type(exc).__name__})"))


def raw_answer(status: int, reason: str) -> bytes:
    """A whole HTTP answer, for what the server refuses before there is a request."""
    request_id = new_id()
    refused = status < 500 or status == 501
    error = (
        InvalidRequest(f"{reason}: {_REFUSED.get(status, 'this is not valid HTTP')}")
        if refused
        else InternalError("internal error")
    )
    data = OPENAI.error(error, request_id)
    head = (
        f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        f"x-request-id: {request_id}\r\nrequest-id: {request_id}\r\n\r\n"
    )
    return head.encode("latin-1") + data
