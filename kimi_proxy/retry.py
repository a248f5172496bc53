"""The one place that retries, whatever is asked of an upstream.

Before an answer begins, and only if the error says that it may help, the next account
or the next route is tried, within the request's deadline and a budget of attempts.
After that nothing is ever repeated.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol, TypeVar

from kimi_proxy.attempt import Trace, Try
from kimi_proxy.backend import Backend
from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    ClientError,
    ContextTooLong,
    GatewayError,
    InternalError,
    ModelNotFound,
    PoolEmpty,
    PoolError,
    Unsupported,
    UpstreamCut,
    UpstreamRejected,
)
from kimi_proxy.journal import Entry, Journal
from kimi_proxy.pool import Slot
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Refresher
from kimi_proxy.router import Route
from kimi_proxy.scope import Scope

_MIN_ATTEMPTS = 3
_MAX_ATTEMPTS = 10

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Asking(Protocol[T_co]):
    """One request on one route: what its attempts share, and how one begins."""

    @property
    def route(self) -> Route: ...

    @property
    def backend(self) -> Backend: ...

    def load(self, scope: Scope) -> None:
        """Have at hand what will be asked, before an account is taken."""

    def lease(self, scope: Scope, *, patient: bool) -> Slot:
        """A place on an account, as `Pool.lease` has it; raises a `PoolError`, or what
        ended the scope."""

    def resume(self, slot: Slot) -> Entry | None:
        """The journal's entry of the chat to go on with on this account, if any."""

    def begin(self, attempt: Try, credential: Credential) -> T_co:
        """The beginning of an answer; raises `GatewayError`, having cleaned up."""

    def may_try_again(self, attempt: Try, error: GatewayError) -> bool:
        """Whether another attempt may do better; sees to it that it is another one."""


def may_go_on(error: GatewayError) -> bool:
    """Whether another route may do better: not when the request itself is at fault,
    unless it only asks more than this upstream or model can do."""
    if isinstance(error, Unsupported | ContextTooLong | ModelNotFound):
        return True
    return not isinstance(error, ClientError | UpstreamRejected | InternalError)


class Opener:
    """Makes attempts until one begins to answer."""

    def __init__(
        self,
        *,
        backends: Mapping[str, Backend],
        refresher: Refresher,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self.backends = backends
        self._refresher = refresher
        self._journal = journal
        self._clock = clock

    def open(
        self,
        routes: Sequence[Route],
        asking: Callable[[Route], Asking[T]],
        scope: Scope,
        trace: Trace,
        may_go_on: Callable[[GatewayError], bool] = may_go_on,
    ) -> T:
        """The first answer that begins, of these routes in order.

        Raises a `PoolError`, or the last error that says more than "no account left".
        """
        # Of its own for each of several choices, which share a trace.
        budget = len(trace.attempts) + self._budget(routes)
        last: GatewayError | None = None
        for at, route in enumerate(routes, 1):
            # One that fails leaves an attempt for each of those behind it; and while
            # there are others, it is of no use to wait for its accounts to recover.
            others = len(routes) - at
            most, patient = budget - others, not others
            try:
                asked = asking(route)
                return self._open_route(asked, scope, trace, most, patient=patient)
            except GatewayError as exc:
                if not isinstance(exc, PoolError) and (
                    not may_go_on(exc) or _is_over(scope)
                ):
                    raise
                last = exc if last is None else _more_telling(last, exc)
            if len(trace.attempts) >= budget:
                break
        raise last or UpstreamCut("no route answered")

    def _budget(self, routes: Sequence[Route]) -> int:
        accounts = sum(len(self.backends[r.provider].accounts) for r in routes)
        few = min(max(_MIN_ATTEMPTS, accounts + 1), _MAX_ATTEMPTS)
        return max(few, len(routes))

    def _open_route(
        self,
        asking: Asking[T],
        scope: Scope,
        trace: Trace,
        budget: int,
        *,
        patient: bool,
    ) -> T:
        last: GatewayError | None = None
        while len(trace.attempts) < budget:
            asking.load(scope)
            try:
                slot = asking.lease(scope, patient=patient)
            except PoolError as exc:
                raise last or exc from None
            except GatewayError as exc:
                raise scope.reason or last or exc from None
            attempt = self._attempt(asking, slot, scope, trace)
            try:
                return self._begin(asking, attempt, scope)
            except GatewayError as exc:
                last = exc
                if not asking.may_try_again(attempt, exc) or _is_over(scope):
                    raise
        raise last or UpstreamCut("the budget of attempts is used up")

    def _attempt(
        self, asking: Asking[T], slot: Slot, scope: Scope, trace: Trace
    ) -> Try:
        """Everything that has to be given back; the slot is, if this fails."""
        try:
            entry = asking.resume(slot)
        except BaseException:
            asking.backend.pool.finish(slot, None, proven=False)
            raise
        return Try(
            route=asking.route,
            slot=slot,
            pool=asking.backend.pool,
            entry=entry or self._journal.open(asking.route.provider, slot.account),
            resumed=entry is not None,
            scope=scope,
            trace=trace,
            monotonic=self._clock.monotonic,
        )

    def _begin(self, asking: Asking[T], attempt: Try, scope: Scope) -> T:
        """Begin with a credential that works; what fails is given back."""
        try:
            account = asking.backend.accounts[attempt.slot.account]
            begin = partial(asking.begin, attempt)
            return self._refresher.use(account, scope, begin)
        except GatewayError as exc:
            attempt.end(exc, proven=False)
            raise
        except BaseException:
            attempt.end(None, proven=False)
            raise
        finally:
            scope.content_seen()  # not even while the next attempt queues


def _more_telling(last: GatewayError, new: GatewayError) -> GatewayError:
    """Which of two routes' errors the client is told: that of an upstream that failed
    rather than that of one with no account, or of one that cannot do what is asked."""
    if isinstance(new, Unsupported):
        return last
    if isinstance(new, PoolError) and not isinstance(last, Unsupported | PoolEmpty):
        return last
    return new


def _is_over(scope: Scope) -> bool:
    return scope.cancelled or scope.remaining() <= 0
