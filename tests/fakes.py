"""A clock to turn by hand, an upstream that follows a script, an observer that notes.

The provider does what a real one does at its edges: nothing before the first `next()`,
journal before the send, scope obeyed in every wait, `close()` at any moment.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.clock import Clock
from kimi_proxy.errors import GatewayError, TokenDead
from kimi_proxy.events import Event, Finished, TextDelta
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.telemetry import RefreshEnded, RequestEnded

EPOCH = 1_700_000_000.0


class HandClock:
    """Stands still until `advance`; both of its hands move together."""

    def __init__(self, now: float = EPOCH) -> None:
        self._now = now
        self._monotonic = 1000.0

    def advance(self, seconds: float) -> None:
        self._now += seconds
        self._monotonic += seconds

    def set_back(self, seconds: float) -> None:
        """Correct the time of day; what is monotonic does not jump."""
        self._now -= seconds

    def now(self) -> float:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    @property
    def clock(self) -> Clock:
        return Clock(self.now, self.monotonic)


@dataclass(frozen=True, slots=True)
class MakeChat:
    """A step: the upstream makes a chat; unless `named`, its id is never heard."""

    named: bool = True


@dataclass(frozen=True, slots=True)
class Hold:
    """A step: silence until `until` is set or the scope is cancelled."""

    until: threading.Event
    reached: threading.Event = field(default_factory=threading.Event)


Step = Event | MakeChat | Hold | BaseException


@dataclass(frozen=True, slots=True)
class Call:
    """One `stream`: with what it was asked."""

    account: str
    credential: Credential
    model: str


@dataclass(slots=True)
class Chat:
    """A chat as the upstream keeps it."""

    fingerprint: str
    at: float


Script = Callable[[Call], Iterable[Step]]

WHOLE: tuple[Step, ...] = (MakeChat(), TextDelta("hello"), Finished("stop"))


class FakeProvider:
    """An upstream by script; `script` says for each call what happens, step by step.

    `faults` holds, by method, the errors that its next calls raise. `renewing`, when
    cleared, holds renewals up.
    """

    honours = frozenset({"temperature"})

    def __init__(self, name: str = "fake", now: Callable[[], float] | None = None):
        self.name = name
        self.script: Script = lambda call: WHOLE
        self.model_ids = ["model"]
        self.calls: list[Call] = []
        self.running = 0
        self.closed = 0
        self.chats: dict[str, Chat] = {}
        self.deleted: list[str] = []
        self.searches: list[tuple[str, float]] = []
        self.renewals: list[str | None] = []
        self.checks: list[Credential] = []
        self.dead: set[str] = set()
        self.token_life: float | None = 900.0
        self.renewing = threading.Event()
        self.renewing.set()
        self.faults: dict[str, list[BaseException]] = {}
        self._now = now or (lambda: EPOCH)
        self._ids = itertools.count(1)
        self._lock = threading.Lock()

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        call = Call(lease.account, lease.credential, request.model)
        with self._lock:
            self.calls.append(call)
            self.running += 1
        try:
            for step in self.script(call):
                lease.scope.check()
                match step:
                    case MakeChat(named):
                        self._make_chat(request, lease, named)
                    case Hold():
                        _hold(step, lease.scope)
                    case BaseException():
                        raise step
                    case _:
                        yield step
        finally:
            with self._lock:
                self.running -= 1
                self.closed += 1
            self._fail("close")

    def _make_chat(self, request: ChatRequest, lease: Lease, named: bool) -> None:
        fingerprint = "|".join(message.text for message in request.messages)
        lease.chat.sending(fingerprint)
        with self._lock:
            chat_id = f"chat-{next(self._ids)}"
            self.chats[chat_id] = Chat(fingerprint, self._now())
        if named:
            lease.chat.opened(chat_id)

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        with self._lock:
            self.renewals.append(credential.refresh)
            number = len(self.renewals)
        while not self.renewing.wait(0.01):
            scope.check()
        self._fail("refresh")
        if credential.refresh is None or credential.refresh in self.dead:
            raise TokenDead("log in again")
        life = self.token_life
        return replace(
            credential,
            access=f"fake-access-{number}",
            refresh=f"fake-refresh-{number}",
            access_expires=None if life is None else self._now() + life,
        )

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        return self.known_models()

    def known_models(self) -> list[Model]:
        return [Model(name, name.title(), self.name) for name in self.model_ids]

    def read_token(self, text: str) -> Credential:
        """`fake-access…`, `fake-refresh…`, or both with a comma between."""
        access = refresh = None
        for part in text.split(","):
            if part.startswith("fake-access"):
                access = part
            elif part.startswith("fake-refresh"):
                refresh = part
            else:
                raise ValueError("not a token of the fake upstream")
        return Credential(access=access, refresh=refresh)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        with self._lock:
            self.checks.append(credential)
        self._fail("check_token")

    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        self._fail("delete_chat")
        with self._lock:
            self.deleted.append(chat_id)
            self.chats.pop(chat_id, None)

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        with self._lock:
            self.searches.append((fingerprint, since))
        self._fail("find_chats")
        return [
            chat_id
            for chat_id, chat in self.chats.items()
            if chat.fingerprint == fingerprint and chat.at >= since
        ]

    def _fail(self, method: str) -> None:
        with self._lock:
            waiting = self.faults.get(method)
            error = waiting.pop(0) if waiting else None
        if error is not None:
            raise error


def _hold(step: Hold, scope: Scope) -> None:
    step.reached.set()
    woken = threading.Event()
    forget = scope.on_cancel(woken.set)
    try:
        while not step.until.is_set():
            scope.check()
            woken.wait(0.002)
    finally:
        forget()


class Notes:
    """An observer that keeps what it was told."""

    def __init__(self) -> None:
        self.started = 0
        self.requests: list[RequestEnded] = []
        self.renewals: list[RefreshEnded] = []

    def request_started(self) -> None:
        self.started += 1

    def request_ended(self, details: RequestEnded) -> None:
        self.requests.append(details)

    def refresh_ended(self, details: RefreshEnded) -> None:
        self.renewals.append(details)


def make_scope(clock: Clock, **timeouts: float) -> Scope:
    """A scope of its own clock; the time-outs not given are the usual ones."""
    return Scope(Timeouts(**timeouts), clock.monotonic)


def raised(error: GatewayError) -> Script:
    """A script that does nothing but raise."""
    return lambda call: [error]
