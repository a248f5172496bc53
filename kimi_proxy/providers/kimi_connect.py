"""Kimi's web service by its current protocol: Connect RPC (connect sheet)."""

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.connect import FrameDecoder
from kimi_proxy.errors import (
    GatewayError,
    ModelNotFound,
    TokenDead,
    UpstreamGarbled,
    UpstreamNotFound,
)
from kimi_proxy.events import Event
from kimi_proxy.providers import (
    kimi_connect_chat,
    kimi_connect_file,
    kimi_connect_model,
    kimi_connect_renewal,
    kimi_token,
)
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_connect_answer import Answer
from kimi_proxy.providers.kimi_connect_call import Call, Caller, Hosts
from kimi_proxy.providers.kimi_connect_model import Row
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Exchange, Upstream

_CONFIG_SERVICE: Final = "kimi.gateway.config.v1.ConfigService"
_ORDER_SERVICE: Final = "kimi.gateway.order.v1.SubscriptionService"
_LISTING_LIFE: Final = 300.0  # seconds; connect sheet §9
_CANCEL: Final = Timeouts(connect=3, headers=5, first_content=5, idle=5, total=5)
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Listing:
    """The rows known; `at` is when they were asked for, None for the built-in ones."""

    rows: tuple[Row, ...]
    at: float | None


class KimiConnect:
    """The current wire.

    `hosts` maps each region to its origins (`kimi_connect_call.hosts`). `now` is epoch
    seconds, `monotonic` seconds that never jump. A prompt of more than `long_prompt`
    bytes goes up as a file. The wire knows no sampling parameters.
    """

    honours: frozenset[str] = frozenset({"attachments", "files"})

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        hosts: Mapping[str, Hosts],
        now: Callable[[], float],
        monotonic: Callable[[], float],
        long_prompt: int = kimi_connect_file.LONG_PROMPT,
    ) -> None:
        self.name = name
        self._long_prompt = long_prompt
        self._caller = Caller(upstream, hosts, now)
        self._monotonic = monotonic
        # Replaced as a whole, never changed: readers need no lock.
        rows = kimi_connect_model.with_research(kimi_connect_model.FALLBACK)
        self._listing = _Listing(rows, None)

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer, of a new chat or of one that goes on; see
        `Provider.stream`."""
        row = self._row(request.model, lease)
        prompt, files = kimi_connect_file.prepared(
            self._caller, request.messages, lease, self._long_prompt
        )
        follows = request.follows
        body = kimi_connect_model.payload(
            prompt,
            row,
            search=bool(request.search),
            effort=request.effort,
            follows=follows,
        )
        body["message"]["blocks"][:0] = files
        if follows is None:
            lease.chat.sending(kimi_connect_chat.fingerprint(prompt))
        try:
            yield from self._answers(request, body, lease)
        except UpstreamNotFound as exc:
            if _may_be_the_agent(exc, row, request):
                text = f"Kimi knows no agent {row.kimiplus!r}: {exc.message}"
                code = exc.upstream_code
                raise ModelNotFound(text, param="model", upstream_code=code) from exc
            raise

    def _answers(
        self, request: ChatRequest, body: Mapping[str, Any], lease: Lease
    ) -> Iterator[Event]:
        follows = request.follows
        exchange = self._caller.chat(lease.credential, body, lease.scope)
        answer = Answer(
            lease.chat.opened,
            self._caller.wait(exchange.headers),
            None if follows is None else follows.chat,
        )
        try:
            yield from _events(exchange, answer)
        finally:
            exchange.close()
            # A turn that waits for the user's word goes on with it, in a chat that is
            # kept; anywhere else nobody will ever answer.
            if not (answer.over or (answer.asked and request.keeps)):
                self._cancel(lease.credential, answer)

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        """Buy a new access token; see `RefreshesTokens.refresh`."""
        if credential.refresh is None:
            raise TokenDead(
                "access token expired and there is no refresh token to renew it"
            )
        answer = kimi_connect_renewal.renew(self._caller, credential, scope)
        try:
            return kimi_token.renewed(credential, answer)
        except ValueError as exc:
            raise UpstreamGarbled("Kimi's answer holds no access token") from exc

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and go by them from now on."""
        call = Call(_CONFIG_SERVICE, "GetAvailableModels", {}, credential, scope)
        rows = kimi_connect_model.discovered(self._caller.ask(call))
        self._listing = _Listing(
            kimi_connect_model.with_research(rows), self._monotonic()
        )
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models last listed, or the built-in ones."""
        return [row.model() for row in self._listing.rows]

    def offers(self, model: str) -> bool:
        """Whether the model may be asked for; see `OffersUnlisted.offers`."""
        return kimi_connect_model.find(self._listing.rows, model) is not None

    @property
    def models_age(self) -> float | None:
        """Seconds since the models were listed; None when they never were."""
        at = self._listing.at
        return None if at is None else self._monotonic() - at

    def read_token(self, text: str) -> Credential:
        """Understand a pasted token; see `ChecksTokens.read_token`."""
        return kimi_token.read(text)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask whether the access token, or the refresh token alone, works."""
        if credential.access is None and credential.refresh is not None:
            kimi_connect_renewal.check(self._caller, credential, scope)
            return
        self._caller.ask(Call(_ORDER_SERVICE, "GetSubscription", {}, credential, scope))

    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        """Delete a chat; see `KeepsChats.delete_chat`."""
        kimi_connect_chat.delete(self._caller, credential, chat_id, scope)

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        """Ids of lost chats; see `KeepsChats.find_chats`."""
        return kimi_connect_chat.find(
            self._caller, credential, fingerprint, since, scope
        )

    def _row(self, model: str, lease: Lease) -> Row:
        """The model's row; one that is unknown is asked for, unless that was just done.

        Raises `ModelNotFound`, or what the listing raises.
        """
        row = kimi_connect_model.find(self._listing.rows, model)
        age = self.models_age
        if row is None and (age is None or age > _LISTING_LIFE):
            self.models(lease.credential, lease.scope)
            row = kimi_connect_model.find(self._listing.rows, model)
        if row is None:
            raise ModelNotFound(f"Kimi has no model {model!r}", param="model")
        return row

    def _cancel(self, credential: Credential, answer: Answer) -> None:
        """Stop the generation; the request's own scope may have ended already."""
        if answer.chat_id is None:
            return
        scope = Scope(_CANCEL, self._monotonic)
        try:
            kimi_connect_chat.cancel(
                self._caller, credential, answer.chat_id, answer.message_id, scope
            )
        except GatewayError as exc:
            _log.debug("a generation could not be cancelled: %s", exc.message)


def _events(exchange: Exchange, answer: Answer) -> Iterator[Event]:
    decoder = FrameDecoder()
    blocks = exchange.blocks()
    for block in blocks:
        for frame in decoder.feed(block):
            yield from answer.feed(frame)
            if answer.trailer:
                exchange.finish(blocks)
            if answer.trailer or answer.asked:
                yield from answer.end()
                return
    decoder.finish()
    yield from answer.end()


def _may_be_the_agent(error: UpstreamNotFound, row: Row, request: ChatRequest) -> bool:
    """Whether what Kimi does not know can be nothing but the agent: no chat or file
    was named, and the path itself is there."""
    names_more = request.follows is not None or any(m.files for m in request.messages)
    return bool(row.kimiplus) and not names_more and not error.is_bare
