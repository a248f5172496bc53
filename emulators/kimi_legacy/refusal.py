"""How the legacy service says no: the rows of the legacy sheet §6."""

from collections.abc import Mapping
from typing import Any

TOKEN_INVALID = "auth.token.invalid"
STREAM_PUSHING = "chat.user_stream_pushing"
FORBIDDEN = "chat.forbidden"
GENERATION_FAILED = "openai.completion.stream"
PROMPT_TOO_LONG = "openai.completion.token_length_too_long"

# Texts are made up, except that "chat not found" and "kimi+ not found" are what a
# client has to recognise: the sheet knows no error_type for these two.
MESSAGES: Mapping[str | None, str] = {
    TOKEN_INVALID: "the token is not valid, please login again",
    STREAM_PUSHING: "another answer of this user is still being written",
    FORBIDDEN: "this conversation is blocked",
    GENERATION_FAILED: "the generation failed",
    PROMPT_TOO_LONG: "the prompt is too long",
}


class Refused(Exception):
    """A request that gets an error document.

    `status` None leaves the HTTP status to the knobs. A `violation` is a request that
    no correct client sends; the audit entry says so.
    """

    def __init__(
        self,
        message: str,
        *,
        error_type: str | None = None,
        status: int | None = None,
        violation: bool = False,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.error_type = error_type
        self.status = status
        self.violation = violation
        self.retry_after = retry_after

    def document(self) -> dict[str, Any]:
        """Return the error document (sheet §6, first carrier)."""
        document = {"message": self.message}
        if self.error_type is not None:
            document = {"error_type": self.error_type, **document}
        return document

    def headers(self) -> dict[str, str]:
        """Return `Retry-After` where one is given."""
        if self.retry_after is None:
            return {}
        return {"Retry-After": str(self.retry_after)}


def refusal(error_type: str, status: int | None = None) -> Refused:
    """Return the refusal of one known error type."""
    return Refused(MESSAGES[error_type], error_type=error_type, status=status)


def chat_not_found(status: int | None = None) -> Refused:
    """Return what a deleted chat, or one of another account, gives."""
    return Refused("chat not found", status=status)


def agent_not_found() -> Refused:
    """Return what an unknown `kimiplus_id` gives."""
    return Refused("kimi+ not found")


def bad_request(message: str) -> Refused:
    """Return the refusal of a request that breaks the protocol."""
    return Refused(message, error_type="bad_request", status=400, violation=True)
