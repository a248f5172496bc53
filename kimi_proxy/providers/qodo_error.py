"""How Qodo says no, as errors of ours (qodo sheet §1 and §2).

Bodies for limits and quotas, and errors in the middle of an answer, are known to nobody
(§8): the status counts, and whatever looks like an error is one.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from kimi_proxy.errors import (
    AccountExhausted,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    TokenDead,
    TokenRejected,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnsupported,
)
from kimi_proxy.refusal import quoted

_Kind = type[GatewayError]
_BY_STATUS: Mapping[int, _Kind] = {
    400: UpstreamRejected,
    402: AccountExhausted,
    403: UpstreamForbidden,
    404: UpstreamNotFound,
    405: UpstreamUnsupported,
    413: ContextTooLong,
    422: UpstreamRejected,
    429: UpstreamRateLimited,
    501: UpstreamUnsupported,
    503: UpstreamOverloaded,
}
# Said of a bad token, and, by what the seed saw, of a prompt in Chinese as well.
_NEEDS_BEARER = "bearer authentication is needed"
_SESSION_EXISTS = "session id"
# General Firebase knowledge: after these only a new log-in helps.
_DEAD = frozenset(
    {
        "TOKEN_EXPIRED",
        "INVALID_REFRESH_TOKEN",
        "MISSING_REFRESH_TOKEN",
        "USER_DISABLED",
        "USER_NOT_FOUND",
        "PROJECT_NUMBER_MISMATCH",
    }
)
_BAD_WEB_KEY = "api key not valid"
_TOO_MANY = "TOO_MANY_ATTEMPTS_TRY_LATER"


def refusal(
    status: int,
    body: bytes,
    retry_after: float | None,
    *,
    renewable: bool,
    suspect_prompt: bool,
) -> GatewayError:
    """What a refused call means.

    `renewable`: the token is one of an hour, to be renewed; else nothing helps an API
    key that is refused. `suspect_prompt`: the token is known to be good and the prompt
    is one of those that are refused in the same words as a bad token.
    """
    said = words(body)
    if _NEEDS_BEARER in said.casefold():
        if suspect_prompt:
            return ContentRefused(
                "Qodo takes the token but not this prompt: it answers prompts in"
                f" Chinese with {quoted(said)!r}",
                upstream_code=f"http_{status}",
            )
        status = 401
    kind = _kind(status, renewable=renewable)
    return kind(
        f"Qodo refused (status {status}){_quote(said)}",
        retry_after=retry_after,
        upstream_code=f"http_{status}",
    )


def _kind(status: int, *, renewable: bool) -> _Kind:
    if renewable and status in (401, 403):  # sheet §2: either is about the token
        return TokenRejected
    if status == 401:
        return TokenDead
    return _BY_STATUS.get(status, UpstreamFailed)


def in_line(line: Mapping[str, Any]) -> bytes | None:
    """The error that a line of an answer carries, as a body; None if it is none."""
    is_error = line.get("type") == "error" or line.get("error")
    told = line.get("detail") and "data" not in line
    return orjson.dumps(line) if is_error or told else None


def session_exists(status: int, body: bytes) -> bool:
    """Whether a task could not start since its session is known already (§4.4)."""
    return status == 500 and _SESSION_EXISTS in words(body).casefold()


def renewal_refused(
    status: int, body: bytes, retry_after: float | None
) -> GatewayError:
    """What Firebase's refusal of a refresh token means (§1)."""
    said = words(body)
    code = said.partition(" ")[0]
    text = f"Firebase refused (status {status}){_quote(said)}"
    kind: _Kind = UpstreamFailed
    if status == 400 and (code in _DEAD or _BAD_WEB_KEY in said.casefold()):
        kind = TokenDead
    elif status == 429 or code == _TOO_MANY:
        kind = UpstreamRateLimited
    elif status in (400, 403, 404):
        kind = UpstreamRejected
    return kind(text, retry_after=retry_after, upstream_code=f"http_{status}")


def words(body: bytes) -> str:
    """What the body says, from wherever in it; empty when it says nothing."""
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError:
        return body[:2000].decode("utf-8", "replace").strip()
    for _ in range(3):
        if not isinstance(found, dict):
            break
        keys = ("detail", "error", "message", "data", "content")
        found = next((found[key] for key in keys if found.get(key)), "")
    return found if isinstance(found, str) else ""


def _quote(said: str) -> str:
    return f": {quoted(said)}" if said else ""
