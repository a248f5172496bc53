"""Logging: one JSON object a line on standard error, never a secret in it.

Redaction sits in the formatter, the last place every record passes: registered secrets
and everything shaped like a token are masked, in messages and tracebacks alike, before
they become JSON: escapes would hide a secret, and a mask could break them.
"""

import logging
import re
import sys
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

from kimi_proxy.telemetry import RefreshEnded, RequestEnded

logger = logging.getLogger("kimi_proxy")

_MASK = "[redacted]"
# Each way begins with one plain letter: by that the matcher skips all else, four times
# as fast.
_TOKEN_SHAPED = re.compile(
    r"eyJ[\w-]{6,}(?:\.[\w-]+){0,2}|sk-[\w-]{12,}|kp-[\w-]{12,}"
    r"|b(?i:earer)\s+[^\s\"',]+|B(?i:earer)\s+[^\s\"',]+"
)

# What orjson would write in a way of its own is left to `Redactor.deeply`.
_PLAIN_ONLY = (
    orjson.OPT_PASSTHROUGH_DATACLASS
    | orjson.OPT_PASSTHROUGH_DATETIME
    | orjson.OPT_PASSTHROUGH_SUBCLASS
)


class Redactor:
    """Masks what looks like a token, and every secret it was told of."""

    def __init__(self) -> None:
        self._known: re.Pattern[str] | None = None

    def learn(self, secrets: Iterable[str]) -> None:
        """Mask these too; shorter than eight characters is no secret but noise."""
        words = sorted({s for s in secrets if len(s) >= 8}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, words))) if words else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(_MASK, text)
        return _TOKEN_SHAPED.sub(_MASK, text)

    def finds_any(self, text: str) -> bool:
        """Whether anything in the text would be masked."""
        known = self._known is not None and self._known.search(text)
        return bool(known or _TOKEN_SHAPED.search(text))

    def deeply(self, value: Any) -> Any:
        """The same for a value that is to be JSON; what is not, is shown as text."""
        match value:
            case None | bool() | float():
                return value
            case int():  # JSON as orjson writes it ends at 64 bits
                return value if -(2**63) <= value < 2**64 else str(value)
            case dict():
                return {self(str(k)): self.deeply(v) for k, v in value.items()}
            case list() | tuple():
                return [self.deeply(item) for item in value]
            case _:
                # A lone surrogate cannot be written: shown as an escape.
                text = str(value).encode("utf-8", "backslashreplace").decode()
                return self(text)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; `extra={"fields": {...}}` adds its own keys."""

    def __init__(self, redact: Redactor) -> None:
        super().__init__()
        self._redact = redact

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return self._clean(line) or orjson.dumps(self._redact.deeply(line)).decode()

    def _clean(self, line: dict[str, Any]) -> str | None:
        """The line as JSON if there is nothing to mask, as almost always.

        One look at the whole costs a tenth of one at each string. Without an escape in
        it every string stands there as it is, and no pattern asks what is around it.
        """
        try:
            text = orjson.dumps(line, option=_PLAIN_ONLY).decode()
        except TypeError:
            return None  # some value is not JSON
        return None if "\\" in text or self._redact.finds_any(text) else text


class _StderrHandler(logging.StreamHandler[TextIO]):
    """Ours, to be known again by the next `configure`."""


def configure(level: str, redact: Redactor) -> None:
    """Send this process's logs to standard error; may be called again.

    The gateway's own from `level` on, those of libraries from warnings on. gunicorn
    keeps its own handlers and levels: what it says in a worker may quote a request.
    """
    formatter = JsonFormatter(redact)
    handler = _StderrHandler(sys.stderr)
    handler.setFormatter(formatter)
    for log in (logging.getLogger(), logger):
        others = [h for h in log.handlers if not isinstance(h, _StderrHandler)]
        log.handlers[:] = [*others, handler]
    logging.getLogger().setLevel(logging.WARNING)
    logger.setLevel(level.upper())
    logger.propagate = False
    for theirs in logging.getLogger("gunicorn.error").handlers:
        theirs.setFormatter(formatter)


class RequestLog:
    """Writes one line per request and per token renewal."""

    def request_started(self) -> None:
        """Nothing to say before it ended."""

    def request_ended(self, details: RequestEnded) -> None:
        if not logger.isEnabledFor(logging.INFO):
            return
        fields: dict[str, Any] = {
            "id": details.id,
            "route": details.route,
            "status": details.status,
            "outcome": details.outcome,
            "key": details.key,
            "model": details.model,
            "account": details.attempts[-1].account if details.attempts else None,
            "attempts": [
                f"{a.provider}/{a.account} {a.outcome} {a.seconds:.3f}"
                for a in details.attempts
            ],
            "stream": details.streamed,
            "first_event_ms": _ms(details.first_event),
            "ms": _ms(details.seconds),
            "bytes_in": details.bytes_in,
            "bytes_out": details.bytes_out,
            "detail": details.detail,
        }
        logger.info("request", extra={"fields": fields})

    def refresh_ended(self, details: RefreshEnded) -> None:
        fields = {
            "provider": details.provider,
            "account": details.account,
            "outcome": details.outcome,
            "ms": _ms(details.seconds),
        }
        logger.info("token renewal", extra={"fields": fields})


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)
