"""Keeps access tokens fresh: ahead of time in the background, on demand after a 401.

One renewal is in flight per account across threads, workers and machines. It runs in a
thread of its own under a deadline of its own: the client that asked for it may leave,
the rotated token must reach the disk all the same.
"""

import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    GatewayError,
    InternalError,
    TokenDead,
)
from kimi_proxy.logs import logger
from kimi_proxy.pool import Pool, Worker
from kimi_proxy.providers.base import Credential, RefreshesTokens
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents
from kimi_proxy.telemetry import Observer, RefreshEnded
from kimi_proxy.vault import Stored, Vault

_TIMEOUTS = Timeouts(connect=10, headers=15, first_content=20, idle=15, total=30)
_LOCK_SECONDS = 45.0
_LOCK_POLL = 0.05
_MIN_MARGIN = 60.0
_LEEWAY = 5.0
_RETRY_AFTER = 15.0


@dataclass(frozen=True, slots=True)
class Account:
    """Where an account's credential lives and who can renew it."""

    provider: str
    name: str
    vault: Vault
    pool: Pool
    renewer: RefreshesTokens | None


class _Flight:
    """One renewal in this process; everybody who needs it waits here."""

    def __init__(self) -> None:
        self.done = threading.Event()
        self.result: Credential | None = None
        self.error: GatewayError | None = None


class Refresher:
    """Hands out credentials that work, renewing them where needed."""

    def __init__(
        self,
        *,
        locks: Documents,
        worker: Worker,
        clock: Clock,
        observer: Observer,
    ) -> None:
        self._locks = locks
        self._worker = worker
        self._clock = clock
        self._observer = observer
        self._flights: dict[tuple[str, str], _Flight] = {}
        self._rests: dict[tuple[str, str], float] = {}
        self._mutex = threading.Lock()

    def ready(self, account: Account, scope: Scope) -> Credential:
        """The account's credential, renewed first if it has run out.

        Raises `TokenDead` when only a new log-in helps, an `UpstreamError` when the
        renewal failed for now, or what ended the scope.
        """
        credential = account.vault.load(account.name).credential
        if self._is_valid(credential):
            return credential
        return self.renew(account, credential, scope)

    def renew(self, account: Account, stale: Credential, scope: Scope) -> Credential:
        """Replace `stale`; whoever else is at it already shares the result."""
        flight = self._board(account, stale)
        woken = scope.on_cancel(flight.done.set)
        try:
            while not flight.done.wait(scope.limit(1.0)):
                scope.check()
            scope.check()
        finally:
            woken()
        if flight.error is not None:
            raise flight.error
        if flight.result is None:
            raise InternalError("a token renewal ended without a result")
        return flight.result

    def _board(self, account: Account, stale: Credential) -> _Flight:
        key = (account.provider, account.name)
        with self._mutex:
            flight = self._flights.get(key)
            if flight is None:
                flight = self._flights[key] = _Flight()
                threading.Thread(
                    target=self._fly,
                    args=(account, stale, flight),
                    name=f"renew-{account.provider}-{account.name}",
                    daemon=True,
                ).start()
        return flight

    def _fly(self, account: Account, stale: Credential, flight: _Flight) -> None:
        try:
            flight.result = self._renew_once(account, stale)
        except GatewayError as exc:
            flight.error = exc
        except Exception as exc:  # the outermost handler of this thread
            logger.exception("token renewal of %s failed", account.name)
            flight.error = InternalError(f"token renewal failed: {type(exc).__name__}")
        finally:
            with self._mutex:
                self._flights.pop((account.provider, account.name), None)
            flight.done.set()

    def _renew_once(self, account: Account, stale: Credential) -> Credential:
        """Renew under the lock that all workers share."""
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        key = f"refresh/{account.provider}/{account.name}"
        while not self._seize(key):
            scope.check()
            threading.Event().wait(_LOCK_POLL)
            current = account.vault.load(account.name).credential
            if self._is_news(current, stale):
                return current
        try:
            stored = account.vault.load(account.name)
            if self._is_news(stored.credential, stale):
                return stored.credential
            return self._buy(account, stored, scope)
        finally:
            self._locks.delete(key)

    def _seize(self, key: str) -> bool:
        worker, now = self._worker, self._clock.now()

        def change(found: Document | None) -> tuple[Document | None, bool]:
            held = found is not None and worker.alive(
                found["worker"], now - found["since"]
            )
            if held:
                return found, False
            return {"worker": worker.id, "since": now}, True

        return self._locks.update(key, change, ttl=_LOCK_SECONDS)

    def _is_news(self, current: Credential, stale: Credential) -> bool:
        return current.access != stale.access and self._is_valid(current)

    def _is_valid(self, credential: Credential) -> bool:
        expires = credential.access_expires
        fresh = expires is None or expires > self._clock.now() + _LEEWAY
        return credential.access is not None and fresh

    def _buy(self, account: Account, stored: Stored, scope: Scope) -> Credential:
        started = self._clock.monotonic()
        outcome = "ok"
        try:
            credential = self._ask(account, stored, scope)
            account.vault.save(account.name, credential)
        except GatewayError as exc:
            outcome = exc.code or "error"
            if isinstance(exc, TokenDead):
                outcome = "dead"
                account.pool.bury(account.name, exc)
            raise
        finally:
            seconds = self._clock.monotonic() - started
            self._observer.refresh_ended(
                RefreshEnded(account.provider, account.name, outcome, seconds)
            )
        return credential

    def _ask(self, account: Account, stored: Stored, scope: Scope) -> Credential:
        """Buy with the current refresh token, and with the previous if that is dead."""
        if account.renewer is None:
            raise TokenDead(f"{account.provider} has no way to renew a token")
        try:
            return account.renewer.refresh(stored.credential, scope)
        except TokenDead:
            previous = stored.previous
            if previous is None or previous.refresh in {
                None,
                stored.credential.refresh,
            }:
                raise
            return account.renewer.refresh(previous, scope)

    def renew_due(self, account: Account) -> None:
        """Renew ahead of expiry if it is time; failures are logged and tried later."""
        key = (account.provider, account.name)
        now = self._clock.now()
        if now < self._rests.get(key, 0) or not self._is_due(account, now):
            return
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        stale = account.vault.load(account.name).credential
        try:
            flight = self._board(account, stale)
            while not flight.done.wait(scope.limit(1.0)):
                scope.check()
            if flight.error is not None:
                raise flight.error
        except GatewayError as exc:
            self._rests[key] = now + _RETRY_AFTER
            logger.warning(
                "renewing the token of %s/%s failed: %s",
                account.provider,
                account.name,
                exc.message,
            )

    def _is_due(self, account: Account, now: float) -> bool:
        state = account.pool.state(account.name).state
        if account.renewer is None or state in {"dead", "disabled", "cooling"}:
            return False
        stored = account.vault.load(account.name)
        expires = stored.credential.access_expires
        if stored.credential.access is None:
            return True
        if expires is None or stored.credential.refresh is None:
            return False
        return now >= expires - _margin(account.name, stored.obtained, expires)


def _margin(name: str, obtained: float, expires: float) -> float:
    """Seconds before expiry at which to renew: a tenth of the life, at least a minute.

    Spread by up to a tenth more, so that accounts do not renew all at once; the same
    for every worker, so that they agree.
    """
    base = max(_MIN_MARGIN, (expires - obtained) / 10)
    spread = zlib.crc32(f"{name}{expires}".encode()) % 1000 / 1000
    return base * (1 + spread / 10)


class Periodic:
    """Calls `chore` every `interval` seconds in a daemon thread until stopped."""

    def __init__(self, name: str, interval: float, chore: Callable[[], None]) -> None:
        self._chore = chore
        self._interval = interval
        self._stop = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Do the chore now rather than at the next interval."""
        self._soon.set()

    def stop(self, timeout: float = 5.0) -> None:
        """End the thread after the chore at hand; waits at most `timeout` seconds."""
        self._stop.set()
        self._soon.set()
        self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._chore()
            except GatewayError as exc:
                logger.warning("%s: %s", self._thread.name, exc)
            except Exception:  # the outermost handler of this thread
                logger.exception("%s failed", self._thread.name)
            self._soon.wait(self._interval)
            self._soon.clear()
