"""Kimi's web service by its legacy REST + SSE protocol (`/api/*`)."""

import logging
import time
import uuid
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from typing import Any, Final
from urllib.parse import quote

from kimi_proxy import sse
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.events import Event, Finished
from kimi_proxy.providers import kimi_token
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_legacy_answer import parse
from kimi_proxy.providers.kimi_legacy_call import Call, Caller
from kimi_proxy.providers.kimi_legacy_model import MODELS, new_chat, question, switches
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream

_PAGE = 50
_PAGES = 10
_STOP: Final = Timeouts(connect=3, headers=5, first_content=5, idle=5, total=5)
# Ends of an answer at which the service may still be writing it.
_LEAVING: Final = (
    GeneratorExit,
    ClientGone,
    UpstreamCut,
    UpstreamGarbled,
    UpstreamTimeout,
)
_log = logging.getLogger(__name__)


class KimiLegacy:
    """The legacy wire.

    `host` (scheme://host[:port]) replaces the choice by region. `now` is epoch
    seconds, `monotonic` seconds that never jump. No call stops a generation: deleting
    its chat does.
    """

    honours: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        now: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
        host: str | None = None,
    ) -> None:
        self.name = name
        self._caller = Caller(name, upstream, host, now)
        self._monotonic = monotonic

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer, of a new chat or of one that goes on; see
        `Provider.stream`."""
        chosen = switches(request.model)
        if request.follows is not None:
            chat_id = request.follows.chat
        else:
            name = f"kimi-proxy {uuid.uuid4()}"
            chat_id = self._create(lease, new_chat(name, chosen))
        page = f"/chat/{quote(chat_id, safe='')}"
        path = f"/api{page}/completion/stream"
        body = question(request.messages, chosen, search=bool(request.search))
        call = Call("POST", path, lease.credential, lease.scope, body, page=page)
        over = False
        try:
            with closing(self._answer(call, chat_id)) as events:
                for event in events:
                    over = isinstance(event, Finished)
                    yield event
        except _LEAVING:
            if not over and not request.keeps:
                self._stop(lease.credential, chat_id)
            raise

    def _answer(self, call: Call, chat_id: str) -> Generator[Event, None, None]:
        exchange = self._caller.open(call)
        unknown: Counter[str] = Counter()
        frames = sse.events(exchange.blocks())
        try:
            if exchange.status != 200 or exchange.content_type != "text/event-stream":
                raise self._caller.no_stream(exchange)
            yield from parse(frames, chat_id, unknown)
        finally:
            frames.close()
            exchange.close()
            if unknown:
                _log.debug("legacy answer: events of unknown names: %s", dict(unknown))

    def _stop(self, credential: Credential, chat_id: str) -> None:
        """End the generation of an answer that nobody reads any more.

        While it runs the account refuses the next question (sheet §6). Whoever keeps
        the chat log deletes the chat for good: this is one try and no more.
        """
        try:
            self.delete_chat(credential, chat_id, Scope(_STOP, self._monotonic))
        except GatewayError as exc:
            _log.debug("a generation could not be stopped: %s", exc.message)

    def _create(self, lease: Lease, body: Mapping[str, Any]) -> str:
        lease.chat.sending(body["name"])
        answer = self._caller.ask(
            Call("POST", "/api/chat", lease.credential, lease.scope, body)
        )
        chat_id = answer.get("id")
        if not isinstance(chat_id, str) or not chat_id:
            raise UpstreamGarbled("Kimi made a chat without telling its id")
        lease.chat.opened(chat_id)
        return chat_id

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        """Buy a new access token (sheet §2.1); see `RefreshesTokens.refresh`."""
        path = "/api/auth/token/refresh"
        try:
            answer = self._caller.ask(
                Call("GET", path, credential, scope, sends="refresh")
            )
        except TokenRejected as exc:
            text = f"{exc.message}: log in to Kimi again"
            raise TokenDead(text, upstream_code=exc.upstream_code) from exc
        try:
            return kimi_token.renewed(credential, answer)
        except ValueError as exc:
            raise UpstreamGarbled("Kimi's answer holds no access token") from exc

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """The known models: the wire has no call that lists any."""
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models of the sheet, the default one first."""
        return list(MODELS)

    def read_token(self, text: str) -> Credential:
        """Understand a pasted token; see `ChecksTokens.read_token`."""
        return kimi_token.read(text)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask who the token belongs to; without an access token, try to renew it."""
        if credential.access is None:
            self.refresh(credential, scope)
            return
        user = self._caller.ask(Call("GET", "/api/user", credential, scope))
        if not user.get("id"):
            raise TokenRejected("Kimi does not know whose token this is")

    def delete_chat(self, credential: Credential, chat_id: str, scope: Scope) -> None:
        """Delete a chat, which also ends its running answer.

        A server error may come although it worked (sheet §3), so after an answer that
        does not settle it the list of chats has the last word.
        """
        path = f"/api/chat/{quote(chat_id, safe='')}"
        try:
            self._caller.ask(Call("DELETE", path, credential, scope))
        except UpstreamNotFound:
            return
        except (UpstreamFailed, UpstreamUnsupported):
            if any(chat["id"] == chat_id for chat in self._chats(credential, scope)):
                raise

    def find_chats(
        self, credential: Credential, fingerprint: str, since: float, scope: Scope
    ) -> list[str]:
        """Ids of the chats of this name, which is unique, so `since` is not needed."""
        chats = self._chats(credential, scope)
        return [chat["id"] for chat in chats if chat.get("name") == fingerprint]

    def _chats(
        self, credential: Credential, scope: Scope
    ) -> Iterator[Mapping[str, Any]]:
        """The account's chats, as many as a bounded number of pages holds."""
        for page in range(_PAGES):
            body = {"kimiplus_id": "", "offset": page * _PAGE, "size": _PAGE}
            items = self._caller.ask(
                Call("POST", "/api/chat/list", credential, scope, body)
            ).get("items")
            if not isinstance(items, list):
                raise UpstreamGarbled("Kimi's list of chats is malformed")
            yield from (c for c in items if isinstance(c, dict) and "id" in c)
            if len(items) < _PAGE:
                return
