"""The flow of a relayed call: whom to ask, with which account, how often.

`retry.py` makes the attempts, until one has the first bytes of its answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from kimi_proxy.attempt import BlockStream, Trace, Try, leave
from kimi_proxy.backend import Backend
from kimi_proxy.blame import Penalty
from kimi_proxy.errors import (
    GatewayError,
    ModelNotFound,
    NotFound,
    Unsupported,
    UpstreamCut,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamTimeout,
)
from kimi_proxy.journal import Entry
from kimi_proxy.keys import ClientKey
from kimi_proxy.pool import Slot
from kimi_proxy.providers.base import Call, Credential, Lease, RelaysOpenAI
from kimi_proxy.relay.body import RelayBody
from kimi_proxy.relay.endpoint import Target
from kimi_proxy.relay.home import Home, Homes, ids_in
from kimi_proxy.retry import Opener, may_go_on
from kimi_proxy.router import Route, Router
from kimi_proxy.scope import Scope

# After these nobody can tell whether the call took effect.
_IN_DOUBT = (UpstreamFailed, UpstreamCut, UpstreamTimeout, UpstreamGarbled)
_MOST_REMEMBERED = 1 << 18  # bytes of an answer in which an id is looked for


@dataclass(frozen=True, slots=True)
class Question:
    """A call as the client made it; `refers` are ids that it names besides its path."""

    target: Target
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: RelayBody | None = field(default=None, repr=False)
    refers: Sequence[str] = ()

    @property
    def model(self) -> str | None:
        found = None if self.body is None else self.body.field
        return None if found is None else found.model


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to ask.

    `account`: the only one that has what it is about. `seeks`: the one that has it is
    not known, so each may be asked. `listed` False: the model's name says nothing of
    the provider.
    """

    routes: tuple[Route, ...]
    account: str | None = None
    seeks: bool = False
    listed: bool = True

    def permit(self, key: ClientKey, model: str | None) -> None:
        """Raise `Forbidden` unless the key has a right to it.

        What names no model may be about any of the provider's.
        """
        provider = self.routes[0].provider
        if model is None:
            key.require_all_of(provider)
        elif self.listed or not key.allows(f"{provider}/{model}"):
            key.require(model)


class Relay:
    """Makes relayed calls; `default` is the provider of those that name no other."""

    def __init__(
        self, *, router: Router, opener: Opener, homes: Homes, default: str | None
    ) -> None:
        self._router = router
        self._opener = opener
        self._homes = homes
        self._default = default

    def plan(self, question: Question) -> Plan:
        """Raises `ModelNotFound`, `Unsupported`, or `NotFound` without a default."""
        named = self._named(question) if question.model is not None else None
        target = question.target
        home = None
        if target.keeps:
            home = self._homes.find((*target.ids, *question.refers))
        if home is not None and self._is_there(home):
            routes = (Route(home.provider, ""),) if named is None else named.routes
            there = tuple(r for r in routes if r.provider == home.provider)
            if there:
                listed = named is None or named.listed
                return Plan(there, account=home.account, listed=listed)
        if named is None:
            if self._default is None:
                raise NotFound(
                    f"nobody is asked for {target.method} /v1{target.path}: it names "
                    "no model, and no default is configured (relay.provider)"
                )
            named = Plan((Route(self._default, ""),))
        seeks = target.keeps and bool(target.ids or question.refers)
        return replace(named, seeks=seeks)

    def _named(self, question: Question) -> Plan:
        """Whom the model's name leads to; the upstream may have more than it lists."""
        name = question.model or ""
        try:
            routes, listed = self._router.resolve(name), True
        except ModelNotFound:
            provider, _, model = name.partition("/")
            if model and provider in self._opener.backends:
                routes, listed = (Route(provider, model),), True
            elif self._default is not None:
                routes, listed = (Route(self._default, name),), False
            else:
                raise
        able = tuple(route for route in routes if self._relays(route.provider))
        if not able:
            raise Unsupported(
                f"{name[:200]} is not at an OpenAI-compatible upstream, which alone "
                f"has /v1{question.target.path}",
                param="model",
            )
        return Plan(able, listed=listed)

    def _relays(self, provider: str) -> bool:
        backend = self._opener.backends.get(provider)
        return backend is not None and isinstance(backend.provider, RelaysOpenAI)

    def _is_there(self, home: Home) -> bool:
        backend = self._opener.backends.get(home.provider)
        return backend is not None and home.account in backend.accounts

    def open(
        self,
        question: Question,
        plan: Plan,
        scope: Scope,
        trace: Trace,
        *,
        only: Sequence[str] = (),
    ) -> BlockStream:
        """The answer, as soon as it begins; see `Opener.open`."""
        asking = partial(self._asking, question, plan, only)

        def go_on(error: GatewayError) -> bool:
            return may_go_on(error) and not may_have_worked(question.target, error)

        answer = self._opener.open(plan.routes, asking, scope, trace, go_on)
        try:
            self._remember(question.target, plan, answer)
        except BaseException as exc:
            answer.close(exc if isinstance(exc, GatewayError) else None)
            raise
        return answer

    def _asking(
        self, question: Question, plan: Plan, only: Sequence[str], route: Route
    ) -> "_Asking":
        backend = self._opener.backends[route.provider]
        return _Asking(route, backend, question, plan, only)

    def _remember(self, target: Target, plan: Plan, answer: BlockStream) -> None:
        """Before the client has heard of what was made, it is known where."""
        if not target.keeps or target.method == "DELETE":
            return
        home = Home(answer.route.provider, answer.account)
        if plan.seeks or plan.account is not None:
            self._homes.remember(target.ids, home)
        if target.method == "POST" and "json" in answer.headers.get("content-type", ""):
            made = answer.read_ahead(_MOST_REMEMBERED)
            self._homes.remember(ids_in(made), home)


class _Asking:
    """One relayed call on one route: what its attempts share."""

    def __init__(
        self,
        route: Route,
        backend: Backend,
        question: Question,
        plan: Plan,
        only: Sequence[str],
    ) -> None:
        self.route = route
        self.backend = backend
        self._question = question
        self._plan = plan
        self._only = only
        self._tried: set[str] = set()

    def load(self, scope: Scope) -> None:
        """All is at hand."""

    def lease(self, scope: Scope, *, patient: bool) -> Slot:
        home, accounts = self._plan.account, self._only or self.backend.accounts
        names = [name for name in accounts if home in (None, name)]
        if not names:
            raise NotFound("the account that has this may not be used")
        # What names no model goes to the first account that can, so that what is made
        # there is also what is listed.
        prefer = None
        if self._question.model is None:
            prefer = next((n for n in names if n not in self._tried), None)
        return self.backend.pool.lease(
            self.route.model,
            scope,
            exclude=self._tried,
            prefer=prefer,
            names=names,
            patient=patient,
        )

    def resume(self, slot: Slot) -> Entry | None:
        return None

    def begin(self, attempt: Try, credential: Credential) -> BlockStream:
        """Wait for the answer's first bytes."""
        provider = self.backend.provider
        assert isinstance(provider, RelaysOpenAI)  # noqa: S101 - the plan saw to it
        lease = Lease(attempt.slot.account, credential, attempt.scope, attempt.entry)
        answer = provider.relay(self._call(), lease)
        try:
            return BlockStream(answer, attempt)
        except BaseException:
            leave(answer.blocks)
            raise

    def _call(self) -> Call:
        question, body = self._question, self._question.body
        return Call(
            method=question.target.method,
            path=question.target.path,
            query=question.query,
            headers=question.headers,
            body=None if body is None else body.naming(self.route.model),
        )

    def may_try_again(self, attempt: Try, error: GatewayError) -> bool:
        if may_have_worked(self._question.target, error):
            return False
        seeks = self._plan.seeks and isinstance(error, UpstreamNotFound)
        if not (error.another_token or seeks):
            return False
        if error.penalty is not Penalty.BUSY:
            self._tried.add(attempt.slot.account)
        return True


def may_have_worked(target: Target, error: GatewayError) -> bool:
    """Whether a call that failed may have had its effect, which must not come twice."""
    return not target.may_repeat and isinstance(error, _IN_DOUBT)
