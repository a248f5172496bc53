"""Kilo's device log-in: a code, a page to open, and a token once it is approved."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlsplit

from kimi_proxy import USER_AGENT
from kimi_proxy.errors import (
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamRateLimited,
    UpstreamTimeout,
)
from kimi_proxy.providers.openai_answer import object_of
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply, Upstream

_CODES = "/api/device-auth/codes"
_HEADERS = {"Accept": "application/json", "User-Agent": USER_AGENT}
_PENDING, _DENIED, _EXPIRED, _TOO_MANY = 202, 403, 410, 429


@dataclass(frozen=True, slots=True)
class Request:
    """An open request: the user enters `code` at `url` within `seconds`."""

    code: str
    url: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Approved:
    """Whose token it is, as far as that was told."""

    token: str = field(repr=False)
    email: str | None = None


def begin(upstream: Upstream, api: str, scope: Scope) -> Request:
    """Open a request at `api` (scheme://host[:port]); raises `UpstreamError`."""
    reply = upstream.request(
        "POST",
        api + _CODES,
        headers={**_HEADERS, "Content-Length": "0"},
        body=b"",
        scope=scope,
    )
    if reply.status == _TOO_MANY:
        raise UpstreamRateLimited(
            "Kilo: too many log-ins are open; wait until they have expired"
        )
    facts = _facts(reply, 200, 201)
    code, url = _text(facts, "code"), _text(facts, "verificationUrl")
    if urlsplit(url).scheme not in ("http", "https"):
        raise UpstreamGarbled("Kilo names no page to open")
    return Request(code, url, _seconds(facts.get("expiresIn")))


def poll(upstream: Upstream, api: str, code: str, scope: Scope) -> Approved | None:
    """The token, None while nobody has decided.

    Raises `UpstreamForbidden` when it was denied, `UpstreamTimeout` when the request
    has expired, another `UpstreamError` when it cannot be told.
    """
    url = f"{api}{_CODES}/{quote(code, safe='')}"
    reply = upstream.request("GET", url, headers=_HEADERS, scope=scope)
    if reply.status == _PENDING:
        return None
    if reply.status == _DENIED:
        raise UpstreamForbidden("Kilo: the log-in was denied")
    if reply.status == _EXPIRED:
        raise UpstreamTimeout("Kilo: the log-in has expired")
    facts = _facts(reply, 200)
    if facts.get("status") != "approved":
        return None
    email = facts.get("userEmail")
    is_safe = isinstance(email, str) and email.isprintable()
    return Approved(_text(facts, "token"), email if is_safe else None)


def _facts(reply: Reply, *good: int) -> Mapping[str, Any]:
    if reply.status not in good:
        raise UpstreamFailed(f"Kilo's log-in failed (status {reply.status})")
    return object_of(reply.body)


def _text(facts: Mapping[str, Any], key: str) -> str:
    value = facts.get(key)
    if not isinstance(value, str) or not value.isprintable() or not value:
        raise UpstreamGarbled(f"Kilo's log-in names no {key}")
    return value


def _seconds(told: object) -> float:
    """For how long a request is open; minutes, where nothing sensible is told."""
    if isinstance(told, int | float) and 0 < told <= 86_400:
        return float(told)
    return 600.0
