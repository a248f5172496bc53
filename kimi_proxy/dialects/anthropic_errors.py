"""How the Messages dialect says what went wrong (clients facts §3.6)."""

from typing import Any

from kimi_proxy.errors import ContextTooLong, GatewayError

_OVERLOADED = "overloaded_error"
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    499: "invalid_request_error",
    504: "timeout_error",
}


def error_body(error: GatewayError, request_id: str) -> dict[str, Any]:
    """The error object; the same one goes into a stream that fails after its start.

    `details.error_code` is the code that OpenAI's dialect has as `code`.
    """
    told: dict[str, Any] = {"type": type_of(error), "message": _message(error)}
    code = error.shown_code or error.code
    if code is not None:
        told["details"] = {"error_code": code}
    return {"type": "error", "error": told, "request_id": request_id}


def type_of(error: GatewayError) -> str:
    """One of Anthropic's types."""
    if error.type == _OVERLOADED:
        return _OVERLOADED
    return _TYPES.get(error.status, "api_error")


def _message(error: GatewayError) -> str:
    if isinstance(error, ContextTooLong):
        # By these words Claude Code knows that it has to make its history shorter.
        return f"prompt is too long: {error.told}"
    return error.told
