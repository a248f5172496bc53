"""For whoever runs the gateway: alive, ready, measured."""

import hmac

from flask import Blueprint, Response

from kimi_proxy import __version__
from kimi_proxy.errors import Forbidden
from kimi_proxy.keys import digest
from kimi_proxy.routes.access import is_loopback, presented_key
from kimi_proxy.routes.answer import in_json
from kimi_proxy.routes.context import context


def health() -> Response:
    """The process answers."""
    return in_json({"status": "ok"})


def ready() -> Response:
    """Whether the store works and any account can answer, of whichever provider."""
    report = dict(context().readiness())
    response = in_json(report)
    response.status_code = 200 if report["ready"] else 503
    return response


def ping() -> Response:
    return Response("pong", mimetype="text/plain")


def root() -> Response:
    """What this is, for a person who opens the address in a browser."""
    return in_json(
        {
            "name": "kimi-proxy",
            "version": __version__,
            "endpoints": [
                "POST /v1/chat/completions",
                "GET /v1/models",
                "POST /token/check",
                "GET /healthz",
                "GET /readyz",
                "GET /docs",
                "GET /openapi.json",
            ],
        }
    )


def metrics() -> Response:
    """Prometheus text; for this machine, or with the admin key."""
    admin, shown = context().admin_digest, presented_key()
    known = bool(admin and shown and hmac.compare_digest(admin, digest(shown)))
    if not (known or is_loopback()):
        raise Forbidden("metrics are for this machine or the admin key")
    return Response(context().metrics(), mimetype="text/plain; version=0.0.4")


def blueprint() -> Blueprint:
    """These endpoints need no key."""
    ops = Blueprint("ops", __name__)
    # Under a prefix: with and without its last slash, since a redirect is HTML.
    ops.add_url_rule("/", view_func=root, strict_slashes=False)
    ops.add_url_rule("/healthz", view_func=health)
    ops.add_url_rule("/health", endpoint="health_alias", view_func=health)
    ops.add_url_rule("/readyz", view_func=ready)
    ops.add_url_rule("/ping", view_func=ping)
    ops.add_url_rule("/metrics", view_func=metrics)
    return ops
