"""How the OpenAI dialect says what went wrong (clients facts §3.1, §3.2)."""

import math
from typing import Any

from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    ContextTooLong,
    GatewayError,
    PoolEmpty,
    TokenRejected,
    UpstreamMoved,
    UpstreamUnsupported,
)

_HOPELESS = (
    AccountExhausted,
    AccountSuspended,
    PoolEmpty,
    TokenRejected,
    UpstreamMoved,
    UpstreamUnsupported,
)
_TOO_LONG = "prompt is too long"
_LONGEST_RETRY = 60.0  # openai 1.x ignores a longer Retry-After and hammers on


def error_body(error: GatewayError) -> dict[str, Any]:
    """The error object; the same one goes into a stream that fails after its start."""
    return {
        "error": {
            "message": message_of(error),
            "type": error.type,
            "param": error.param,
            "code": error.shown_code or error.code,
        }
    }


def message_of(error: GatewayError) -> str:
    """What went wrong, in words.

    LangChain and others go by the words, not by the code, to know that a history has to
    be made shorter; Anthropic's dialect has them, too.
    """
    if isinstance(error, ContextTooLong) and _TOO_LONG not in error.message:
        return f"{_TOO_LONG}: {error.told}"
    return error.told


def retry_headers(error: GatewayError) -> dict[str, str]:
    """When to come back, and whether at all.

    SDKs retry 408, 409, 429 and 5xx by themselves. Where the gateway spent its own
    tries and waiting cannot help, they are told not to.
    """
    headers = {}
    pause = error.retry_after
    if pause is not None and math.isfinite(pause):
        # Rounded up: whoever comes back too early is refused again.
        headers["retry-after"] = str(max(1, math.ceil(pause)))
        headers["retry-after-ms"] = str(max(1, math.ceil(pause * 1000)))
    too_long = pause is not None and pause > _LONGEST_RETRY
    if too_long or isinstance(error, _HOPELESS):
        headers["x-should-retry"] = "false"
    return headers
