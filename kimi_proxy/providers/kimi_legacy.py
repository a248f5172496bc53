"""Kimi's web service by its legacy REST + SSE protocol (`/api/*`)."""

import logging
import time
import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from typing import Any, Final
from urllib.parse import quote

from kimi_proxy import sse
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    ModelExhausted,
    TokenDead,
    TokenRejected,
    UpstreamCut,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.events import Event, Finished
from kimi_proxy.providers import kimi_token
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_legacy_answer import Answer
from kimi_proxy.providers.kimi_legacy_call import Call, Caller
from kimi_proxy.providers.kimi_legacy_file import referred
from kimi_proxy.providers.kimi_legacy_model import (
    MODELS,
    Switches,
    continuation,
    is_model,
    new_chat,
    question,
    switches,
)
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
_CONTINUATIONS: Final = 3
_LONG_TOKEN: Final = 6  # characters
_RESEARCH_REST: Final = 600.0  # seconds; when the quota comes back is told nowhere
_log = logging.getLogger(__name__)


class KimiLegacy:
    """The legacy wire.

    `host` (scheme://host[:port]) replaces the choice by region. `now` is epoch
    seconds, `monotonic` seconds that never jump. No call stops a generation: deleting
    its chat does.
    """

    honours: frozenset[str] = frozenset({"attachments", "files"})

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
        chosen = switches(request.model, request.effort)
        if chosen.use_research:
            self._check_research(lease)
        if request.follows is not None:
            chat_id = request.follows.chat
        else:
            name = f"kimi-proxy {uuid.uuid4()}"
            chat_id = self._create(lease, new_chat(name, chosen))
        page = f"/chat/{quote(chat_id, safe='')}"
        path = f"/api{page}/completion/stream"
        body = question(request.messages, chosen, search=bool(request.search))
        body = {**body, **referred(self._caller, request.messages, chat_id, lease)}
        call = Call("POST", path, lease.credential, lease.scope, body, page=page)
        over = False
        try:
            with closing(self._answer(call, request, chosen, chat_id)) as answer:
                for event in answer:
                    over = isinstance(event, Finished)
                    yield event
        except _LEAVING:
            if not over and not request.keeps:
                self._stop(lease.credential, chat_id)
            raise

    def _answer(
        self, call: Call, request: ChatRequest, chosen: Switches, chat_id: str
    ) -> Generator[Event, None, None]:
        """The whole answer; at the output limit it goes on, but not for ever."""
        answer = Answer(chat_id)
        try:
            yield from self._read(call, answer)
            for _ in range(_CONTINUATIONS):
                if answer.segment is None or not _goes_on(answer, request):
                    break
                body = continuation(answer.segment, chosen)
                if not (yield from self._continued(replace(call, body=body), answer)):
                    break
            yield from answer.end()
        finally:
            if answer.unknown:
                names = dict(answer.unknown)
                _log.debug("legacy answer: events of unknown names: %s", names)

    def _continued(self, call: Call, answer: Answer) -> Generator[Event, None, bool]:
        """What follows the limit; returns whether anything did.

        A refusal then leaves the limit what ended the answer.
        """
        said = answer.said
        try:
            yield from self._read(call, answer)
        except UpstreamError as exc:
            if isinstance(exc, _LEAVING) or answer.said > said:
                raise
            _log.info("an answer could not go on: %s", exc.message)
        return answer.said > said

    def _read(self, call: Call, answer: Answer) -> Iterator[Event]:
        exchange = self._caller.open(call)
        frames = sse.events(exchange.blocks())
        try:
            if exchange.status != 200 or exchange.content_type != "text/event-stream":
                raise self._caller.no_stream(exchange)
            yield from answer.read(frames)
        finally:
            frames.close()
            exchange.close()

    def _check_research(self, lease: Lease) -> None:
        """Raises `ModelExhausted` when the account's research is used up (sheet §6)."""
        path = "/api/chat/research/usage"
        try:
            usage = self._caller.ask(Call("GET", path, lease.credential, lease.scope))
        except (UpstreamFailed, UpstreamNotFound, UpstreamUnsupported):
            return  # nobody has seen this call of late; research itself will tell
        used, total = usage.get("used"), usage.get("total")
        if isinstance(used, int) and isinstance(total, int) and used >= total:
            text = f"this Kimi account has used {used} of {total} researches"
            raise ModelExhausted(text, retry_after=_RESEARCH_REST)

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

    def offers(self, model: str) -> bool:
        """Whether the model may be asked for; see `OffersUnlisted.offers`."""
        return is_model(model)

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


def _goes_on(answer: Answer, request: ChatRequest) -> bool:
    """Whether to let an answer go on: not where the client has set the limit itself.

    Where a chat is kept, what comes after the client's own limit is read all the same.
    It was passed if every token was as long as tokens hardly are.
    """
    limit = request.max_tokens
    passed = limit is not None and answer.said >= limit * _LONG_TOKEN
    return answer.length and not passed
