"""Who calls, and with which headers (connect sheet §2, §3)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from emulators.exchange import Identity
from emulators.http_server import Request
from emulators.kimi_connect.account import Account
from emulators.kimi_connect.catalog import is_old_build
from emulators.kimi_connect.error import (
    ConnectError,
    Refusal,
    invalid,
    unauthenticated,
)
from emulators.kimi_connect.world import World


@dataclass(frozen=True, slots=True)
class Caller:
    """An authenticated account and what its headers say."""

    account: Account
    old_build: bool


def authenticate(world: World, request: Request) -> Caller:
    """Return who calls; raises Refusal.

    Only `Authorization: Bearer <live access token>` counts: cookies, API keys and
    refresh tokens do not (§2).
    """
    account = world.accounts.use(request.bearer, "access")
    if world.knobs.region not in (None, account.region):
        raise unauthenticated()
    if world.knobs.check_identity_headers:
        _check_identity(account, request)
    return Caller(account, is_old_build(request.headers.get("x-msh-version")))


def check_protocol(request: Request, content_type: str) -> None:
    """Raise Refusal unless content type and protocol version are as §3 says."""
    if request.content_type != content_type:
        text = f"unsupported media type {request.content_type!r}"
        raise Refusal(ConnectError("invalid_argument", text, http=415))
    if request.headers.get("connect-protocol-version") != "1":
        raise Refusal(
            ConnectError("invalid_argument", "missing Connect-Protocol-Version: 1")
        )


def identify(world: World, request: Request) -> Identity:
    """Return account and kind of token for the log, whatever their worth."""
    token, kind = request.bearer, "unknown"
    if token is None:
        token, kind = refresh_token(request), "unknown"
    if token is None:
        return Identity(None, "cookie" if "cookie" in request.headers else None)
    issued = world.accounts.find(token)
    if issued is not None:
        return Identity(issued.account.name, issued.kind)
    return Identity(None, "api-key" if token.startswith("sk-") else kind)


def refresh_token(request: Request) -> str | None:
    """Return the refresh token of a RefreshToken body, in either spelling (§2.1)."""
    if not request.path.endswith("/RefreshToken"):
        return None
    try:
        body = request.json()
    except ValueError:
        return None
    if not isinstance(body, dict):
        return None
    token = body.get("refresh_token", body.get("refreshToken"))
    return token if isinstance(token, str) else None


def locale(request: Request) -> str:
    """Return the language of error texts."""
    return request.headers.get("x-language", "en-US")


def snake(value: Any) -> Any:
    """Return a JSON value with every key in snake_case; both spellings count (§4)."""
    if isinstance(value, Mapping):
        return {
            re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", key).lower(): snake(item)
            for key, item in value.items()
        }
    return [snake(item) for item in value] if isinstance(value, list) else value


def _check_identity(account: Account, request: Request) -> None:
    expected = {
        "x-msh-device-id": account.device_id,
        "x-msh-session-id": account.session_id,
        "x-traffic-id": account.user_id,
    }
    for name, value in expected.items():
        if request.headers.get(name, value) != value:
            raise invalid(name, "does not match the token's claim")
