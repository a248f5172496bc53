"""How often, and how many at a time: limits exact over all workers."""

from collections.abc import Callable
from typing import Any

from flask import Flask, Response, current_app, g
from flask_limiter import ApplicationLimit, Limiter
from flask_limiter.util import get_remote_address

from kimi_proxy.errors import GatewayError, RateLimited
from kimi_proxy.logs import logger
from kimi_proxy.routes.access import needs_key
from kimi_proxy.routes.context import context, key


def install(
    app: Flask, storage_uri: str, storage_options: dict[str, Any], per_ip: str | None
) -> None:
    """Check the limits before each request that needs a key."""
    limits = [
        ApplicationLimit(
            _rate_of_key, key_function=_name_of_key, exempt_when=_is_unlimited
        )
    ]
    if per_ip is not None:
        limits.append(ApplicationLimit(per_ip, key_function=_address))
    limiter = Limiter(
        get_remote_address,
        app=app,
        application_limits=list(limits),
        storage_uri=storage_uri,
        storage_options=storage_options,
        strategy="moving-window",
        fail_on_first_breach=True,
    )
    limiter.request_filter(lambda: not needs_key())
    app.extensions["kimi_proxy_limiter"] = limiter
    app.after_request(_add_headers)


def _rate_of_key() -> str:
    # Asked for wrong keys, too, though the limit does not apply to them.
    return "" if _is_unlimited() else key().rate or ""


def _name_of_key() -> str:
    return f"key:{key().name}"  # a key may be named like an address


def _address() -> str:
    return f"ip:{get_remote_address()}"


def _is_unlimited() -> bool:
    return "key" not in g or key().rate is None


def exceeded(limiter: Limiter) -> RateLimited:
    """The error for the limit that was just hit."""
    hit = limiter.current_limit
    if hit is None:
        return RateLimited("too many requests", retry_after=1)
    left = max(1.0, hit.window.reset_time - context().clock.now())
    return RateLimited(f"the limit of {hit.limit} is reached", retry_after=left)


def _add_headers(response: Response) -> Response:
    """The standing of the tightest limit, in OpenAI's header names."""
    try:
        response.headers.update(_standing(context_limiter()))
    except GatewayError as exc:  # raising here would leak a stream that has begun
        logger.warning("the standing of a limit cannot be read: %s", exc.message)
    return response


def _standing(limiter: Limiter) -> dict[str, str]:
    hit = limiter.current_limit
    if hit is None:
        return {}
    left = max(0.0, hit.window.reset_time - context().clock.now())
    return {
        "x-ratelimit-limit-requests": str(hit.limit.amount),
        "x-ratelimit-remaining-requests": str(max(0, hit.remaining)),
        "x-ratelimit-reset-requests": f"{left:.3f}s",
    }


def take_place() -> Callable[[], None]:
    """Take one of the key's places; returns how to give it back.

    Raises `RateLimited` when all are taken. Giving it back raises nothing: what else
    is to be closed must be closed.
    """
    leave = context().concurrency.enter(key())

    def give_back() -> None:
        try:
            leave()
        except GatewayError as exc:
            logger.warning("a request's place was not given back: %s", exc.message)

    return give_back


def context_limiter() -> Limiter:
    """The limiter of the running app."""
    limiter: Limiter = current_app.extensions["kimi_proxy_limiter"]
    return limiter
