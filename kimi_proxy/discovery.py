"""Which models the upstreams have: asked in the background, the same for all workers.

What one worker was told the others take over within moments, so that no model that one
lists is unknown to the next; also a worker that begins while the upstream is down.
"""

from collections.abc import Callable, Mapping

from kimi_proxy.backend import Backend
from kimi_proxy.blame import Blame
from kimi_proxy.clock import Clock
from kimi_proxy.errors import GatewayError, PoolEmpty, StateUnavailable
from kimi_proxy.logs import logger
from kimi_proxy.providers.base import ListsModels, Memory, SharesModels
from kimi_proxy.refresh import Refresher
from kimi_proxy.scope import Scope, Timeouts

INTERVAL = 5.0  # seconds between two looks at what others were told
_FRESH = 300.0
_AGAIN = 30.0
_TURN = 2 * INTERVAL  # so much earlier than the others asks who asked the last time
_KEPT = 7 * 86_400.0
_PATIENCE = Timeouts(total=30)


class Discovery:
    """Keeps the lists of models of the `backends` up to date.

    `stamps` is looked at every few seconds, `lists` only for what is new: a list may be
    long. `changed` is called after each look at which a list may have changed.
    """

    def __init__(
        self,
        *,
        backends: Mapping[str, Backend],
        refresher: Refresher,
        stamps: Memory,
        lists: Memory,
        clock: Clock,
    ) -> None:
        self._backends = backends
        self._refresher = refresher
        self._stamps = stamps
        self._lists = lists
        self._clock = clock
        self._made: dict[str, float] = {}  # when the list that is known was made
        self._due: dict[str, float] = {}
        self._pauses: dict[str, float] = {}  # until the next try after a failure
        self._trouble: dict[str, str] = {}
        self.changed: Callable[[], object] = lambda: None

    @property
    def names(self) -> tuple[str, ...]:
        """The providers that list models."""
        found = self._backends.items()
        return tuple(n for n, b in found if isinstance(b.provider, ListsModels))

    def look(self, name: str) -> None:
        """Take over a newer list of another worker; ask for one when all are old."""
        provider = self._backends[name].provider
        if isinstance(provider, SharesModels) and self._adopt(name, provider):
            self.changed()
        if self._clock.now() >= self._due.get(name, 0.0):
            self.ask(name)

    def ask(self, name: str) -> None:
        """Ask the upstream; the last list stands when that fails."""
        failed = self._asked(self._backends[name])
        now = self._clock.now()
        if failed is None:
            self._due[name] = now + _FRESH
            self._pauses.pop(name, None)
            self._trouble.pop(name, None)
            self._made[name] = now
            self._share(name)
        else:
            self._postpone(name, now, failed)
        self.changed()

    def _postpone(self, name: str, now: float, failed: GatewayError) -> None:
        """Soon, and then less and less often; told once."""
        pause = self._pauses.get(name, _AGAIN)
        self._due[name] = now + pause
        self._pauses[name] = min(2 * pause, _FRESH)
        if self._trouble.get(name) != failed.detail:
            self._trouble[name] = failed.detail
            logger.warning("listing the models of %s: %s", name, failed.detail)

    def _asked(self, backend: Backend) -> GatewayError | None:
        """Ask with one account after the other, until one is let in."""
        failed: GatewayError | None = PoolEmpty("no account is fit to ask with")
        for account in (s for s in backend.pool.states() if s.state == "ok"):
            failed = self._asked_with(backend, account.name)
            if failed is None or failed.blame is not Blame.ACCOUNT:
                break
        return failed

    def _asked_with(self, backend: Backend, account: str) -> GatewayError | None:
        scope = Scope(_PATIENCE, self._clock.monotonic)
        try:
            credential = self._refresher.ready(backend.accounts[account], scope)
            if isinstance(backend.provider, ListsModels):
                backend.provider.models(credential, scope)
        except GatewayError as exc:
            return exc
        return None

    def _adopt(self, name: str, provider: SharesModels) -> bool:
        """Whether another worker's list was newer; the stamp tells, which is small."""
        key = _key(name, provider)
        try:
            stamp = self._stamps.get(key) or {}
            if stamp.get("at", 0.0) <= self._made.get(name, 0.0):
                return False
            document = self._lists.get(key)
        except StateUnavailable:
            return False  # what is known has to do
        if document is None:
            return False
        provider.adopt_models(document["models"])
        self._made[name] = stamp["at"]
        if name in self._due:  # who has just begun asks for itself all the same
            self._due[name] = stamp["at"] + _FRESH + _TURN
        return True

    def _share(self, name: str) -> None:
        provider = self._backends[name].provider
        if not isinstance(provider, SharesModels):
            return
        key, models = _key(name, provider), provider.shared_models()
        if models is None:
            return
        try:
            self._lists.put(key, {"models": models}, ttl=_KEPT)
            self._stamps.put(key, {"at": self._made[name]}, ttl=_KEPT)
        except StateUnavailable as exc:
            logger.warning("the models of %s are not shared: %s", name, exc.detail)


def _key(name: str, provider: SharesModels) -> str:
    """Another upstream under the same name has other models."""
    return f"models/{name}/{provider.service}"
