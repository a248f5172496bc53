"""Both ways to renew tokens (connect sheet §2.1, §2.2)."""

from emulators.exchange import Exchange
from emulators.kimi_connect.account import TokenPair
from emulators.kimi_connect.caller import locale, refresh_token
from emulators.kimi_connect.error import ConnectError, Refusal
from emulators.kimi_connect.world import World


def refresh_new(world: World, exchange: Exchange) -> None:
    """`POST …AuthService/RefreshToken`: the token in the body, no Authorization."""
    request = exchange.request
    complaint = ""
    if "authorization" in request.headers:
        complaint = "Authorization is not allowed here"
    elif request.headers.get("connect-protocol-version") != "1":
        complaint = "missing Connect-Protocol-Version: 1"
    elif refresh_token(request) is None:
        complaint = "refresh_token is required"
    if complaint or request.content_type != "application/json":
        error = ConnectError("invalid_argument", complaint or "unsupported media type")
        exchange.json(error.body(), 400 if complaint else 415)
        return
    try:
        pair = _rotated(world, refresh_token(request))
    except Refusal as refusal:
        exchange.json(refusal.error.body(locale(request)), 401)
        return
    if not _lost(exchange):
        exchange.json(_worded(pair, world.knobs.rotation_wrap))


def refresh_old(world: World, exchange: Exchange) -> None:
    """`GET /api/auth/token/refresh`: the refresh token as bearer."""
    try:
        pair = _rotated(world, exchange.request.bearer)
    except Refusal:
        text = "Your session has expired. Please login again."
        error = {"error_type": "auth.token.invalid", "message": text}
        exchange.json(error, 401)
        return
    if not _lost(exchange):
        exchange.json(_worded(pair, "snake"))


def _rotated(world: World, token: str | None) -> TokenPair:
    knobs = world.knobs
    return world.accounts.rotate(
        token, strict=knobs.strict_rotation, region=knobs.region
    )


def _lost(exchange: Exchange) -> bool:
    """The fault `refresh_lost`: rotated, yet the answer never arrives."""
    if exchange.fault("refresh_lost") is None:
        return False
    exchange.cut()
    return True


def _worded(pair: TokenPair, wrap: str) -> dict[str, object]:
    if wrap == "snake":
        return {"access_token": pair.access, "refresh_token": pair.refresh}
    camel = {"accessToken": pair.access, "refreshToken": pair.refresh}
    return {"data": camel} if wrap == "data" else dict(camel)
