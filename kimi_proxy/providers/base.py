"""What a provider is: one method that streams, and small protocols for the rest.

A provider knows nothing of dialects, Flask, pools or storage. It gets a `Lease`: the
credential to use now, the scope to obey, and a log to name its upstream chat in.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.events import Event
from kimi_proxy.scope import Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """What one account proves itself with; times are epoch seconds, None if unknown.

    `access` is sent with requests, `refresh` buys a new `access`. An API key is an
    `access` without expiry. `host` is the region's word for where it is valid.
    """

    access: str | None = field(default=None, repr=False)
    refresh: str | None = field(default=None, repr=False)
    access_expires: float | None = None
    refresh_expires: float | None = None
    region: str | None = None
    subject: str | None = None
    device: str | None = None
    session: str | None = None


class ChatLog(Protocol):
    """Where a provider names the upstream chat it makes, so that none is left behind.

    Written before the fact, it lets a sweeper clean up after a crash.
    """

    def sending(self, fingerprint: str) -> None:
        """A chat is about to be made; `fingerprint` lets `find_chats` know it again."""

    def opened(self, chat_id: str) -> None:
        """The upstream named the chat."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use one account for one request."""

    account: str
    credential: Credential
    scope: Scope
    chat: ChatLog


class Provider(Protocol):
    """`honours` names the OpenAI sampling parameters that reach the upstream."""

    name: str
    honours: frozenset[str]

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer to `request`; `request.model` is the upstream's own id.

        Nothing happens before the first `next()`. Exactly one `Finished` comes, last.
        Closing the iterator at any moment frees the socket and stops the generation.
        Raises `GatewayError`.
        """


@runtime_checkable
class RefreshesTokens(Protocol):
    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        """Buy a new access token.

        Raises `TokenDead` when the refresh token is refused, another `UpstreamError`
        when it is worth trying again later.
        """


@runtime_checkable
class ListsModels(Protocol):
    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask the upstream which models it has. Raises `UpstreamError`."""

    def known_models(self) -> list[Model]:
        """The models last listed, or the built-in fallback; never does I/O.

        Empty when nothing is known, which means that any name may exist.
        """


@runtime_checkable
class ChecksTokens(Protocol):
    def read_token(self, text: str) -> Credential:
        """Understand a token in any form a user may paste it.

        Does no I/O. Raises ValueError, whose text never quotes the token.
        """

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask the upstream, in one call, whether the credential works.

        Raises `TokenRejected` if not, another `UpstreamError` if it could not tell.
        """


@runtime_checkable
class KeepsChats(Protocol):
    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        """Delete a chat; one that is gone already counts as deleted."""

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        """Ids of chats made after `since` (epoch seconds) that carry `fingerprint`."""
