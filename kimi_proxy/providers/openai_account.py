"""What a key's account tells of itself, in one cheap call (Moonshot sheet §4, §7)."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Literal

from kimi_proxy.errors import AccountExhausted
from kimi_proxy.providers.openai_answer import object_of

Account = Literal["none", "moonshot", "kimi-code"]
# Without a call of its own any will do that wants a key.
PATHS: Mapping[str, str] = {
    "none": "/models",
    "moonshot": "/users/me/balance",
    "kimi-code": "/usages",
}


def read(account: Account, body: bytes, now: float) -> None:
    """Raise `AccountExhausted` when nothing may be spent; `now` is epoch seconds."""
    _READERS[account](object_of(body), now)


def _nothing(document: Mapping[str, Any], now: float) -> None:
    return


def _balance(document: Mapping[str, Any], now: float) -> None:
    """At 0 and below, inference is refused."""
    left = _mapping(document, "data").get("available_balance")
    if isinstance(left, int | float) and left <= 0:
        raise AccountExhausted(f"the account has no balance left ({left:g})")


def _usages(document: Mapping[str, Any], now: float) -> None:
    """Any of the windows may be used up; what is missing tells nothing."""
    for window in _windows(document):
        limit, used = _number(window.get("limit")), _number(window.get("used"))
        left = _number(window.get("remaining"))
        if left is None and limit is not None and used is not None:
            left = limit - used
        if left is not None and left <= 0:
            wait = _until(window.get("resetTime"), now)
            raise AccountExhausted(
                "the plan's usage limit is reached", retry_after=wait
            )


def _windows(document: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield _mapping(document, "usage")
    limits = document.get("limits")
    for limit in limits if isinstance(limits, list) else ():
        if isinstance(limit, Mapping):
            yield _mapping(limit, "detail")


def _number(value: Any) -> float | None:
    """Numbers are texts here."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _until(value: Any, now: float) -> float | None:
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - now) if moment.tzinfo else None


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


_READERS: Mapping[str, Callable[[Mapping[str, Any], float], None]] = {
    "none": _nothing,
    "moonshot": _balance,
    "kimi-code": _usages,
}
