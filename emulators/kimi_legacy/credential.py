"""Made-up JWT pairs in the shape of the legacy sheet §2, and who holds which."""

import base64
import hashlib
import json
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field

from emulators.kimi_legacy.refusal import TOKEN_INVALID, refusal

REFRESH_LIFE = 90 * 86400
_SIGNATURE = "made-up-signature-of-the-legacy-emulator"


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access token and a refresh token of one account."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Held:
    """What the service knows of one issued token."""

    account: str
    kind: str
    expires_at: float


@dataclass(frozen=True, slots=True)
class Account:
    """One user: `user_id` is the claim `sub`; lives are seconds."""

    name: str
    user_id: str
    access_life: float
    refresh_life: float


class Credentials:
    """Issues, checks, rotates and revokes tokens; safe for threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._held: dict[str, Held] = {}
        self._dead: set[str] = set()
        self._issued = 0
        # No two services ever issue the same token.
        self._service = uuid.uuid4().hex[:8]

    def add(self, name: str, access_life: float, refresh_life: float) -> TokenPair:
        """Make an account; raises ValueError for a name that exists."""
        with self._lock:
            if name in self._accounts:
                raise ValueError(f"account {name!r} exists already")
            account = Account(name, _id_of("sub", name), access_life, refresh_life)
            self._accounts[name] = account
            return self._issue(account)

    def login(self, name: str) -> TokenPair:
        """Start another, independent chain of tokens."""
        with self._lock:
            return self._issue(self._accounts[name])

    def account(self, name: str) -> Account:
        """Return an account; raises KeyError for an unknown name."""
        return self._accounts[name]

    def holder(self, token: str | None) -> Held | None:
        """Return whose token this is, dead or alive; None for any other text."""
        return self._held.get(token or "")

    def check(self, token: str | None, kind: str) -> str:
        """Return the account of a valid token of this kind; raises Refused."""
        held = self.holder(token)
        if held is None or held.kind != kind or token in self._dead:
            raise refusal(TOKEN_INVALID)
        if held.expires_at <= self._clock():
            raise refusal(TOKEN_INVALID)
        return held.account

    def rotate(self, refresh_token: str | None, strict: bool) -> TokenPair:
        """Return a new pair; `strict` makes the old refresh token die."""
        with self._lock:
            name = self.check(refresh_token, "refresh")
            if strict and refresh_token is not None:
                self._dead.add(refresh_token)
            return self._issue(self._accounts[name])

    def revoke(self, name: str, *kinds: str) -> None:
        """Kill the tokens of an account: "access", "refresh" or both."""
        with self._lock:
            self._dead |= {
                token
                for token, held in self._held.items()
                if held.account == name and held.kind in kinds
            }

    def _issue(self, account: Account) -> TokenPair:
        access = self._token(account, "access", account.access_life)
        return TokenPair(access, self._token(account, "refresh", account.refresh_life))

    def _token(self, account: Account, kind: str, life: float) -> str:
        now = self._clock()
        self._issued += 1
        claims = {
            "iss": "user-center",
            "iat": int(now),
            "exp": int(now + life),
            "jti": f"made-up-{self._service}-{self._issued}",
            "typ": kind,
            "app_id": "kimi",
            "sub": account.user_id,
            "space_id": _id_of("space", account.name),
            "abstract_user_id": _id_of("abstract", account.name),
            "ssid": "1730000000000000001",
            "device_id": "7000000000000000001",
            "region": "cn",
            "membership": {"level": 10},
        }
        header = {"alg": "HS512", "typ": "JWT"}
        token = f"{_part(header)}.{_part(claims)}.{_SIGNATURE}"
        self._held[token] = Held(account.name, kind, int(now + life))
        return token


def _part(value: object) -> str:
    raw = json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _id_of(purpose: str, name: str) -> str:
    """Return 20 characters [0-9a-z] that always belong to this name."""
    return "c" + hashlib.sha256(f"{purpose}:{name}".encode()).hexdigest()[:19]
