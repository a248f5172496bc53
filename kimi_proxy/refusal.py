"""What refusals have in common on any wire: when to come back, and safe words."""

import math
import re
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

_LONGEST = 300
# JWTs, keys, and any long run of characters without a space that could be one.
_SECRET_SHAPED = re.compile(
    r"eyJ[\w.-]*|(?i:bearer)\s+\S+|\b(?:sk|kp)-[\w-]{4,}|[A-Za-z0-9_+/=.~-]{40,}"
)


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After`; None if not told.

    Understands seconds, fractions of them, and an HTTP date. `now` is epoch seconds;
    `headers` must not mind the case of names.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or not told:
        return seconds
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def quoted(text: str) -> str:
    """An upstream's words, fit to be repeated: one line, bounded, nothing secret.

    Some upstreams echo the token they refuse.
    """
    line = _SECRET_SHAPED.sub("[redacted]", " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
