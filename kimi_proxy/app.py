"""The Flask app: made by a factory that builds and starts nothing."""

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask
from werkzeug.middleware.proxy_fix import ProxyFix

from kimi_proxy import logs
from kimi_proxy.config import Settings
from kimi_proxy.keys import digest
from kimi_proxy.routes import (
    access,
    anthropic,
    cors,
    failure,
    files,
    limiting,
    models,
    openai,
    openapi,
    ops,
    predecessors,
    relay,
    responses,
    tokens,
)
from kimi_proxy.routes.context import Context
from kimi_proxy.routes.disconnect import Watcher
from kimi_proxy.routes.memory import BodyMemory
from kimi_proxy.services import Services


class _App(Flask):
    """Flask, whose every function of ours is known to be synchronous."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Look for no coroutine: six times a request, 2 % of it."""
        return func


def build(settings: Settings) -> Flask:
    """The gateway as gunicorn runs it; background threads start with the worker."""
    redact = logs.Redactor()
    logs.configure(settings.log.level, redact)
    services = Services(settings)
    redact.learn(services.secrets())
    for warning in settings.warnings:
        logs.logger.warning(warning)
    return create_app(services)


def create_app(services: Services) -> Flask:
    """The app over built services; starts nothing."""
    settings = services.settings
    app = _App("kimi_proxy", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.server.max_body
    app.config["TRUSTED_PROXIES"] = settings.server.trusted_proxies
    app.url_map.merge_slashes = False  # a model id may hold //, and no redirects
    app.extensions["kimi_proxy"] = _context(services)
    app.extensions["kimi_proxy_services"] = services
    app.before_request(access.open_record)
    app.before_request(access.identify)
    per_ip = settings.limits.per_ip
    if per_ip is not None or any(key.rate for key in settings.keys):
        limiting.install(app, *services.limit_storage(), per_ip)
    app.before_request(access.refuse_strangers)
    app.after_request(access.close_record)
    failure.install(app)
    cors.install(app, _origins(settings))
    _register(app, settings.server.route_prefix)
    hops = settings.server.trusted_proxies
    if hops:
        app.wsgi_app = ProxyFix(  # type: ignore[method-assign]  # Flask's own recipe
            app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops
        )
    return app


def _origins(settings: Settings) -> tuple[str, ...]:
    """Which pages may call; "all" without keys means all that this machine serves.

    Else any page that its user happens to visit could ask the accounts.
    """
    listed = settings.server.cors_origins
    return (cors.LOCAL,) if listed == ("*",) and not settings.keys else listed


def _context(services: Services) -> Context:
    admin = services.settings.admin
    listed = models.ModelList(services.router, int(services.clock.now()))
    services.discovery.changed = listed.renew
    return Context(
        gateway=services.gateway,
        relay=services.relay,
        router=services.router,
        models=listed,
        files=services.files,
        responses=services.responses,
        keys=services.keys,
        visitors=services.visitors,
        tokens=services.tokens,
        concurrency=services.concurrency,
        observer=services.observer,
        clock=services.clock,
        timeouts=services.timeouts,
        watcher=Watcher(),
        memory=BodyMemory(services.settings.server.body_memory),
        admin_digest=None if admin is None else digest(admin.key.get_secret_value()),
        readiness=services.readiness,
        metrics=services.metrics.scrape,
        ensure_started=services.start,
    )


def _register(app: Flask, prefix: str) -> None:
    api = Blueprint("api", __name__)
    openai.register(api)
    anthropic.register(api)
    models.register(api)
    files.register(api)
    responses.register(api)
    tokens.register(api)
    relay.register(api)
    app.register_blueprint(api, url_prefix=prefix or None)
    app.register_blueprint(ops.blueprint(), url_prefix=prefix or None)
    app.register_blueprint(openapi.blueprint(prefix), url_prefix=prefix or None)
    app.register_blueprint(predecessors.blueprint(), url_prefix=prefix or None)
