"""Keeps access tokens fresh: ahead of time in the background, on demand after a 401.

One renewal is in flight per account across threads, workers and machines. It runs in a
thread of its own under a deadline of its own: the client that asked for it may leave,
the rotated token must reach the disk all the same.
"""

import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from kimi_proxy.blame import Penalty
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    GatewayError,
    InternalError,
    StateUnavailable,
    TokenDead,
    TokenRejected,
)
from kimi_proxy.logs import logger
from kimi_proxy.pool import Pool
from kimi_proxy.providers.base import Credential, RefreshesTokens
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents
from kimi_proxy.telemetry import Observer, RefreshEnded
from kimi_proxy.vault import Stored, Vault
from kimi_proxy.worker import Worker

T = TypeVar("T")

_TIMEOUTS = Timeouts(connect=10, headers=15, first_content=20, idle=15, total=30)
_LOCK_SECONDS = 45.0
_LOCK_POLL = 0.05
_MIN_MARGIN = 60.0
_REST = 15.0
_LONGEST_REST = 300.0
_LONGEST_RETRY_AFTER = 1800.0


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
        self.result: Credential | None = None
        self.error: GatewayError | None = None
        self._landed = False
        self._bells: set[threading.Event] = set()
        self._lock = threading.Lock()

    def land(self) -> None:
        with self._lock:
            self._landed = True
            for bell in self._bells:
                bell.set()

    def wait(self, scope: Scope) -> Credential:
        """The result; a bell of one's own, so that who leaves wakes nobody else."""
        bell = threading.Event()
        with self._lock:
            if self._landed:
                bell.set()
            self._bells.add(bell)
        forget = scope.on_cancel(bell.set)
        try:
            while not bell.wait(scope.limit(1.0)):
                scope.check()
            if not self._landed:
                scope.check()
        finally:
            forget()
            with self._lock:
                self._bells.discard(bell)
        if self.error is not None:
            raise self.error
        if self.result is None:
            raise InternalError("a token renewal ended without a result")
        return self.result


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
        self._flights: dict[str, _Flight] = {}
        self._unsaved: dict[str, tuple[Credential, Stored]] = {}
        self._mutex = threading.Lock()

    def ready(self, account: Account, scope: Scope) -> Credential:
        """The account's credential, renewed first if it has run out.

        Raises `TokenDead` when only a new log-in helps, an `UpstreamError` when the
        renewal failed for now, or what ended the scope.
        """
        stored = account.vault.load(account.name)
        if stored.is_valid(self._clock.now()):
            return stored.credential
        return self.renew(account, stored.credential, scope)

    def use(self, account: Account, scope: Scope, call: Callable[[Credential], T]) -> T:
        """What `call` makes of a credential that works; a refused one is renewed once.

        Raises what `ready`, `renew` and `call` raise.
        """
        credential = self.ready(account, scope)
        try:
            return call(credential)
        except GatewayError as exc:
            if exc.penalty is not Penalty.REFRESH or account.renewer is None:
                raise
        return call(self.renew(account, credential, scope))

    def renew(self, account: Account, stale: Credential, scope: Scope) -> Credential:
        """Replace `stale`; whoever else is at it already shares the result."""
        return self._board(account, stale).wait(scope)

    def _board(self, account: Account, stale: Credential) -> _Flight:
        key = _key(account)
        with self._mutex:
            flight = self._flights.get(key)
            if flight is None:
                flight = _Flight()
                threading.Thread(
                    target=self._fly,
                    args=(account, stale, flight),
                    name=f"renew-{key}",
                    daemon=True,
                ).start()
                self._flights[key] = flight  # last: who cannot start leaves nothing
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
                self._flights.pop(_key(account), None)
            flight.land()

    def _renew_once(self, account: Account, stale: Credential) -> Credential:
        """Renew under the lock that all workers share."""
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        lock = f"refresh/{_key(account)}"
        while not self._seize(lock):
            scope.check()
            threading.Event().wait(_LOCK_POLL)
            stored = account.vault.load(account.name)
            if self._is_news(stored, stale):
                return stored.credential
        try:
            stored = account.vault.load(account.name)
            if self._is_news(stored, stale):
                self._unsaved.pop(_key(account), None)
                return stored.credential
            return self._buy(account, stored, scope)
        finally:
            # Nobody else may spend a refresh token whose successor only we know.
            if _key(account) not in self._unsaved:
                self._release(lock)

    def _seize(self, lock: str) -> bool:
        """Take the lock, or prolong it; one that a dead worker left does not count.

        Of a worker elsewhere nobody knows: its lock holds until it expires, which is
        later than any renewal may last.
        """
        worker, now = self._worker, self._clock.now()

        def change(found: Document | None) -> tuple[Document | None, bool]:
            holder = worker.id if found is None else found["worker"]
            if holder != worker.id and worker.alive(holder, 0):
                return found, False
            return {"worker": worker.id, "at": now}, True

        return self._locks.update(lock, change, ttl=_LOCK_SECONDS)

    def _release(self, lock: str) -> None:
        def change(found: Document | None) -> tuple[Document | None, None]:
            is_mine = found is not None and found["worker"] == self._worker.id
            return None if is_mine else found, None

        try:
            self._locks.update(lock, change)
        except StateUnavailable as exc:
            logger.warning("a renewal's lock stays until it expires: %s", exc.message)

    def _is_news(self, current: Stored, stale: Credential) -> bool:
        is_other = current.credential.access != stale.access
        return is_other and current.is_valid(self._clock.now())

    def _buy(self, account: Account, stored: Stored, scope: Scope) -> Credential:
        started = self._clock.monotonic()
        outcome = "ok"
        account.pool.mark_renewing(account.name, True)
        try:
            credential = self._bought(account, stored, scope)
            self._save(account, credential, stored)
        except TokenDead as exc:
            outcome = "dead"
            return self._judge(account, stored, exc)
        except GatewayError as exc:
            outcome = exc.code or "error"
            raise
        except BaseException:
            outcome = "internal_error"
            raise
        finally:
            account.pool.mark_renewing(account.name, False)
            seconds = self._clock.monotonic() - started
            self._observer.refresh_ended(
                RefreshEnded(account.provider, account.name, outcome, seconds)
            )
        return credential

    def _bought(self, account: Account, stored: Stored, scope: Scope) -> Credential:
        """A new credential: one that is paid for but not yet on disk, or a new one."""
        waiting = self._unsaved.get(_key(account))
        if waiting is not None and waiting[1].credential == stored.credential:
            return waiting[0]
        return self._ask(account, stored, scope)

    def _save(self, account: Account, credential: Credential, stored: Stored) -> None:
        """Nothing is used before it is on disk; what could not be written is kept."""
        key = _key(account)
        self._unsaved[key] = (credential, stored)
        account.vault.save(account.name, credential, seed=stored.seed)
        self._unsaved.pop(key, None)

    def _judge(self, account: Account, stored: Stored, error: TokenDead) -> Credential:
        """Bury the account, unless its token was replaced while it was judged."""
        current = account.vault.load(account.name)
        if current.credential == stored.credential:
            account.pool.bury(account.name, error)
            raise error
        if current.is_valid(self._clock.now()):
            return current.credential
        raise TokenRejected("the account's token was replaced during its renewal")

    def _ask(self, account: Account, stored: Stored, scope: Scope) -> Credential:
        """Buy with the current refresh token, and with the previous if that is dead."""
        if account.renewer is None:
            raise TokenDead(f"{account.provider} has no way to renew a token")
        try:
            return account.renewer.refresh(stored.credential, scope)
        except TokenDead:
            previous = stored.previous
            used_up = {None, stored.credential.refresh}
            if previous is None or previous.refresh in used_up:
                raise
            return account.renewer.refresh(previous, scope)

    def renew_due(self, *accounts: Account) -> None:
        """Renew ahead of expiry those whose time it is, all at once.

        What an upstream refuses is logged and tried again later. Raises
        `StateUnavailable`, for the first it struck, when all have had their turn.
        """
        flights: list[tuple[Account, _Flight]] = []
        stuck: list[tuple[Account, StateUnavailable]] = []

        @contextmanager
        def one_of_many(account: Account) -> Iterator[None]:
            try:
                yield
            except StateUnavailable as exc:
                stuck.append((account, exc))

        for account in accounts:
            with one_of_many(account):
                stale = self._due(account)
                if stale is not None:
                    flights.append((account, self._board(account, stale)))
        for account, flight in flights:
            with one_of_many(account):
                self._conclude(account, flight)
        if stuck:
            account, exc = stuck[0]
            text = f"the token of {_key(account)}: {exc.detail}"
            raise StateUnavailable(text) from exc

    def _conclude(self, account: Account, flight: _Flight) -> None:
        rest = f"refresh-rest/{_key(account)}"
        try:
            flight.wait(Scope(_TIMEOUTS, self._clock.monotonic))
        except StateUnavailable:
            raise  # not the upstream's fault
        except GatewayError as exc:
            logger.warning(
                "renewing the token of %s failed: %s", _key(account), exc.detail
            )
            self._rest(rest, exc)
        else:
            self._locks.delete(rest)

    def _due(self, account: Account) -> Credential | None:
        """The credential to renew now, None if it is not yet time."""
        now = self._clock.now()
        stored = account.vault.load(account.name)
        if account.renewer is None or not self._is_due(account, stored, now):
            return None
        if _key(account) in self._unsaved:
            return stored.credential  # only to be written: no call is made
        if not account.pool.state(account.name).usable:
            return None
        rest = self._locks.get(f"refresh-rest/{_key(account)}")
        # Later than any pause there is: the clock was set back since.
        if rest is not None and now < rest["until"] <= now + _LONGEST_RETRY_AFTER:
            return None
        return stored.credential

    def _is_due(self, account: Account, stored: Stored, now: float) -> bool:
        credential = stored.credential
        if credential.access is None or _key(account) in self._unsaved:
            return credential.refresh is not None
        expires = stored.expires
        if expires is None:
            return False
        if credential.refresh is None:
            return now >= expires  # nothing can be bought, but the pool learns of it
        return now >= expires - _margin(account.name, stored, expires)

    def _rest(self, key: str, error: GatewayError) -> None:
        """Try again later, all workers alike: twice as late each time."""
        now = self._clock.now()
        asked = min(error.retry_after or 0.0, _LONGEST_RETRY_AFTER)

        def change(found: Document | None) -> tuple[Document, None]:
            failures = (found or {}).get("failures", 0) + 1
            pause = max(asked, min(_REST * 2 ** (failures - 1), _LONGEST_REST))
            return {"failures": failures, "until": now + pause}, None

        self._locks.update(key, change, ttl=_LONGEST_RETRY_AFTER * 2)


def _key(account: Account) -> str:
    return f"{account.provider}/{account.name}"


def _margin(name: str, stored: Stored, expires: float) -> float:
    """Seconds before expiry at which to renew: a tenth of the life, at least a minute.

    But not before half of the life is over. Spread by up to a tenth more, so that
    accounts do not renew all at once; the same for every worker, so that they agree.
    """
    base, life = _MIN_MARGIN, stored.life
    if life is not None:
        base = min(max(_MIN_MARGIN, life / 10), life / 2)
    spread = zlib.crc32(f"{name}{expires}".encode()) % 1000 / 1000
    return base * (1 + spread / 10)
