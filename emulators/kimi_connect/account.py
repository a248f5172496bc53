"""Accounts and their made-up tokens (connect sheet §1, §2)."""

import base64
import hashlib
import json
import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from emulators.kimi_connect.error import unauthenticated

_AUDIENCE = {"cn": "kimi.com", "overseas": "kimi.ai"}
# From low to high; the sheet knows LEVEL_BASIC, the other names are invented.
LEVELS = ("LEVEL_FREE", "LEVEL_BASIC", "LEVEL_TOP")
DAY = 86_400


@dataclass(frozen=True, slots=True)
class Account:
    """One Kimi user; lives of tokens in seconds."""

    name: str
    region: str
    level: str
    access_life: float
    refresh_life: float

    @property
    def user_id(self) -> str:
        """The claim `sub`: 20 characters, the same for the same name."""
        return "fake" + hashlib.sha256(self.name.encode()).hexdigest()[:16]

    @property
    def device_id(self) -> str:
        """The claim `device_id`: a decimal string."""
        return f"70{self._digits('device'):017d}"

    @property
    def session_id(self) -> str:
        """The claim `ssid`: a decimal string."""
        return f"17{self._digits('session'):017d}"

    def _digits(self, salt: str) -> int:
        digest = hashlib.sha256(f"{salt}:{self.name}".encode()).digest()
        return int.from_bytes(digest[:7], "big") % 10**17

    def reaches(self, level: str) -> bool:
        """Whether the plan includes what needs `level` ("" needs nothing)."""
        return not level or LEVELS.index(self.level) >= LEVELS.index(level)


@dataclass(frozen=True, slots=True)
class TokenPair:
    """An access and a refresh token as the service hands them out."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Issued:
    """What the service remembers of a token; `expires` in epoch seconds."""

    account: Account
    kind: str
    expires: float
    revoked: bool = False


class Accounts:
    """All accounts and every token ever issued to them; thread-safe."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._accounts: dict[str, Account] = {}
        self._issued: dict[str, Issued] = {}
        # No two services ever issue the same token.
        self._service = uuid.uuid4().hex[:8]
        self._lock = threading.RLock()

    def add(self, account: Account) -> TokenPair:
        """Register an account and log it in; raises ValueError for a known name."""
        with self._lock:
            if account.name in self._accounts:
                raise ValueError(f"account {account.name!r} exists already")
            if account.region not in _AUDIENCE or account.level not in LEVELS:
                raise ValueError(f"no such region or level: {account}")
            self._accounts[account.name] = account
            return self._issue(account)

    def login(self, name: str) -> TokenPair:
        """Start another, independent chain of tokens for a known account."""
        with self._lock:
            return self._issue(self._accounts[name])

    def find(self, token: str | None) -> Issued | None:
        """Return what is known of a token, expired and revoked ones included."""
        with self._lock:
            return self._issued.get(token or "")

    def use(self, token: str | None, kind: str) -> Account:
        """Return the account of a live token of that kind; raises Refusal."""
        issued = self.find(token)
        if issued is None or issued.kind != kind or issued.revoked:
            raise unauthenticated()
        if self._clock() >= issued.expires:
            raise unauthenticated()
        return issued.account

    def rotate(
        self, refresh: str | None, *, strict: bool, region: str | None
    ) -> TokenPair:
        """Trade a refresh token for a new pair; raises Refusal when it is no good.

        One of another region than the host's (None: of any) is no good. Strict
        rotation kills the old refresh token; otherwise it stays valid and the two
        chains go on independently (§2.1 [B]).
        """
        with self._lock:
            account = self.use(refresh, "refresh")
            if region not in (None, account.region):
                raise unauthenticated()
            if strict and refresh is not None:
                self.revoke(refresh)
            return self._issue(account)

    def revoke(self, token: str) -> None:
        """Make one token worthless before its time."""
        with self._lock:
            self._issued[token] = replace(self._issued[token], revoked=True)

    def revoke_all(self, name: str, kind: str | None = None) -> None:
        """Make every token of an account worthless (of one kind, or of both)."""
        with self._lock:
            for token, issued in self._issued.items():
                if issued.account.name == name and kind in (None, issued.kind):
                    self._issued[token] = replace(issued, revoked=True)

    def _issue(self, account: Account) -> TokenPair:
        return TokenPair(
            access=self._mint(account, "access", account.access_life),
            refresh=self._mint(account, "refresh", account.refresh_life),
        )

    def _mint(self, account: Account, kind: str, life: float) -> str:
        now = int(self._clock())
        serial = len(self._issued) + 1
        token = _jwt(
            {
                "iss": "account",
                "aud": [_AUDIENCE[account.region]],
                "iat": now,
                "exp": now + int(life),
                "jti": f"made-up-{self._service}-{serial}",
                "typ": kind,
                "app_id": "kimi",
                "sub": account.user_id,
                "device_id": account.device_id,
                "ssid": account.session_id,
                "region": account.region,
                "membership": {"level": account.level},
            },
            f"FAKE-{kind}-signature-of-{account.name}-{serial:06d}",
        )
        self._issued[token] = Issued(account, kind, now + int(life))
        return token


def _jwt(claims: Mapping[str, Any], signature: str) -> str:
    head = _part(json.dumps({"alg": "HS512", "typ": "JWT"}).encode())
    return ".".join((head, _part(json.dumps(claims).encode()), _safe(signature)))


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _safe(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text)
