"""Who has which token and balance, and which device log-ins are open (§2)."""

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

# The parts of a JWT, none of them real.
_HEAD = "eyJhbGciOiJub25lIn0"
_TAIL = "bWFkZS11cC1zaWduYXR1cmU"


@dataclass(slots=True)
class Account:
    """One account: `balance` in dollars; `organizations` are ids it may name."""

    name: str
    token: str = field(repr=False)
    balance: float = 5.0
    organizations: tuple[str, ...] = ()
    blocked: bool = False


@dataclass(slots=True)
class Login:
    """An open log-in: `pending`, `approved` or `denied`."""

    code: str
    expires_at: float
    state: str = "pending"
    account: Account | None = None


class Accounts:
    """Every account and log-in; safe for threads. `clock` returns epoch seconds."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._accounts: dict[str, Account] = {}
        self._logins: dict[str, Login] = {}
        self._numbers = itertools.count(1)

    def add(self, name: str) -> Account:
        """Make an account, or give the one of this name another token."""
        with self._lock:
            number = next(self._numbers)
            token = f"{_HEAD}.bWFkZS11cC0{number:06d}.{_TAIL}"
            account = self._accounts.setdefault(name, Account(name, token))
            account.token = token
        return account

    def get(self, name: str) -> Account:
        """Return an account; raises KeyError."""
        return self._accounts[name]

    def holder(self, token: str | None) -> Account | None:
        """Return whose token it is."""
        found = (a for a in self._accounts.values() if a.token == token)
        return next(found, None)

    def revoke(self, name: str) -> None:
        """Let an account's token be good no more."""
        self._accounts[name].token = ""

    def open_login(self, life: float, most: int) -> Login | None:
        """Open a log-in; None when too many are open."""
        now = self._clock()
        with self._lock:
            pending = [
                login
                for login in self._logins.values()
                if login.state == "pending" and login.expires_at > now
            ]
            if len(pending) >= most:
                return None
            login = Login(f"MADE-{next(self._numbers):04d}", now + life)
            self._logins[login.code] = login
        return login

    def login(self, code: str) -> Login | None:
        """Return a log-in as it stands; one whose time is over is `expired`."""
        login = self._logins.get(code)
        if login is not None and login.expires_at <= self._clock():
            login.state = "expired"
        return login

    def decide(self, code: str, name: str | None) -> None:
        """Approve a log-in for an account, or (None) deny it."""
        login = self._logins[code]
        login.state = "denied" if name is None else "approved"
        login.account = None if name is None else self.add(name)

    def clear(self) -> None:
        """Forget all log-ins."""
        with self._lock:
            self._logins.clear()
