"""The site kimi-ai.chat: no account, one short text up, one whole answer down.

It is not Moonshot's; nobody knows whose it is (its sheet §1).
"""

import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from kimi_proxy import USER_AGENT
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    ContextTooLong,
    GatewayError,
    ModelNotFound,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnsupported,
)
from kimi_proxy.events import Event, Finished, TextDelta
from kimi_proxy.providers import text_only
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.kimi_ai_chat_page import PAGE, Nonce, page_error
from kimi_proxy.providers.kimi_ai_chat_prompt import Overlong, prompt
from kimi_proxy.refusal import quoted, retry_after
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply, Upstream

_CALL = "/wp-admin/admin-ajax.php"
_MODELS: Mapping[str, str] = {
    "kimi-k2-instruct-0905": "moonshotai/Kimi-K2-Instruct-0905",
    "kimi-k2-instruct": "moonshotai/Kimi-K2-Instruct",
}
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
# General WordPress knowledge: the whole body of a call with a bad nonce (status 403),
# and of one for an action that does not exist (status 400).
_BAD_NONCE, _NO_ACTION = b"-1", b"0"
_BY_STATUS: Mapping[int, type[GatewayError]] = {
    400: UpstreamRejected,
    403: UpstreamForbidden,
    404: UpstreamNotFound,
    405: UpstreamUnsupported,
    413: ContextTooLong,
    429: UpstreamRateLimited,
    501: UpstreamUnsupported,
    503: UpstreamOverloaded,
}


class _Refused(Exception):
    """The site said no in a way that a new nonce may cure; holds what it means."""

    def __init__(self, error: GatewayError) -> None:
        super().__init__(error.message)
        self.error = error


class KimiAiChat:
    """The chat of the site at `site` (scheme://host[:port]).

    `limit` is in characters. `now` is epoch seconds.
    """

    honours: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        site: str,
        limit: int,
        overlong: Overlong,
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._site = site
        self._limit = limit
        self._overlong = overlong
        self._now = now
        self._nonce = Nonce(upstream, site)

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Give the answer in the one piece in which it comes; see `Provider.stream`.

        A refusal is answered with a new nonce, once, whatever its reason: the site does
        not tell them apart.
        """
        model = _MODELS.get(request.model, request.model)
        if model not in _MODELS.values():
            raise ModelNotFound(f"provider {self.name} has no model {request.model!r}")
        text = prompt(request.messages, self._limit, self._overlong)
        nonce = self._nonce.get(lease.scope)
        try:
            answer = self._ask(nonce, model, text, lease.scope)
        except _Refused:
            fresh = self._nonce.get(lease.scope, stale=nonce)
            try:
                answer = self._ask(fresh, model, text, lease.scope)
            except _Refused as refused:
                raise refused.error from None
        yield TextDelta(answer)
        yield Finished("stop")

    def ignores(self, request: ChatRequest, model: str) -> tuple[str, ...]:
        """Fields that will have no effect; never does I/O."""
        return text_only.ignored(request)

    def _ask(self, nonce: str, model: str, text: str, scope: Scope) -> str:
        """The answer; raises `_Refused`, or what else went wrong."""
        form = {
            "action": "kimi_send_message",
            "nonce": nonce,
            "message": text,
            "model": model,
            "session_id": self._session(),
        }
        reply = self._upstream.request(
            "POST",
            self._site + _CALL,
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "Referer": self._site + PAGE,
                "X-Requested-With": "XMLHttpRequest",
                "User-Agent": USER_AGENT,
            },
            body=urlencode(form).encode(),
            scope=scope,
            pages=True,
        )
        return self._read(reply)

    def _session(self) -> str:
        """A session of this request's own: whether the site remembers turns by it is
        not proven, and the history goes up as text."""
        tail = "".join(secrets.choice(_LETTERS) for _ in range(9))
        return f"session_{int(self._now() * 1000)}_{tail}"

    def _read(self, reply: Reply) -> str:
        document = _document(reply.body)
        if document is not None and "success" in document:
            return _answer(document)
        if reply.body.strip() == _BAD_NONCE:
            raise _Refused(
                UpstreamFailed(
                    "kimi-ai.chat refuses its own nonce", upstream_code="bad_nonce"
                )
            )
        if reply.status != 200:
            raise self._refused(reply)
        if _is_page(reply):
            raise page_error(reply)
        raise UpstreamGarbled("the answer of kimi-ai.chat is not what it was")

    def _refused(self, reply: Reply) -> GatewayError:
        if reply.body.strip() == _NO_ACTION:
            return UpstreamUnsupported("kimi-ai.chat has no such call any more")
        kind = _BY_STATUS.get(reply.status, UpstreamFailed)
        if _is_page(reply) and kind is not UpstreamRateLimited:
            return page_error(reply)
        return kind(
            f"kimi-ai.chat refused (status {reply.status})",
            retry_after=retry_after(reply.headers, self._now()),
            upstream_code=f"http_{reply.status}",
        )

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """The models of the sheet; no I/O: the site has no list."""
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models of the sheet."""
        return [Model(name, name, self.name) for name in _MODELS]

    def offers(self, model: str) -> bool:
        """Whether it is a model by the site's own name for it."""
        return model in _MODELS.values()


def _answer(document: Mapping[str, Any]) -> str:
    data = document.get("data")
    message = data.get("message") if isinstance(data, dict) else data
    told = message if isinstance(message, str) else ""
    if not document["success"]:
        words = f": {quoted(told)}" if told.strip() else ""
        raise _Refused(
            UpstreamFailed(f"kimi-ai.chat refused{words}", upstream_code="refused")
        )
    if not told.strip():
        raise UpstreamFailed("kimi-ai.chat gave an empty answer")
    return told


def _document(body: bytes) -> Mapping[str, Any] | None:
    """The body as a JSON object, whatever its type claims; None when it is none."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None


def _is_page(reply: Reply) -> bool:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind == "text/html"
