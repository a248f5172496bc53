"""How the legacy wire says no, as errors of ours (legacy sheet §6)."""

import re
from collections.abc import Mapping
from typing import Any

from kimi_proxy.errors import (
    AccountBusy,
    ContentRefused,
    ContextTooLong,
    FileLost,
    GatewayError,
    ModelNotFound,
    TokenRejected,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRateLimited,
    UpstreamUnsupported,
)
from kimi_proxy.refusal import quoted

_Row = tuple[type[GatewayError], str]
_TOKEN: _Row = (TokenRejected, "Kimi refuses the token")
# `openai.completion.stream` stands for a failed generation and for a moderated one
# alike. It is told as the latter: were it repeated, one account after the other would
# be sent a text that the service objects to.
_BY_TYPE: Mapping[str, _Row] = {
    "auth.token.invalid": _TOKEN,
    "chat.user_stream_pushing": (
        AccountBusy,
        "this Kimi account is writing another answer",
    ),
    "chat.forbidden": (ContentRefused, "Kimi has blocked the conversation"),
    "openai.completion.stream": (
        ContentRefused,
        "Kimi stopped the answer: moderated, or impossible to generate",
    ),
    "openai.completion.token_length_too_long": (
        ContextTooLong,
        "the prompt is too long for Kimi",
    ),
}
# These have no known type; the service's own words are all there is.
_BY_TEXT: Mapping[str, _Row] = {
    "kimi+ not found": (ModelNotFound, "Kimi knows no agent of this id"),
    "chat not found": (UpstreamNotFound, "Kimi knows no chat of this id"),
    "file not found": (FileLost, "Kimi does not know an uploaded file"),
    "file is not parsed": (FileLost, "Kimi has not read an uploaded file"),
}
_BY_STATUS: Mapping[int, _Row] = {
    401: _TOKEN,
    403: (UpstreamForbidden, "Kimi does not allow this to the account"),
    404: (UpstreamNotFound, "Kimi found nothing under this id"),
    413: (ContextTooLong, "the prompt is too long for Kimi"),
    429: (UpstreamRateLimited, "Kimi limits the rate of this account"),
}
_NO_SUCH_CALL = frozenset({404, 405, 501})
_BUSY_SECONDS = 3.0  # the sheet advises 1 to 5
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,80}")


def refusal(
    status: int, document: Mapping[str, Any] | None, retry_after: float | None = None
) -> GatewayError:
    """The error that a refused call or an `error` event means.

    `document` holds `error_type` and `message` as far as given; None when the answer
    was no JSON object. The result quotes the service without anything token-like.
    """
    if document is None and status in _NO_SUCH_CALL:
        text = f"Kimi has no such call any more (status {status})"
        return UpstreamUnsupported(text, upstream_code=f"http_{status}")
    facts = document or {}
    error_type, message = facts.get("error_type"), facts.get("message")
    known = _BY_TYPE.get(str(error_type))
    words = None if known else _known_words(message)
    if words is not None:
        known = _BY_TEXT[words]
    kind, text = known or _BY_STATUS.get(status) or _unknown(status)
    if kind is AccountBusy and retry_after is None:
        retry_after = _BUSY_SECONDS
    return kind(
        text + _quoted(message),
        param="model" if kind is ModelNotFound else None,
        retry_after=retry_after,
        upstream_code=_code(error_type) or words or f"http_{status}",
    )


def _known_words(message: object) -> str | None:
    said = str(message).casefold()
    return next((words for words in _BY_TEXT if words in said), None)


def _unknown(status: int) -> _Row:
    return UpstreamFailed, f"Kimi failed (status {status})"


def _code(error_type: object) -> str | None:
    """The service's own word for it, unless it could hold anything else."""
    if not isinstance(error_type, str) or not _CODE.fullmatch(error_type):
        return None
    return error_type if quoted(error_type) == error_type else None


def _quoted(message: object) -> str:
    if not isinstance(message, str) or not message.strip():
        return ""
    return f": {quoted(message)}"
