"""Who may come in, and the record that every request has from its first moment."""

from flask import Response, current_app, g, request

from kimi_proxy.errors import Forbidden, GatewayError, InvalidKey, PayloadTooLarge
from kimi_proxy.routes.context import context, record
from kimi_proxy.routes.record import Record

_DRAIN_BLOCK = 1 << 16
_DRAIN_LIMIT = 1 << 28
_FORWARDING = ("X-Forwarded-For", "X-Real-IP", "Forwarded")


def open_record() -> None:
    """Start the request's record."""
    ctx = context()
    ctx.ensure_started()
    rule = request.url_rule
    # The route's pattern, never the path as sent: that may hold anything.
    label = f"{request.method} {rule.rule if rule is not None else '(none)'}"
    g.record = Record(ctx.clock, ctx.observer, label)
    g.record.bytes_in = request.content_length or 0


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
        g.key = context().keys.find(presented_key())
        record().key = g.key.name
        _require_loopback_if_open()
    except (InvalidKey, Forbidden) as exc:
        g.refusal = exc


def refuse_strangers() -> None:
    """Raise what `identify` found wrong."""
    refusal: GatewayError | None = g.refusal
    if refusal is not None:
        raise refusal


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
    if context().keys.is_open and not is_loopback():
        raise Forbidden(
            "no client key is configured, so only this machine may use the gateway; "
            "add one under `keys:`"
        )


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


def check_length(limit: int) -> None:
    """Raise `PayloadTooLarge` when the body is announced bigger than `limit` bytes."""
    length = request.content_length
    if length is None or length <= limit:
        return
    if "100-continue" not in request.headers.get("Expect", "").lower():
        _drain(length)
    raise PayloadTooLarge(
        f"the request body has {length} bytes, the limit is {limit} (server.max_body)"
    )


def _drain(length: int) -> None:
    """Read and drop a refused body, within bounds.

    A client that is still sending when the socket closes sees a reset connection
    instead of the answer that says why.
    """
    left = min(length, _DRAIN_LIMIT)
    while left > 0:
        block = request.environ["wsgi.input"].read(min(_DRAIN_BLOCK, left))
        if not block:
            return
        left -= len(block)
