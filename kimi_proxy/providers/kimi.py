"""Kimi's web service by whichever of its two wires answers.

The Connect wire is the main one; the legacy wire stands in for it, and it for the
legacy wire, where the service does not offer the call (legacy sheet §0: which of the
two a host serves has changed before).
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, TypeVar

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    GatewayError,
    InvalidRequest,
    NotFound,
    UpstreamCut,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnsupported,
)
from kimi_proxy.events import Event
from kimi_proxy.providers.base import (
    ChatLog,
    ChecksTokens,
    Credential,
    KeepsChats,
    Lease,
    ListsModels,
    OffersUnlisted,
    Provider,
    RefreshesTokens,
)
from kimi_proxy.scope import Scope

Name = Literal["connect", "legacy"]
_T = TypeVar("_T")

_BOTH: tuple[Name, Name] = ("connect", "legacy")
_LEGACY_CHAT = re.compile(r"[0-9a-z]{20}")  # legacy sheet §3; Connect's are UUIDs
# What a refused call may mean, but never of a chat request that only waits for a token.
_OF_A_REQUEST = (
    InvalidRequest,
    NotFound,
    UpstreamForbidden,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnsupported,
)
_ABSENT_FOR = 600.0  # seconds until a wire that was not there is tried first again


class Wire(
    Provider,
    RefreshesTokens,
    ListsModels,
    OffersUnlisted,
    ChecksTokens,
    KeepsChats,
    Protocol,
):
    """What either wire has to be able to do."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """A wire to try, and the model's id on it."""

    wire: Name
    model: str


@dataclass(frozen=True, slots=True)
class _MarkedLog:
    """A chat log whose fingerprints say on which wire the chat is made."""

    log: ChatLog
    wire: Name

    def sending(self, fingerprint: str) -> None:
        self.log.sending(f"{self.wire}:{fingerprint}")

    def opened(self, chat_id: str) -> None:
        self.log.opened(chat_id)


class Kimi:
    """Both wires as one provider; `wire` other than "auto" uses only that one.

    A model that one wire alone knows goes to that wire. The first model of
    `known_models` is the default. The two wires' own default models stand for each
    other when one wire is not there, so that an answer comes either way.
    """

    def __init__(
        self,
        name: str,
        *,
        connect: Wire,
        legacy: Wire,
        monotonic: Callable[[], float],
        wire: Literal["auto", "connect", "legacy"] = "auto",
    ) -> None:
        self.name = name
        self.honours = connect.honours & legacy.honours
        self._wires: dict[Name, Wire] = {"connect": connect, "legacy": legacy}
        self._active: tuple[Name, ...] = _BOTH if wire == "auto" else (wire,)
        self._monotonic = monotonic
        # By wire and region: what one region's host lacks, the other's may have.
        self._absent_until: dict[tuple[Name, str | None], float] = {}

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; the other wire is tried before the first event only.

        See `Provider.stream`. Raises `UpstreamForbidden` for a model that no wire
        open to this account knows.
        """
        first, rest = self._opened(request, lease)
        try:
            yield first
            yield from rest
        finally:
            _close(rest)

    def _opened(
        self, request: ChatRequest, lease: Lease
    ) -> tuple[Event, Iterator[Event]]:
        absent: GatewayError | None = None
        region = lease.credential.region
        # With files it may be the file calls alone that are not there, which says
        # nothing of chats. A long prompt is a file, too: its error names a field.
        has_files = any(message.files for message in request.messages)
        for attempt in self._attempts(request, lease.credential):
            log = _MarkedLog(lease.chat, attempt.wire)
            asked = replace(request, model=attempt.model)
            events = self._wires[attempt.wire].stream(asked, replace(lease, chat=log))
            try:
                first = next(events, None)
            except GatewayError as exc:
                if not _is_absent(exc):
                    raise
                absent = absent or exc
                if not has_files and exc.param is None:
                    until = self._monotonic() + _ABSENT_FOR
                    self._absent_until[attempt.wire, region] = until
                continue
            if first is None:
                raise UpstreamCut("Kimi's answer ended before it began")
            self._absent_until.pop((attempt.wire, region), None)
            return first, events
        if absent is None and request.follows is not None:
            raise UpstreamNotFound("the chat is on a wire that is not in use")
        raise absent or UpstreamForbidden(
            f"this account's region does not offer the model {request.model!r}"
        )

    def _attempts(self, request: ChatRequest, credential: Credential) -> list[_Attempt]:
        """The wires to try, those that were there and that know the model first.

        A chat goes on only on the wire it was made on.
        """
        model, follows = request.model, request.follows
        known = {wire: self._ids(wire) for wire in self._active}
        knowing = [wire for wire, ids in known.items() if model in ids]
        is_default = any(known[wire][0] == model for wire in knowing)
        attempts = []
        for wire in self._open_to(credential):
            if follows is not None and wire != _wire_of(follows.chat):
                continue
            if wire in knowing or not knowing:
                attempts.append(_Attempt(wire, model))
            elif is_default and known[wire]:
                attempts.append(_Attempt(wire, known[wire][0]))
        return sorted(
            attempts,
            key=lambda a: (
                self._was_absent(a.wire, credential.region),
                a.wire not in knowing,
            ),
        )

    def _ids(self, wire: Name) -> list[str]:
        return [model.id for model in self._wires[wire].known_models()]

    def _open_to(self, credential: Credential) -> Sequence[Name]:
        """The wires for an account: the legacy one has never served overseas ones."""
        if credential.region == "overseas" and "connect" in self._active:
            return ("connect",)
        return self._active

    def _was_absent(self, wire: Name, region: str | None) -> bool:
        until = self._absent_until.get((wire, region))
        return until is not None and self._monotonic() < until

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        """Buy a new access token; see `RefreshesTokens.refresh`.

        Whatever is no verdict on the token is to be tried later (connect sheet §2.1).
        """
        try:
            return self._first_there(credential, lambda w: w.refresh(credential, scope))
        except _OF_A_REQUEST as exc:
            raise UpstreamFailed(
                f"Kimi's token service fails: {exc.message}",
                retry_after=exc.retry_after,
                upstream_code=exc.upstream_code,
            ) from exc

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Let the wires list their models; see `ListsModels.models`."""
        asked = credential or Credential()
        self._first_there(asked, lambda wire: wire.models(credential, scope))
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models of all wires in use, the main wire's first, each id once."""
        found: dict[str, Model] = {}
        for wire in self._active:
            for model in self._wires[wire].known_models():
                found.setdefault(model.id, model)
        return list(found.values())

    def offers(self, model: str) -> bool:
        """Whether a wire in use offers the model; see `OffersUnlisted.offers`."""
        return any(self._wires[wire].offers(model) for wire in self._active)

    def read_token(self, text: str) -> Credential:
        """Understand a pasted token, which is the same on both wires."""
        return self._wires[self._active[0]].read_token(text)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask whether the credential works; see `ChecksTokens.check_token`."""
        self._first_there(credential, lambda w: w.check_token(credential, scope))

    def _first_there(self, credential: Credential, call: Callable[[Wire], _T]) -> _T:
        """The answer of the first wire that offers the call.

        Nothing is remembered: that a host lacks one call says little of another.
        """
        *others, last = self._open_to(credential)
        for wire in others:
            try:
                return call(self._wires[wire])
            except GatewayError as exc:
                if not _is_absent(exc):
                    raise
        return call(self._wires[last])

    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        """Delete a chat on the wire it was made on, even if that is not in use now."""
        self._wires[_wire_of(chat_id)].delete_chat(credential, chat_id, scope)

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        """Find chats on the wire that the fingerprint names."""
        for wire, provider in self._wires.items():
            own = fingerprint.removeprefix(f"{wire}:")
            if own != fingerprint:
                return provider.find_chats(credential, own, since, scope)
        return []


def _wire_of(chat_id: str) -> Name:
    return "legacy" if _LEGACY_CHAT.fullmatch(chat_id) else "connect"


def _is_absent(error: GatewayError) -> bool:
    """Whether an error means that the wire does not offer the call at all."""
    if isinstance(error, UpstreamNotFound):
        return error.is_bare
    return isinstance(error, UpstreamUnsupported | UpstreamMoved)


def _close(events: Iterator[Event]) -> None:
    close = getattr(events, "close", None)
    if close is not None:
        close()
