"""The flow of one request: route, lease, credential, stream, first event.

The one place that retries. Before the first event, and only if the error says that it
may help, the next account or the next route is tried, within the request's deadline
and a budget of attempts. After the first event nothing is ever repeated.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field, replace

from kimi_proxy.chat import ChatRequest
from kimi_proxy.clock import Clock
from kimi_proxy.conversations import Entry, Journal
from kimi_proxy.errors import (
    ClientError,
    ClientGone,
    ContextTooLong,
    GatewayError,
    InternalError,
    ModelNotFound,
    Penalty,
    PoolEmpty,
    PoolError,
    Unsupported,
    UpstreamCut,
    UpstreamRejected,
)
from kimi_proxy.events import Event, Finished
from kimi_proxy.logs import logger
from kimi_proxy.pool import Pool, Slot
from kimi_proxy.providers.base import Credential, Lease, Provider
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.router import Route, Router
from kimi_proxy.scope import Scope
from kimi_proxy.telemetry import Attempt
from kimi_proxy.vault import Vault

_MIN_ATTEMPTS = 3
_MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True)
class Backend:
    """A provider with its pool and its accounts by name."""

    provider: Provider
    pool: Pool
    vault: Vault
    accounts: MutableMapping[str, Account]


@dataclass(slots=True)
class Trace:
    """What one request went through, filled in as it goes; read by the log."""

    attempts: list[Attempt] = field(default_factory=list)
    ignored: tuple[str, ...] = ()


class EventStream:
    """An opened answer: its first event is here, the rest follows.

    Iterate to the end or `close`; either gives the account back. Raises
    `GatewayError`; whatever comes after `Finished` is not read.
    """

    def __init__(self, first: Event, rest: Iterator[Event], attempt: "_Try") -> None:
        self._first: Event | None = first
        self._rest = rest
        self._attempt = attempt
        self.route = attempt.route
        self.account = attempt.slot.account

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._attempt.over:
            raise StopIteration
        event, self._first = self._first, None
        if event is None:
            event = self._pull()
        if isinstance(event, Finished):
            self._end(None, proven=True)
        return event

    def _pull(self) -> Event:
        try:
            return next(self._rest)
        except StopIteration:
            error = UpstreamCut("the provider ended without finishing its answer")
            self._end(error)
            raise error from None
        except GatewayError as exc:
            self._end(exc)
            raise
        except BaseException:
            self._end(None)
            raise

    def _end(self, error: GatewayError | None, *, proven: bool = False) -> None:
        try:
            _close(self._rest)
        finally:
            self._attempt.end(error, proven=proven)

    def close(self, reason: GatewayError | None = None) -> None:
        """Stop: frees socket, account and journal; harmless when already over.

        Without a `reason` it is what ended the scope, or else that the client left.
        To be called by the thread that iterates.
        """
        if not self._attempt.over:
            self._end(reason or self._attempt.interruption())


def _close(events: Iterator[Event]) -> None:
    """Let the provider clean up; an upstream that fails at that changes nothing."""
    close = getattr(events, "close", None)
    try:
        if close is not None:
            close()
    except GatewayError as exc:
        logger.info("an upstream was not left cleanly: %s", exc.message)


class _Try:
    """One attempt: a slot, a journal entry and a stopwatch, ended exactly once."""

    def __init__(
        self,
        *,
        route: Route,
        slot: Slot,
        pool: Pool,
        entry: Entry,
        scope: Scope,
        trace: Trace,
        monotonic: Callable[[], float],
    ) -> None:
        self.route = route
        self.slot = slot
        self.entry = entry
        self.over = False
        self._pool = pool
        self._scope = scope
        self._trace = trace
        self._monotonic = monotonic
        self._started = monotonic()

    def interruption(self) -> GatewayError:
        """Why an answer was not read to its end."""
        try:
            self._scope.check()
        except GatewayError as exc:
            return exc
        return ClientGone("the answer was closed before its end")

    def end(self, error: GatewayError | None, *, proven: bool) -> None:
        """Give everything back; `error` None without `proven` is a defect of ours.

        Once the scope is cancelled, whatever breaks breaks for that reason: nothing is
        held against the account.
        """
        if self.over:
            return
        self.over = True
        if not proven:
            error = self._scope.reason or error
        try:
            self._pool.finish(self.slot, error, proven=proven)
        finally:
            try:
                self.entry.close(error)
            finally:
                self._trace.attempts.append(self._told(error, proven))

    def _told(self, error: GatewayError | None, proven: bool) -> Attempt:
        failure = (error or InternalError("")).code or "error"
        return Attempt(
            provider=self.route.provider,
            account=self.slot.account,
            model=self.route.model,
            outcome="ok" if proven else failure,
            seconds=self._monotonic() - self._started,
        )


class Gateway:
    """Opens answers. Knows every backend by name; knows no dialect and no Flask."""

    def __init__(
        self,
        *,
        router: Router,
        backends: Mapping[str, Backend],
        refresher: Refresher,
        journal: Journal,
        clock: Clock,
    ) -> None:
        self._router = router
        self._backends = backends
        self._refresher = refresher
        self._journal = journal
        self._clock = clock

    def open(
        self,
        request: ChatRequest,
        scope: Scope,
        trace: Trace,
        *,
        only: Sequence[str] = (),
    ) -> EventStream:
        """Find an account that starts to answer; one of `only` if there are any.

        Raises `ModelNotFound`, a `PoolError`, or the last upstream error that says
        more than "no account left".
        """
        routes = self._router.resolve(request.model)
        budget = self._budget(routes)
        last: GatewayError | None = None
        for route in routes:
            try:
                return self._open_route(
                    route, request, scope, trace, budget=budget, only=only
                )
            except PoolError as exc:
                last = exc if last is None or isinstance(last, PoolEmpty) else last
            except GatewayError as exc:
                last = exc
                if not _may_go_on(exc) or _is_over(scope):
                    raise
            if len(trace.attempts) >= budget:
                break
        raise last or UpstreamCut("no route answered")

    def _budget(self, routes: tuple[Route, ...]) -> int:
        accounts = sum(len(self._backends[r.provider].accounts) for r in routes)
        return min(max(_MIN_ATTEMPTS, accounts + 1), _MAX_ATTEMPTS)

    def _open_route(
        self,
        route: Route,
        request: ChatRequest,
        scope: Scope,
        trace: Trace,
        *,
        budget: int,
        only: Sequence[str],
    ) -> EventStream:
        backend = self._backends[route.provider]
        trace.ignored = _ignored(request, backend.provider)
        tried: set[str] = set()
        last: GatewayError | None = None
        while len(trace.attempts) < budget:
            try:
                slot = backend.pool.lease(
                    route.model, scope, exclude=tried, names=only or None
                )
            except PoolError as exc:
                raise last or exc from None
            except GatewayError as exc:
                raise scope.reason or last or exc from None
            entry = self._journal.open(route.provider, slot.account)
            attempt = _Try(
                route=route,
                slot=slot,
                pool=backend.pool,
                entry=entry,
                scope=scope,
                trace=trace,
                monotonic=self._clock.monotonic,
            )
            try:
                return self._attempt(attempt, backend, request, scope)
            except GatewayError as exc:
                last = exc
                if not exc.another_token or _is_over(scope):
                    raise
            if last.penalty is not Penalty.BUSY:
                tried.add(slot.account)
        raise last or UpstreamCut("the budget of attempts is used up")

    def _attempt(
        self, attempt: _Try, backend: Backend, request: ChatRequest, scope: Scope
    ) -> EventStream:
        try:
            first, rest = self._first_event(backend, request, attempt, scope)
        except GatewayError as exc:
            attempt.end(exc, proven=False)
            raise
        except BaseException:
            attempt.end(None, proven=False)
            raise
        finally:
            scope.content_seen()  # not even while the next attempt queues
        return EventStream(first, rest, attempt)

    def _first_event(
        self, backend: Backend, request: ChatRequest, attempt: _Try, scope: Scope
    ) -> tuple[Event, Iterator[Event]]:
        """Pull the first event; a refused access token is renewed once."""
        account = backend.accounts[attempt.slot.account]
        asked = replace(request, model=attempt.route.model)
        credential = self._refresher.ready(account, scope)
        try:
            return self._pull_first(backend, asked, attempt, credential, scope)
        except GatewayError as exc:
            if exc.penalty is not Penalty.REFRESH or account.renewer is None:
                raise
        credential = self._refresher.renew(account, credential, scope)
        return self._pull_first(backend, asked, attempt, credential, scope)

    def _pull_first(
        self,
        backend: Backend,
        request: ChatRequest,
        attempt: _Try,
        credential: Credential,
        scope: Scope,
    ) -> tuple[Event, Iterator[Event]]:
        lease = Lease(attempt.slot.account, credential, scope, attempt.entry)
        scope.expect_content()
        events = backend.provider.stream(request, lease)
        try:
            return next(events), events
        except StopIteration:
            raise UpstreamCut("the provider ended without an answer") from None
        except BaseException:
            _close(events)
            raise


def _may_go_on(error: GatewayError) -> bool:
    """Whether another route may do better: not when the request itself is at fault,
    unless it only asks more than this upstream or model can do."""
    if isinstance(error, Unsupported | ContextTooLong | ModelNotFound):
        return True
    return not isinstance(error, ClientError | UpstreamRejected | InternalError)


def _is_over(scope: Scope) -> bool:
    return scope.cancelled or scope.remaining() <= 0


def _ignored(request: ChatRequest, provider: Provider) -> tuple[str, ...]:
    """Sampling parameters the client gave and this upstream does not know."""
    return tuple(sorted(set(request.sampling) - provider.honours))
