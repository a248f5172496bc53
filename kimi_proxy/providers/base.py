"""What a provider is: one method that streams, and small protocols for the rest.

A provider knows nothing of dialects, Flask, pools or storage. It gets a `Lease`: the
credential to use now, the scope to obey, and a log to name its upstream chat in.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from kimi_proxy.chat import ChatRequest, File, Model
from kimi_proxy.events import Event
from kimi_proxy.scope import Scope


@dataclass(frozen=True, slots=True)
class Credential:
    """What one account proves itself with; times are epoch seconds, None if unknown.

    `access` is sent with requests, `refresh` buys a new `access`. An API key is an
    `access` without expiry. `region` says where it is valid, in the provider's own
    words, `subject` whose it is. `device` and `session` are what Kimi's tokens name
    besides, which its service wants to be told (connect sheet §3).
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
class Uploaded:
    """A file as the upstream has it: its id there, and what else it said (JSON)."""

    id: str
    details: Mapping[str, Any] = field(default_factory=dict)


Upload = Callable[[File, Scope], Uploaded]
Settle = Callable[[File, Uploaded, Scope], None]


class FileDesk(Protocol):
    """Sees to it that an account's files are upstream, each of them once."""

    def ensure(
        self,
        files: Sequence[File],
        upload: Upload,
        *,
        space: str,
        scope: Scope,
        settle: Settle | None = None,
    ) -> list[Uploaded]:
        """What the upstream has of these files, in their order.

        What is not there yet is uploaded by `upload`, several at a time; `settle` waits
        until it may be used, which another request may go on with. `space` tells ids
        apart that one account has with different services. Raises `GatewayError`.
        """


@dataclass(frozen=True, slots=True)
class PlainDesk:
    """Remembers nothing: every file goes up, one after the other."""

    def ensure(
        self,
        files: Sequence[File],
        upload: Upload,
        *,
        space: str,
        scope: Scope,
        settle: Settle | None = None,
    ) -> list[Uploaded]:
        there = [upload(file, scope) for file in files]
        for file, uploaded in zip(files, there, strict=True):
            if settle is not None:
                settle(file, uploaded, scope)
        return there


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to use one account for one request."""

    account: str
    credential: Credential
    scope: Scope
    chat: ChatLog
    files: FileDesk = PlainDesk()


class Body(Protocol):
    """A request's body, which can be sent again."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    def blocks(self) -> Iterator[bytes]:
        """All of it, from its beginning each time."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call of OpenAI's API as it is to be sent, except for what proves who sends it.

    `path` begins with a slash and is below the upstream's base address; `query` is as
    it stands in an address. `headers` are those of the client's that may go up.
    """

    method: str
    path: str
    query: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a call: never a refusal.

    `headers` (names in lower case) are those that may go down. `blocks` is the body as
    it comes; closing it frees the socket, also when nothing was read. It raises
    `GatewayError`, `UpstreamCut` for a body that was broken off.
    """

    status: int
    headers: Mapping[str, str]
    blocks: Iterator[bytes]


class Provider(Protocol):
    """`honours` names what reaches the upstream as it was asked: OpenAI's parameters,
    and `attachments`. With `files` among them it wants the messages' files in hand;
    with `relay` the client's own words reach it, and its words the client."""

    name: str
    honours: frozenset[str]

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer to `request`; `request.model` is the upstream's own id.

        Nothing happens before the first `next()`. Exactly one `Finished` comes, last.
        Closing the iterator at any moment frees the socket and stops the generation.
        Raises `GatewayError`.
        """


@runtime_checkable
class RelaysOpenAI(Protocol):
    def relay(self, call: Call, lease: Lease) -> Answer:
        """Make a call of OpenAI's API, other than a chat, as the client made it.

        Returns once status and headers are there. Raises what a refusal means, and what
        `Provider.stream` raises for an upstream that does not answer.
        """


@runtime_checkable
class SaysWhatIsLost(Protocol):
    def ignores(self, request: ChatRequest, model: str) -> tuple[str, ...]:
        """Fields of the request that will have no effect with this model of its own,
        beside the parameters that it does not honour. Never does I/O."""


class Memory(Protocol):
    """Small JSON documents that all workers share, each for a time in seconds.

    Both raise `StateUnavailable`.
    """

    def get(self, key: str) -> dict[str, Any] | None: ...

    def put(
        self, key: str, document: dict[str, Any], *, ttl: float | None = None
    ) -> None: ...


@runtime_checkable
class Remembers(Protocol):
    def remember_in(self, memory: Memory) -> None:
        """Take the place where things are kept from one request to the next."""


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
class SharesModels(Protocol):
    """Knows its models only from a list, which all workers ought to have alike."""

    @property
    def service(self) -> str:
        """Whose models these are."""

    def shared_models(self) -> list[dict[str, Any]] | None:
        """All that was listed last, as JSON; None where nothing was."""

    def adopt_models(self, shared: list[dict[str, Any]]) -> None:
        """Know these, as `shared_models` of another worker gave them."""


@runtime_checkable
class OffersUnlisted(Protocol):
    def offers(self, model: str) -> bool:
        """Whether a model may be asked for, though it may not be listed.

        Kimi's agents are known by an id and listed nowhere. Never does I/O.
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
class TellsBalance(Protocol):
    def may_spend(self, credential: Credential, scope: Scope) -> bool | None:
        """Whether the account has anything left to spend; None where nobody tells.

        One cheap call. Raises `UpstreamError`.
        """


@runtime_checkable
class KeepsChats(Protocol):
    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        """Delete a chat; one that is gone already counts as deleted."""

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        """Ids of chats made after `since` (epoch seconds) that carry `fingerprint`."""
