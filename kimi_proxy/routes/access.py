"""Who may come in, and the record that every request has from its first moment."""

import ipaddress
import re
from urllib.parse import urlsplit

from flask import Response, current_app, g, request

from kimi_proxy.errors import Forbidden, GatewayError, InvalidKey
from kimi_proxy.keys import ClientKey
from kimi_proxy.routes.context import context, record
from kimi_proxy.routes.record import Record

_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_LISTED = re.compile(r"<any\([^>]*\):(\w+)>")
_FORWARDING = ("X-Forwarded-For", "X-Real-IP", "Forwarded")


def open_record() -> None:
    """Start the request's record."""
    ctx = context()
    # Patterns, never what was sent: that may hold anything, and be ever new.
    method = request.method
    method = method if method in _METHODS else "(other)"
    entry = g.record = Record(ctx.clock, ctx.observer, f"{method} {_pattern()}")
    entry.bytes_in = request.content_length or 0
    ctx.ensure_started()


def _pattern() -> str:
    """The rule's pattern; where it lists endpoints, with the one that was asked for."""
    rule, found = request.url_rule, request.view_args or {}
    if rule is None:
        return "(none)"
    return _LISTED.sub(lambda one: str(found.get(one[1], one[0])), rule.rule)


def close_record(response: Response) -> Response:
    """Name the request in the answer; report it once its last byte is sent."""
    entry = g.get("record")
    if entry is None:
        return response
    response.headers["x-request-id"] = entry.id
    response.headers["request-id"] = entry.id
    status, length = response.status_code, response.content_length
    response.call_on_close(lambda: entry.end(status, length))
    return response


def identify() -> None:
    """Find out whose key it is; a wrong one is refused only after the limits ran.

    So guessing keys is limited like everything else.
    """
    g.refusal = None
    if not needs_key():
        return
    try:
        found = g.key = _key_of(presented_key())
        record().key = found.name
        _require_loopback_if_open()
    except (InvalidKey, Forbidden) as exc:
        g.refusal = exc


def _key_of(presented: str | None) -> ClientKey:
    """A key of the gateway's own, or else one made of the upstream tokens sent."""
    ctx = context()
    if ctx.visitors is None or presented is None or ctx.keys.knows(presented):
        return ctx.keys.find(presented)
    try:
        return ctx.visitors.recognise(presented)
    except InvalidKey:
        if ctx.keys.is_open:
            return ctx.keys.find(presented)
        raise


def refuse_strangers() -> None:
    """Raise what `identify` found wrong; let a visitor in, now that the limits ran."""
    refusal: GatewayError | None = g.refusal
    if refusal is not None:
        raise refusal
    visitors = context().visitors
    if visitors is None:
        return
    presented = presented_key()
    if presented is not None and "key" in g and g.key.accounts:
        g.key = visitors.admit(presented)


def needs_key() -> bool:
    """Whether the request asks for something that keys guard."""
    return request.blueprint == "api" and request.method != "OPTIONS"


def presented_key() -> str | None:
    """The key the client sent, in either of the two usual headers."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return request.headers.get("x-api-key") or None


def _require_loopback_if_open() -> None:
    """Without keys whoever may connect may use it: this machine, by its own name.

    The name matters because a page can point a domain of its own at 127.0.0.1.
    """
    if context().keys.is_open and not (is_loopback() and _is_local_name()):
        raise Forbidden(
            "no client key is configured, so only this machine may use the gateway; "
            "add one under `keys:`"
        )


def _is_local_name() -> bool:
    name = urlsplit(f"//{request.host}").hostname or ""
    try:
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def is_loopback() -> bool:
    """Whether the client is this machine.

    A forwarded request is not, unless a trusted proxy says so: without
    `server.trusted_proxies` everything that comes through nginx looks local.
    """
    forwarded = any(name in request.headers for name in _FORWARDING)
    if forwarded and not current_app.config["TRUSTED_PROXIES"]:
        return False
    peer = (request.remote_addr or "").removeprefix("::ffff:")
    return peer in {"", "::1"} or peer.startswith("127.")
