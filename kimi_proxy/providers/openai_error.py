"""What a refusal of an OpenAI-compatible upstream means."""

from typing import Any

from kimi_proxy import refusal
from kimi_proxy.errors import (
    AccountExhausted,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    TokenDead,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnsupported,
)

_BY_CODE: dict[str, type[GatewayError]] = {
    "insufficient_quota": AccountExhausted,
    "exceeded_current_quota_error": AccountExhausted,
    "context_length_exceeded": ContextTooLong,
    "content_filter": ContentRefused,
    "rate_limit_reached_error": UpstreamRateLimited,
    "engine_overloaded_error": UpstreamOverloaded,
}
_BY_STATUS: dict[int, type[GatewayError]] = {
    400: UpstreamRejected,
    401: TokenDead,
    402: AccountExhausted,
    403: UpstreamForbidden,
    404: UpstreamNotFound,
    413: UpstreamRejected,
    422: UpstreamRejected,
    429: UpstreamRateLimited,
    501: UpstreamUnsupported,
    529: UpstreamOverloaded,
}


def error_of(status: int, document: Any, retry_after: float | None) -> GatewayError:
    """What a refusal means, by its code first and its status second."""
    error = document.get("error") if isinstance(document, dict) else None
    facts = error if isinstance(error, dict) else {"message": error}
    words = (str(facts.get(key)) for key in ("code", "type"))
    known = next((_BY_CODE[word] for word in words if word in _BY_CODE), None)
    kind = known or _BY_STATUS.get(status, UpstreamFailed)
    told = facts.get("message")
    message = refusal.quoted(told) if isinstance(told, str) else f"status {status}"
    return kind(
        f"the upstream refused: {message}",
        retry_after=retry_after,
        upstream_code=str(facts.get("code") or status),
    )
