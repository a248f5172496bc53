"""One attempt at an answer, and the answer once it has begun.

What an attempt takes (a place on an account, a line in the journal) it gives back
exactly once, whichever way it ends.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from kimi_proxy.chat import File
from kimi_proxy.conversations import Talk
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    InternalError,
    StateUnavailable,
    UpstreamCut,
    UpstreamNotFound,
    UpstreamRejected,
)
from kimi_proxy.events import Collector, Event, Finished
from kimi_proxy.journal import Entry
from kimi_proxy.logs import logger
from kimi_proxy.pool import Pool, Slot
from kimi_proxy.providers.base import Answer
from kimi_proxy.router import Route
from kimi_proxy.scope import Scope
from kimi_proxy.telemetry import Attempt

T = TypeVar("T")


@dataclass(slots=True)
class Trace:
    """What one request went through, filled in as it goes; read by the log.

    `files` are those that were loaded for it, by the `param` of their attachments.
    """

    attempts: list[Attempt] = field(default_factory=list)
    ignored: tuple[str, ...] = ()
    emulated: tuple[str, ...] = ()
    files: dict[str, File] = field(default_factory=dict, repr=False)


class _Opened(Generic[T]):
    """What an attempt has begun: used to its end or closed, it gives the account back.

    `close` is for the thread that iterates.
    """

    def __init__(self, rest: Iterator[T], attempt: "Try") -> None:
        self._rest = rest
        self._attempt = attempt
        attempt.entry.touched()
        self.route = attempt.route
        self.account = attempt.slot.account

    def _pull(self) -> T:
        """The next piece; what StopIteration means is for the caller to say."""
        try:
            return next(self._rest)
        except StopIteration:
            raise
        except GatewayError as exc:
            self._end(exc)
            raise
        except BaseException:
            self._end(None)
            raise

    def _end(self, error: GatewayError | None, *, proven: bool = False) -> None:
        try:
            leave(self._rest)
        finally:
            self._attempt.end(error, proven=proven)

    def close(self, reason: GatewayError | None = None) -> None:
        """Stop: frees socket, account and journal; harmless when already over.

        Without a `reason` it is what ended the scope, or else that the client left.
        """
        if not self._attempt.over:
            self._end(reason or self._attempt.interruption())


class BlockStream(_Opened[bytes]):
    """An opened answer in bytes, to be handed on as they come; iterate or `close`."""

    def __init__(self, answer: Answer, attempt: "Try") -> None:
        """Waits for the first bytes: only then it is sure that there is an answer."""
        super().__init__(answer.blocks, attempt)
        self.status = answer.status
        self.headers = answer.headers
        self._ahead: list[bytes] = []
        if not self.read_ahead(1):
            self._end(None, proven=True)

    @property
    def over(self) -> bool:
        """Whether all of it was handed on."""
        return self._attempt.over and not self._ahead

    def read_ahead(self, size: int) -> bytes:
        """At least so many bytes of what is to come, unless there are no more."""
        while sum(map(len, self._ahead)) < size:
            try:
                self._ahead.append(next(self._rest))
            except StopIteration:
                break
        return b"".join(self._ahead)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._ahead:
            return self._ahead.pop(0)
        if self._attempt.over:
            raise StopIteration
        try:
            return self._pull()
        except StopIteration:
            self._end(None, proven=True)
            raise


class EventStream(_Opened[Event]):
    """An opened answer: its first event is here, the rest follows.

    Iterate to the end or `close`; either gives the account back. Raises
    `GatewayError`; whatever comes after `Finished` is not read. It has as many of the
    `choices` asked for.
    """

    def __init__(
        self,
        first: Event,
        rest: Iterator[Event],
        attempt: "Try",
        talk: Talk | None,
        choices: int = 1,
    ) -> None:
        super().__init__(rest, attempt)
        self._first: Event | None = first
        self._talk = talk if talk is not None and talk.keeps else None
        self._said = Collector()
        self.choices = choices

    @property
    def conversation(self) -> str | None:
        """The id under which the client may go on; None while there is none."""
        return None if self._talk is None else self._attempt.entry.chat

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self._attempt.over:
            raise StopIteration
        event, self._first = self._first, None
        if event is None:
            event = self._next_event()
        if self._talk is not None:
            self._said.add(event)
        if isinstance(event, Finished):
            event = self._kept(event)
            self._end(None, proven=True)
        return event

    def _kept(self, end: Finished) -> Finished:
        """The end, naming the chat only if it can be gone on with."""
        entry = self._attempt.entry
        whole = end.reason != "content_filter" and end.conversation is not None
        if self._talk is not None and whole:
            try:
                self._talk.keep(entry, end.head, self._said.result())
                return end
            except StateUnavailable as exc:
                logger.warning("a conversation cannot be kept: %s", exc.message)
        # A chat that the client named stays as it was before this turn.
        named = entry.chat if entry.kept else None
        if end.conversation is named and end.head is None:
            return end
        return replace(end, conversation=named, head=None)

    def _next_event(self) -> Event:
        try:
            return self._pull()
        except StopIteration:
            error = UpstreamCut("the provider ended without finishing its answer")
            self._end(error)
            raise error from None


def leave(events: Iterator[Any]) -> None:
    """Let the provider clean up; an upstream that fails at that changes nothing."""
    close = getattr(events, "close", None)
    try:
        if close is not None:
            close()
    except GatewayError as exc:
        logger.info("an upstream was not left cleanly: %s", exc.message)


class Try:
    """One attempt: a slot, a journal entry and a stopwatch, ended exactly once.

    `resumed`: the entry is that of a chat which is gone on with.
    """

    def __init__(
        self,
        *,
        route: Route,
        slot: Slot,
        pool: Pool,
        entry: Entry,
        resumed: bool,
        scope: Scope,
        trace: Trace,
        monotonic: Callable[[], float],
    ) -> None:
        self.route = route
        self.slot = slot
        self.entry = entry
        self.resumed = resumed
        self.over = False
        self._pool = pool
        self.scope = scope
        self._trace = trace
        self._monotonic = monotonic
        self._started = monotonic()

    def interruption(self) -> GatewayError:
        """Why an answer was not read to its end."""
        try:
            self.scope.check()
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
            error = self.scope.reason or error
        if isinstance(error, UpstreamRejected):
            self.entry.touched()
        if self.lost_chat(error):
            self.entry.discard()
        try:
            self._pool.finish(self.slot, error, proven=proven)
        finally:
            try:
                self.entry.close(error)
            finally:
                self._trace.attempts.append(self._told(error, proven))

    def lost_chat(self, error: GatewayError | None) -> bool:
        """Whether the chat that was taken up is gone upstream."""
        gone = isinstance(error, UpstreamNotFound) and not error.is_bare
        return self.resumed and gone

    def _told(self, error: GatewayError | None, proven: bool) -> Attempt:
        failure = (error or InternalError("")).code or "error"
        return Attempt(
            provider=self.route.provider,
            account=self.slot.account,
            model=self.route.model,
            outcome="ok" if proven else failure,
            seconds=self._monotonic() - self._started,
        )
