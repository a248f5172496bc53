"""What refusals have in common on any wire: when to come back, and safe words."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime

from kimi_proxy.errors import UpstreamBlocked, UpstreamError, UpstreamFailed

# Any server or proxy means the same by these, whatever page it makes of them: no such
# call, or one that is refused for the token, its size or its rate.
_PLAIN = frozenset({401, 404, 405, 413, 429, 501})
# The page of a proxy in front of it; 520 to 530 are Cloudflare's for a dead origin.
_PROXY_PAGE = frozenset({500, 502, 504, *range(520, 531)})
_LONGEST = 300
_SEARCHED = 1000
_LONGEST_WAIT = 31 * 86_400.0
# JWTs, keys, and any long run of characters without a space that could be one.
_SECRET_SHAPED = re.compile(
    r"eyJ[\w.-]*|(?i:bearer)\s+\S+|\b(?:sk|kp)-[\w*-]{4,}|[A-Za-z0-9_+/=.~-]{40,}"
)
# Ids of accounts and keys that errors name (Moonshot sheet §5; OpenAI's org-, proj_).
_ID_SHAPED = re.compile(
    r"""(?ix)
    (?<=account\ )\S*<[^<>]*> | (?<=account\ )(?:org|ak|acct|user)[-_]\w+
    | <(?:org|ak|proj|user|key)[-_][^<>]*>
    | \b(?:org|ak|proj|user|acct|team)[-_](?=\w*\d)\w{4,}
    | (?<=organization\ )org-\w+ | (?<=project\ )proj_\w+
    | (?<=team\ )[0-9a-f]{8}-[0-9a-f-]{20,}
    | \S*\*{3,}\S*
    """
)
# Where machines are that nobody should know of: numbers, and names of no public zone.
# A gateway among the upstreams says whom it could not reach.
_PLACE_SHAPED = re.compile(
    r"""(?ix)
    \bhttps?://
      (?: [\w-]+ | [\w.-]+\.(?:local|internal|lan|svc|home|intranet) | [\d.]+
        | \[[\da-f:.]+\] )
      (?=[:/?\s"'<>)\],;]|$) (?: :\d+ )? (?: [/?] (?: [^\s"'<>)]* [^\s"'<>).,:;] )? )?
    | \[[\da-f]*:[\da-f:.]+\] (?: :\d+ )?
    | (?<![\w.])\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?(?![\w.]*\w)
    | \blocalhost:\d+
    """
)
_PAIRS = tuple(
    (f"x-ratelimit-remaining{of}", f"x-ratelimit-reset{of}")
    for of in ("", "-requests", "-tokens")
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|[dhms])")
_SECONDS = {"d": 86_400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_TOLD = re.compile(
    r"(?i)\b(?:again|retry|wait)\b[^.\d]{0,30}?(?P<wait>\d[\d.]*\s*(?:ms\b|milli"
    r"|d\b|days?\b|h\b|hours?\b|m\b|min|s\b|sec|\d*[hm]\d)[\w.]*)"
)
_EPOCH, _EPOCH_MS = 1e9, 1e12


def page(status: int, who: str = "the upstream") -> UpstreamError | None:
    """What a page for browsers means in place of data; None: what its status says."""
    if status in _PLAIN:
        return None
    if status in _PROXY_PAGE:
        return UpstreamFailed(f"{who} is failing (status {status})")
    return UpstreamBlocked(
        f"{who} answered with a web page (status {status}) instead of data:"
        " it may be asking for a browser check"
    )


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, from `retry-after-ms` or `Retry-After`; None if not told.

    Understands seconds, fractions of them, and an HTTP date. `now` is epoch seconds;
    `headers` must not mind the case of names.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return _bounded(milliseconds / 1000)
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or not told:
        return _bounded(seconds)
    try:
        return _bounded(parsedate_to_datetime(told).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def reset_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds until the limits that are used up start anew; None if none is told.

    From `x-ratelimit-reset`, `-requests` and `-tokens`: seconds, durations as Go writes
    them (`1m26.4s`), epoch seconds or milliseconds, or a date. One whose `-remaining`
    is not used up says nothing.
    """
    waits = [
        wait
        for remaining, reset in _PAIRS
        if not _number(headers.get(remaining))
        and (wait := _until(headers.get(reset, ""), now)) is not None
    ]
    return max(waits, default=None)


def told_wait(text: str) -> float | None:
    """Seconds that an error's text says to wait, as in "try again in 1m26.4s"."""
    found = _TOLD.search(text)
    return None if found is None else _duration(_shortened(found["wait"]))


def _until(told: str, now: float) -> float | None:
    told = told.strip()
    number = _number(told)
    if number is not None:
        if number >= _EPOCH:
            number = (number / 1000 if number >= _EPOCH_MS else number) - now
        return _bounded(number)
    if (duration := _duration(told)) is not None:
        return duration
    try:
        moment = datetime.fromisoformat(told)
        return _bounded(moment.timestamp() - now) if moment.tzinfo else None
    except (ValueError, OverflowError):
        return None


def _shortened(words: str) -> str:
    """`5 minutes` as `5m`: the units by their first letter."""
    words = re.sub(r"(?i)\s*milli\w*", "ms", words)
    words = re.sub(r"(?i)\s*(d|h|m(?!s)|s)[a-z]*", lambda m: m[1].lower(), words)
    return words.replace(" ", "").strip(".")


def _duration(text: str) -> float | None:
    """Seconds of a duration as Go writes it; None if it is none."""
    parts = _DURATION.findall(text)
    if not parts or "".join(a + b for a, b in parts) != text:
        return None
    return _bounded(sum(float(amount) * _SECONDS[unit] for amount, unit in parts))


def _number(text: str | None) -> float | None:
    try:
        number = float(text or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(max(0.0, seconds), _LONGEST_WAIT)


def _beginning(text: str) -> str:
    """As much as may be told, and as is cheap to search; no word is cut."""
    if len(text) <= _SEARCHED:
        return text
    return text[:_SEARCHED].rpartition(" ")[0] or text[:_SEARCHED]


def quoted(text: str) -> str:
    """An upstream's words, fit to be repeated: one line, bounded, nothing secret.

    Some upstreams echo the token they refuse, or name whose it is, or where they are.
    """
    line = _PLACE_SHAPED.sub("[redacted]", " ".join(_beginning(text).split()))
    line = _SECRET_SHAPED.sub("[redacted]", line)
    line = _ID_SHAPED.sub("[redacted]", line)
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
