"""API keys and Firebase pairs: who holds which (qodo sheet §1)."""

import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass

WEB_KEY = "made-up-web-api-key"  # the same for every user, as the real one is


@dataclass(slots=True)
class User:
    """One account at the service; `disabled` or `deleted` it renews no token."""

    name: str
    user_id: str
    disabled: bool = False
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """An issued token; `expires_at` is epoch seconds, None for never."""

    user: User
    kind: str
    expires_at: float | None = None


class RenewalRefused(Exception):
    """A refresh that is refused; its text is Firebase's word."""


class Credentials:
    """Every issued token; safe for threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._users: dict[str, User] = {}
        self._held: dict[str, Held] = {}
        self._numbers = itertools.count(1)

    def issue(self, name: str, kind: str, life: float | None = None) -> str:
        """Return a new token of a user: "key", "access" or "refresh"."""
        prefix = {"key": "sk-made-up", "access": "eyJmade-up", "refresh": "AMf-made-up"}
        expires = None if life is None else self._clock() + life
        with self._lock:
            number = next(self._numbers)
            user = self._users.setdefault(name, User(name, f"user-{name}"))
            token = f"{prefix[kind]}-{name}-{number:06d}"
            self._held[token] = Held(user, kind, expires)
        return token

    def user(self, name: str) -> User:
        """Return a user; raises KeyError for an unknown name."""
        return self._users[name]

    def revoke(self, name: str, *kinds: str) -> None:
        """Forget a user's tokens of these kinds."""
        with self._lock:
            for token, held in list(self._held.items()):
                if held.user.name == name and held.kind in kinds:
                    del self._held[token]

    def holder(self, token: str | None) -> Held | None:
        """Return what is known of a token, expired or not."""
        return self._held.get(token or "")

    def live(self, token: str | None, kind: str) -> User | None:
        """Return whose live token of this kind it is."""
        held = self.holder(token)
        if held is None or held.kind != kind:
            return None
        over = held.expires_at is not None and held.expires_at <= self._clock()
        return None if over else held.user

    def renewing(self, web_key: str, refresh: str) -> User:
        """Return whose refresh token it is; raises RenewalRefused."""
        if web_key != WEB_KEY:
            raise RenewalRefused("API key not valid. Please pass a valid API key.")
        held = self.holder(refresh)
        if held is None or held.kind != "refresh":
            raise RenewalRefused("INVALID_REFRESH_TOKEN")
        if held.user.deleted:
            raise RenewalRefused("USER_NOT_FOUND")
        if held.user.disabled:
            raise RenewalRefused("USER_DISABLED")
        if held.expires_at is not None and held.expires_at <= self._clock():
            raise RenewalRefused("TOKEN_EXPIRED")
        return held.user
