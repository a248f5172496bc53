"""The flow of one chat request: route, lease, credential, stream, first event.

`retry.py` makes the attempts, until one has its first event.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from kimi_proxy.ability import require_ability
from kimi_proxy.attempt import EventStream, Trace, Try, leave
from kimi_proxy.backend import Backend
from kimi_proxy.blame import Penalty
from kimi_proxy.chat import ChatRequest
from kimi_proxy.conversations import Conversations, Kept, Talk
from kimi_proxy.desk import AccountDesk, Desk
from kimi_proxy.errors import (
    FileLost,
    GatewayError,
    InvalidAnswer,
    NotFound,
    Unsupported,
    UpstreamCut,
    UpstreamError,
)
from kimi_proxy.events import Event
from kimi_proxy.files import Loader
from kimi_proxy.journal import Entry
from kimi_proxy.pool import Slot
from kimi_proxy.providers.base import Credential, Lease, Provider, SaysWhatIsLost
from kimi_proxy.retry import Opener
from kimi_proxy.router import Route, Router
from kimi_proxy.scope import Scope
from kimi_proxy.shaping.ask import Ask
from kimi_proxy.shaping.pipeline import STOOD_IN, emulated, may_relay, shaped

_CONVERSATION = "conversation_id"

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
        desk: Desk,
    ) -> None:
        self.route = route
        self.backend = backend
        self.talk = talk
        self._request = request if talk is None else talk.request
        self._only = only
        self.kept = None if talk is None else self._found(talk)
        self._load = load
        self._desk = desk
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

    def lease(self, scope: Scope, *, patient: bool) -> Slot:
        """A place on an account, on that of the chat to go on with if possible."""
        names, prefer = self._only or None, None
        if self.kept is not None:
            prefer = self.kept.account
            if self.kept.required:
                names = [prefer]
        elif self._request.sampling.get("store"):
            # On the account whose stored chats are listed, see relay.
            accounts = self._only or self.backend.accounts
            prefer = next((n for n in accounts if n not in self._tried), None)
        return self.backend.pool.lease(
            self.route.model,
            scope,
            exclude=self._tried,
            prefer=prefer,
            names=names,
            patient=patient,
        )

    def resume(self, slot: Slot) -> Entry | None:
        """Take up the chat to go on with, where this account has it."""
        kept = self.kept
        if kept is None or self.talk is None or slot.account != kept.account:
            return None
        return self.talk.resume(kept)

    def begin(self, attempt: Try, credential: Credential) -> EventStream:
        """Pull the first event."""
        desk = self._desk.of(self.route.provider, attempt.slot.account)
        first, rest = _pull_first(self, attempt, credential, desk)
        return EventStream(first, rest, attempt, self.talk, self.choices)

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
        opener: Opener,
        conversations: Conversations,
        loader: Loader,
        desk: Desk,
    ) -> None:
        self._router = router
        self._backends = opener.backends
        # Asked once, see `Router`.
        self._frank = {
            name: backend.provider
            for name, backend in opener.backends.items()
            if isinstance(backend.provider, SaysWhatIsLost)
        }
        self._opener = opener
        self._conversations = conversations
        self._loader = loader
        self._desk = desk

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
        return self._opener.open(
            self._routes(request),
            lambda route: self._asking(route, request, trace, only=only, owner=owner),
            scope,
            trace,
        )

    def _routes(self, request: ChatRequest) -> tuple[Route, ...]:
        """The routes to try in order; a conversation goes on where it is."""
        routes = self._router.resolve(request.model)
        chats = [self._backends[route.provider].chats for route in routes]
        if request.user and any(found and found.mode == "user" for found in chats):
            routes = self._router.resolve(request.model, request.user)
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
        require_ability(request, backend.provider, self._router.described(route))
        frank = self._frank.get(route.provider)
        lost = () if frank is None else frank.ignores(request, route.model)
        _note_departures(request, lost, backend, trace)
        relays = may_relay(request, backend.provider.honours)
        request = replace(request, model=route.model, relays=relays)
        talk = None
        if backend.chats is not None:
            talk = self._conversations.talk(
                route.provider, backend.chats, owner, request
            )
        load = self._loading(backend, owner, trace)
        return _Asking(
            route, backend, request, talk, only=only, load=load, desk=self._desk
        )

    def _loading(self, backend: Backend, owner: str, trace: Trace) -> Load:
        """How this upstream's requests get their files; each is loaded once."""
        takes_files = "files" in backend.provider.honours
        load = self._loader.load if takes_files else self._loader.load_stored
        return lambda request, scope: load(request, owner, scope, trace.files)


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


def _note_departures(
    request: ChatRequest, lost: Iterable[str], backend: Backend, trace: Trace
) -> None:
    """Say what this upstream will not get as it was asked; raises `Unsupported`."""
    provider = backend.provider
    unheeded = set(request.sampling) - provider.honours - STOOD_IN
    ignored = tuple(sorted(unheeded.union(lost)))
    if ignored and backend.strict:
        raise Unsupported(
            f"{provider.name} cannot honour {', '.join(ignored)}", param=ignored[0]
        )
    trace.ignored = ignored
    trace.emulated = emulated(request, provider.honours)
