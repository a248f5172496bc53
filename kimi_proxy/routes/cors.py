"""Which web pages may call, and what they may read of an answer.

No cookie is ever asked for, so `*` says it for all pages and needs no `Vary`.
"""

import re
from collections.abc import Collection

from flask import Flask, Response, request

LOCAL = "local"
_LOCAL_PAGE = re.compile(
    r"https?://(localhost|127\.\d+\.\d+\.\d+|\[::1\])(:\d+)?", re.IGNORECASE
)
_METHODS = "DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"
_DAY = "86400"
_EXPOSED = ", ".join(
    (
        "x-request-id",
        "request-id",
        "retry-after",
        "retry-after-ms",
        "x-should-retry",
        "x-ratelimit-limit-requests",
        "x-ratelimit-remaining-requests",
        "x-ratelimit-reset-requests",
        "x-kimi-proxy-route",
        "x-kimi-proxy-ignored",
        "x-kimi-proxy-emulated",
        "x-kimi-proxy-estimated",
        "x-conversation-id",
        "content-disposition",
    )
)


def install(app: Flask, origins: Collection[str]) -> None:
    """Let pages of these origins call; `*` is all, `LOCAL` what this machine serves."""
    listed = frozenset(origin.lower() for origin in origins)

    def allowed(origin: str) -> bool:
        if LOCAL in listed and _LOCAL_PAGE.fullmatch(origin):
            return True
        return "*" in listed or origin.lower() in listed

    def add_headers(response: Response) -> Response:
        origin = request.headers.get("Origin")
        if listed and "*" not in listed:
            response.vary.add("Origin")
        if origin is not None and allowed(origin):
            response.headers.update(_headers("*" if "*" in listed else origin))
        return response

    app.before_request(_answer_preflight)
    app.after_request(add_headers)


def _answer_preflight() -> Response | None:
    """Also where there is no such path: else a page cannot read that there is none."""
    if _is_preflight() and request.url_rule is None:
        return Response()
    return None


def _is_preflight() -> bool:
    if request.method != "OPTIONS":
        return False
    return "Access-Control-Request-Method" in request.headers


def _headers(origin: str) -> dict[str, str]:
    headers = {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": _EXPOSED,
    }
    if _is_preflight():
        headers["Access-Control-Allow-Methods"] = _METHODS
        headers["Access-Control-Max-Age"] = _DAY
        if names := request.headers.get("Access-Control-Request-Headers"):
            headers["Access-Control-Allow-Headers"] = names
    return headers
