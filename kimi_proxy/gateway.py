"""The flow of one request: route, lease, credential, stream, first event.

The one place that retries. Before the first event, and only if the error says that it
may help, the next account or the next route is tried, within the request's deadline
and a budget of attempts. After the first event nothing is ever repeated.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace

from kimi_proxy.attempt import EventStream, Trace, Try, leave
from kimi_proxy.chat import NO_DEFAULTS, ChatRequest, Defaults
from kimi_proxy.clock import Clock
from kimi_proxy.conversations import ChatPolicy, Conversations, Kept, Talk
from kimi_proxy.desk import AccountDesk, Desk
from kimi_proxy.errors import (
    ClientError,
    ContextTooLong,
    FileLost,
    GatewayError,
    InternalError,
    InvalidAnswer,
    ModelNotFound,
    NotFound,
    Penalty,
    PoolEmpty,
    PoolError,
    Unsupported,
    UpstreamCut,
    UpstreamError,
    UpstreamRejected,
)
from kimi_proxy.events import Event
from kimi_proxy.files import Loader
from kimi_proxy.journal import Journal
from kimi_proxy.pool import Pool, Slot
from kimi_proxy.providers.base import Credential, Lease, Provider
from kimi_proxy.refresh import Account, Refresher
from kimi_proxy.router import Route, Router
from kimi_proxy.scope import Scope
from kimi_proxy.shaping.ask import Ask
from kimi_proxy.shaping.pipeline import STOOD_IN, emulated, may_relay, shaped
from kimi_proxy.vault import Vault

_MIN_ATTEMPTS = 3
_MAX_ATTEMPTS = 10
_CONVERSATION = "conversation_id"


@dataclass(frozen=True, slots=True)
class Backend:
    """A provider with its pool and its accounts by name.

    `strict` refuses requests with parameters that would have to be ignored. Without
    `chats` the upstream has no chats that could be gone on with.
    """

    provider: Provider
    pool: Pool
    vault: Vault
    accounts: MutableMapping[str, Account]
    defaults: Defaults = NO_DEFAULTS
    strict: bool = False
    chats: ChatPolicy | None = None


Load = Callable[[ChatRequest, Scope], ChatRequest]


class _Asking:
    """One request on one route: what its attempts share."""

    def __init__(
        self,
        route: Route,
        backend: Backend,
        request: ChatRequest,
        talk: Talk | None,
        *,
        only: Sequence[str],
        load: Load,
    ) -> None:
        self.route = route
        self.backend = backend
        self.talk = talk
        self._request = request if talk is None else talk.request
        self._only = only
        self.kept = None if talk is None else self._found(talk)
        self._load = load
        self._tried: set[str] = set()
        self._may_lose_files = True

    def _found(self, talk: Talk) -> Kept | None:
        """The chat to go on with, if its account may be used for this request."""
        kept = talk.find()
        if kept is None or kept.account in (self._only or self.backend.accounts):
            return kept
        if kept.required:
            raise NotFound(
                "the account that had this conversation is gone", param=_CONVERSATION
            )
        return None

    @property
    def choices(self) -> int:
        """How many of the choices one answer brings: all, where they are relayed."""
        native = self._request.relays and "n" in self.backend.provider.honours
        return self._request.choices if native else 1

    def load(self, scope: Scope) -> None:
        """Have at hand the files of what will be asked; what is wrong with them is to
        be known before an account is taken."""
        self._load(self._request if self.kept is None else self.kept.request, scope)

    def lease(self, scope: Scope) -> Slot:
        """A place on an account, on that of the chat to go on with if possible."""
        names, prefer = self._only or None, None
        if self.kept is not None:
            prefer = self.kept.account
            if self.kept.required:
                names = [prefer]
        return self.backend.pool.lease(
            self.route.model, scope, exclude=self._tried, prefer=prefer, names=names
        )

    def request_on(self, attempt: Try, scope: Scope) -> ChatRequest:
        """What to ask there: only the new turn where the chat was taken up."""
        if self.kept is not None and attempt.resumed:
            return self._load(self.kept.request, scope)
        return self._load(self._request, scope)

    def may_try_again(self, attempt: Try, error: GatewayError) -> bool:
        """Whether another attempt may do better; sees to it that it is another one."""
        if isinstance(error, FileLost) and self._may_lose_files:
            self._may_lose_files = False
            return True  # the same account will do: it is forgotten what it had
        if self.kept is not None:
            if self.kept.required and attempt.lost_chat(error):
                raise NotFound(
                    "the upstream has this conversation no longer", param=_CONVERSATION
                ) from error
            if not self.kept.required:
                self.kept = None
                if attempt.resumed and not error.another_token:
                    # Perhaps in a new chat; a wrong answer has been asked for twice.
                    upstream = isinstance(error, UpstreamError)
                    return upstream and not isinstance(error, InvalidAnswer)
        if not error.another_token:
            return False
        if error.penalty is not Penalty.BUSY:
            self._tried.add(attempt.slot.account)
        return True


class Gateway:
    """Opens answers. Knows every backend by name; knows no dialect and no Flask."""

    def __init__(
        self,
        *,
        router: Router,
        backends: Mapping[str, Backend],
        refresher: Refresher,
        journal: Journal,
        conversations: Conversations,
        loader: Loader,
        desk: Desk,
        clock: Clock,
    ) -> None:
        self._router = router
        self._backends = backends
        self._refresher = refresher
        self._journal = journal
        self._conversations = conversations
        self._loader = loader
        self._desk = desk
        self._clock = clock

    def open(
        self,
        request: ChatRequest,
        scope: Scope,
        trace: Trace,
        *,
        only: Sequence[str] = (),
        owner: str = "",
    ) -> EventStream:
        """Find an account that starts to answer; one of `only` if there are any.

        `owner` is whose conversations may be gone on with. Raises `ModelNotFound`, a
        `PoolError`, or the last upstream error that says more than "no account left".
        """
        routes = self._routes(request)
        # Of its own for each of several choices, which share a trace.
        budget = len(trace.attempts) + self._budget(routes)
        last: GatewayError | None = None
        for route in routes:
            try:
                asking = self._asking(route, request, trace, only=only, owner=owner)
                return self._open_route(asking, scope, trace, budget)
            except PoolError as exc:
                last = exc if last is None or isinstance(last, PoolEmpty) else last
            except GatewayError as exc:
                last = exc
                if not _may_go_on(exc) or _is_over(scope):
                    raise
            if len(trace.attempts) >= budget:
                break
        raise last or UpstreamCut("no route answered")

    def _routes(self, request: ChatRequest) -> tuple[Route, ...]:
        """The routes to try in order; a conversation goes on where it is."""
        routes = self._router.resolve(request.model)
        if request.conversation is None:
            return routes
        keeping = [r for r in routes if self._backends[r.provider].chats is not None]
        if not keeping:
            raise Unsupported(
                f"{request.model} keeps no conversations", param=_CONVERSATION
            )
        if request.conversation:
            chat, has = request.conversation, self._conversations.has
            keeping = [r for r in keeping if has(r.provider, chat)][:1] or keeping[:1]
        return tuple(keeping)

    def _budget(self, routes: tuple[Route, ...]) -> int:
        accounts = sum(len(self._backends[r.provider].accounts) for r in routes)
        return min(max(_MIN_ATTEMPTS, accounts + 1), _MAX_ATTEMPTS)

    def _asking(
        self,
        route: Route,
        request: ChatRequest,
        trace: Trace,
        *,
        only: Sequence[str],
        owner: str,
    ) -> _Asking:
        backend = self._backends[route.provider]
        request = backend.defaults.fill(route.defaults.fill(request))
        _note_departures(request, backend, trace)
        relays = may_relay(request, backend.provider.honours)
        request = replace(request, model=route.model, relays=relays)
        talk = None
        if backend.chats is not None:
            talk = self._conversations.talk(
                route.provider, backend.chats, owner, request
            )
        load = self._loading(backend, owner, trace)
        return _Asking(route, backend, request, talk, only=only, load=load)

    def _loading(self, backend: Backend, owner: str, trace: Trace) -> Load:
        """How this upstream's requests get their files; each is loaded once."""
        if "files" not in backend.provider.honours:
            return lambda request, scope: request
        return lambda request, scope: self._loader.load(
            request, owner, scope, trace.files
        )

    def _open_route(
        self, asking: _Asking, scope: Scope, trace: Trace, budget: int
    ) -> EventStream:
        last: GatewayError | None = None
        while len(trace.attempts) < budget:
            asking.load(scope)
            try:
                slot = asking.lease(scope)
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

    def _attempt(self, asking: _Asking, slot: Slot, scope: Scope, trace: Trace) -> Try:
        """Everything that has to be given back; the slot is, if this fails."""
        entry, kept = None, asking.kept
        try:
            if kept is not None and asking.talk and slot.account == kept.account:
                entry = asking.talk.resume(kept)
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

    def _begin(self, asking: _Asking, attempt: Try, scope: Scope) -> EventStream:
        try:
            first, rest = self._first_event(asking, attempt, scope)
        except GatewayError as exc:
            attempt.end(exc, proven=False)
            raise
        except BaseException:
            attempt.end(None, proven=False)
            raise
        finally:
            scope.content_seen()  # not even while the next attempt queues
        return EventStream(first, rest, attempt, asking.talk, asking.choices)

    def _first_event(
        self, asking: _Asking, attempt: Try, scope: Scope
    ) -> tuple[Event, Iterator[Event]]:
        """Pull the first event; a refused access token is renewed once."""
        account = asking.backend.accounts[attempt.slot.account]
        desk = self._desk.of(asking.route.provider, attempt.slot.account)
        credential = self._refresher.ready(account, scope)
        try:
            return _pull_first(asking, attempt, credential, desk)
        except GatewayError as exc:
            if exc.penalty is not Penalty.REFRESH or account.renewer is None:
                raise
        credential = self._refresher.renew(account, credential, scope)
        return _pull_first(asking, attempt, credential, desk)


def _pull_first(
    asking: _Asking, attempt: Try, credential: Credential, desk: AccountDesk
) -> tuple[Event, Iterator[Event]]:
    scope = attempt.scope
    provider, request = asking.backend.provider, asking.request_on(attempt, scope)
    lease = Lease(attempt.slot.account, credential, scope, attempt.entry, desk)
    ask = shaped(_asked_of(provider, lease), request, provider.honours)
    events = ask(request)
    try:
        return next(events), events
    except StopIteration:
        raise UpstreamCut("the provider ended without an answer") from None
    except BaseException as exc:
        leave(events)
        if isinstance(exc, FileLost):
            desk.forget()
        raise


def _asked_of(provider: Provider, lease: Lease) -> Ask:
    """Ask the provider itself; its first event ends the wait for content."""

    def ask(request: ChatRequest) -> Iterator[Event]:
        lease.scope.expect_content()
        events = provider.stream(request, lease)
        try:
            for event in events:
                lease.scope.content_seen()
                yield event
                break
            yield from events
        finally:
            leave(events)

    return ask


def _may_go_on(error: GatewayError) -> bool:
    """Whether another route may do better: not when the request itself is at fault,
    unless it only asks more than this upstream or model can do."""
    if isinstance(error, Unsupported | ContextTooLong | ModelNotFound):
        return True
    return not isinstance(error, ClientError | UpstreamRejected | InternalError)


def _is_over(scope: Scope) -> bool:
    return scope.cancelled or scope.remaining() <= 0


def _note_departures(request: ChatRequest, backend: Backend, trace: Trace) -> None:
    """Say what this upstream will not get as it was asked; raises `Unsupported`."""
    provider = backend.provider
    attached = [a for message in request.messages for a in message.attachments]
    if attached and "attachments" not in provider.honours:
        raise Unsupported(f"{provider.name} takes no files", param=attached[0].param)
    ignored = tuple(sorted(set(request.sampling) - provider.honours - STOOD_IN))
    if ignored and backend.strict:
        raise Unsupported(
            f"{provider.name} cannot honour {', '.join(ignored)}", param=ignored[0]
        )
    trace.ignored = ignored
    trace.emulated = emulated(request, provider.honours)
