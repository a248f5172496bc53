"""The device log-in of Kimi Code's official client (Moonshot sheet §7)."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from emulators.server import Exchange

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
ACCESS_LIFE = 900
CODE_LIFE, INTERVAL = 600, 5


@dataclass(slots=True)
class Grant:
    """One log-in that a user may approve or deny; times are epoch seconds."""

    device_code: str
    user_code: str
    expires_at: float
    verdict: str = "authorization_pending"
    asked_at: float = 0.0


class DeviceFlow:
    """Grants and refresh tokens; a refresh token works once, safe for threads.

    `issue` makes an access token from a number and its life in seconds.
    """

    def __init__(
        self, issue: Callable[[int, float], str], clock: Callable[[], float]
    ) -> None:
        self._issue = issue
        self._clock = clock
        self._grants: dict[str, Grant] = {}
        self._refresh: set[str] = set()
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def approve(self, user_code: str) -> None:
        """Let the user of a code in; raises KeyError."""
        self._by_user_code(user_code).verdict = "approved"

    def deny(self, user_code: str) -> None:
        """Turn the user of a code away; raises KeyError."""
        self._by_user_code(user_code).verdict = "access_denied"

    def revoke(self) -> None:
        """Let no refresh token work any more."""
        self._refresh.clear()

    def authorize(self, exchange: Exchange) -> None:
        """Begin a log-in."""
        form = _form(exchange)
        if not form.get("client_id"):
            exchange.json({"error": "invalid_client"}, 400)
            return
        number = next(self._numbers)
        code = f"MADE-{number:04d}"
        grant = Grant(f"made-up-device-code-{number}", code, self._clock() + CODE_LIFE)
        self._grants[grant.device_code] = grant
        place = "https://www.kimi.com/code/authorize_device"
        exchange.json(
            {
                "user_code": code,
                "device_code": grant.device_code,
                "verification_uri": place,
                "verification_uri_complete": f"{place}?user_code={code}",
                "expires_in": CODE_LIFE,
                "interval": INTERVAL,
            }
        )

    def token(self, exchange: Exchange) -> None:
        """Return tokens for a device code or a refresh token."""
        form = _form(exchange)
        with self._lock:
            if form.get("grant_type") == DEVICE_GRANT:
                trouble = self._claim(form.get("device_code", ""))
            elif form.get("grant_type") == "refresh_token":
                trouble = self._spend(form.get("refresh_token", ""))
            else:
                trouble = "unsupported_grant_type"
            if trouble:
                exchange.json({"error": trouble}, 400)
                return
            exchange.json(self._tokens())

    def _claim(self, device_code: str) -> str:
        """Return why a device code gives no tokens yet, or nothing and use it up."""
        grant, now = self._grants.get(device_code), self._clock()
        if grant is None or grant.expires_at <= now:
            return "expired_token"
        early = now - grant.asked_at < INTERVAL
        grant.asked_at = now
        if grant.verdict != "approved":
            pending = grant.verdict == "authorization_pending"
            return "slow_down" if early and pending else grant.verdict
        del self._grants[device_code]
        return ""

    def _spend(self, refresh_token: str) -> str:
        if refresh_token not in self._refresh:
            return "invalid_grant"
        self._refresh.remove(refresh_token)
        return ""

    def _tokens(self) -> dict[str, Any]:
        number = next(self._numbers)
        refresh = f"made-up-refresh-token-{number}"
        self._refresh.add(refresh)
        return {
            "access_token": self._issue(number, ACCESS_LIFE),
            "refresh_token": refresh,
            "expires_in": ACCESS_LIFE,
            "scope": "kimi-code",
            "token_type": "Bearer",
        }

    def _by_user_code(self, user_code: str) -> Grant:
        for grant in self._grants.values():
            if grant.user_code == user_code:
                return grant
        raise KeyError(user_code)


def _form(exchange: Exchange) -> dict[str, str]:
    """Return a form-encoded body; another content type has no fields."""
    request = exchange.request
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    return {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
