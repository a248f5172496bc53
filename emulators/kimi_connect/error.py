"""Connect errors as the service words them (connect sheet §8)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

STATUS_OF_CODE: Mapping[str, int] = {
    "invalid_argument": 400,
    "unauthenticated": 401,
    "permission_denied": 403,
    "not_found": 404,
    "already_exists": 409,
    "resource_exhausted": 429,
    "internal": 500,
    "unimplemented": 501,
    "unavailable": 503,
    "deadline_exceeded": 504,
}


@dataclass(frozen=True, slots=True)
class ConnectError:
    """One error object; `violations` maps a dotted field name to what is wrong.

    `localized` is the text of `debug.localizedMessage`, which may be the only text.
    `http` replaces the HTTP status that goes with the code.
    """

    code: str
    message: str = ""
    reason: str = ""
    localized: str = ""
    violations: tuple[tuple[str, str], ...] = ()
    http: int | None = None

    @property
    def status(self) -> int:
        """The HTTP status of a unary answer with this code."""
        return self.http or STATUS_OF_CODE.get(self.code, 500)

    def body(self, locale: str = "en-US") -> dict[str, Any]:
        """Return the JSON object; `details` only when there is something to detail."""
        debug: dict[str, Any] = {}
        if self.reason:
            debug["reason"] = self.reason
        if self.localized:
            debug["localizedMessage"] = {"locale": locale, "message": self.localized}
        if self.violations:
            debug["violations"] = [
                {"field": {"elements": _elements(name)}, "message": text}
                for name, text in self.violations
            ]
        value: dict[str, Any] = {"code": self.code, "message": self.message}
        if debug:
            value["details"] = [
                {"type": "kimi.emulator.v1.Detail", "value": "", "debug": debug}
            ]
        return value


class Refusal(Exception):
    """A request the service refuses; carries the error it answers with."""

    def __init__(self, error: ConnectError) -> None:
        super().__init__(f"{error.code} {error.reason}".strip())
        self.error = error


# The rows of §8 by short names that faults use.
ERRORS: Mapping[str, ConnectError] = {
    "unauthenticated": ConnectError(
        "unauthenticated", reason="REASON_INVALID_AUTH_TOKEN"
    ),
    "unauthenticated_plain": ConnectError("unauthenticated", "unauthenticated"),
    "session_in_progress": ConnectError(
        "resource_exhausted", "a chat session in progress, please try again later"
    ),
    "concurrency": ConnectError("resource_exhausted", "too many requests"),
    "overloaded_free": ConnectError(
        "resource_exhausted",
        reason="REASON_SERVER_OVERLOADED_FOR_FREE_USER",
        localized="Too many people are chatting with Kimi right now.",
    ),
    "overloaded": ConnectError(
        "resource_exhausted",
        reason="REASON_COMPLETION_OVERLOADED",
        localized="Kimi is overloaded at the moment.",
    ),
    "model_rate_limit": ConnectError(
        "resource_exhausted", "model rate limit", reason="MODEL_RATE_LIMIT"
    ),
    "invalid_argument": ConnectError(
        "invalid_argument",
        "validation error",
        violations=(("message.blocks", "value is required"),),
    ),
    "permission_denied": ConnectError("permission_denied", "not in your plan"),
    "not_found": ConnectError("not_found", "chat not found"),
    "unimplemented": ConnectError("unimplemented", "not implemented"),
    "unavailable": ConnectError("unavailable", "upstream connect error"),
    "deadline_exceeded": ConnectError("deadline_exceeded", "deadline exceeded"),
    "internal": ConnectError("internal", "internal error"),
}


def planned(params: Mapping[str, Any]) -> ConnectError:
    """Return the error a fault asks for.

    `error` names a row of `ERRORS`; `code`, `message`, `reason` and `localized`
    override its fields; `empty_message` moves the text to the localized message.
    """
    error = ERRORS[params.get("error", "unavailable")]
    fields = ("code", "message", "reason", "localized")
    error = replace(error, **{key: params[key] for key in fields if key in params})
    if params.get("empty_message"):
        text = error.localized or error.message
        return replace(error, message="", localized=text)
    return error


def invalid(field: str, text: str) -> Refusal:
    """Return the refusal of one field, by its dotted name."""
    return Refusal(
        ConnectError(
            "invalid_argument", "validation error", violations=((field, text),)
        )
    )


def missing(what: str) -> Refusal:
    """Return the refusal of an id nobody knows."""
    return Refusal(ConnectError("not_found", f"{what} not found"))


def denied(text: str) -> Refusal:
    """Return the refusal of something the account may not use."""
    return Refusal(ConnectError("permission_denied", text))


def unauthenticated() -> Refusal:
    """Return the refusal of a token (or of none)."""
    return Refusal(ERRORS["unauthenticated"])


def _elements(name: str) -> list[dict[str, str]]:
    return [{"fieldName": part} for part in name.split(".")]
