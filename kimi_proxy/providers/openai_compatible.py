"""Any upstream that speaks OpenAI's chat completions, under an API key."""

from collections.abc import Callable, Iterator, Mapping

import orjson

from kimi_proxy import __version__
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.events import Event
from kimi_proxy.providers import openai_relay
from kimi_proxy.providers.base import Answer, Call, Credential, Lease
from kimi_proxy.providers.openai_answer import object_of, streamed, whole
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.providers.openai_model import Listed, listed, unlisted
from kimi_proxy.providers.openai_payload import HONOURED, payload
from kimi_proxy.providers.openai_quirk import Quirks
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Upstream

__all__ = ["NO_KEY", "OpenAICompatible", "payload"]

_LARGEST_ANSWER = 64 << 20
_NO_LIST = frozenset({404, 405, 501})
_JSON = frozenset({"application/json", "text/json", "application/problem+json"})
_STREAM = "text/event-stream"
# Stands for no key at all, where a local server wants none.
NO_KEY = Credential(access="-")


class OpenAICompatible:
    """Chat completions at `base_url`, for example `https://api.example.com/v1`.

    `headers` go with every call. `models` are the names of a list that the upstream
    does not give; without them it is asked. `now` is epoch seconds.
    """

    honours = HONOURED

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        base_url: str,
        now: Callable[[], float],
        *,
        quirks: Quirks | None = None,
        headers: Mapping[str, str] | None = None,
        models: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._base = base_url.rstrip("/")
        self._now = now
        self._quirks = quirks or Quirks()
        self._headers = dict(headers or {})
        self.honours = HONOURED - frozenset(self._quirks.unsupported)
        self._fixed = bool(models) or not self._quirks.lists_models
        self._listed = {one.model.id: one for one in unlisted(models, name)}

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`."""
        known = self._listed.get(request.model)
        body = payload(request, self.honours, self._quirks, known)
        exchange = self._upstream.open(
            "POST",
            f"{self._base}/chat/completions",
            headers=self._headers_for(lease.credential),
            body=orjson.dumps(body),
            scope=lease.scope,
        )
        try:
            if exchange.status != 200:
                raise refused(exchange.reply(), self._now())
            yield from self._told(exchange, request)
        finally:
            exchange.close()

    def _told(self, exchange: Exchange, request: ChatRequest) -> Iterator[Event]:
        """Only what came the way it was asked for can be handed on as it is."""
        reasons = self._quirks.finish_reason
        relays = request.relays and reasons
        kind = exchange.content_type
        if kind in _JSON or (kind != _STREAM and not request.stream):
            body = exchange.reply(_LARGEST_ANSWER).body
            relays = relays and not request.stream
            yield from whole(body, relays=relays, reasons=reasons)
        else:
            yield from streamed(
                exchange.blocks(),
                relays=relays and request.stream,
                tells_usage=request.include_usage,
                reasons=reasons,
            )

    def relay(self, call: Call, lease: Lease) -> Answer:
        """Make any other call of the API; see `RelaysOpenAI.relay`."""
        headers = self._headers_for(lease.credential)
        return openai_relay.relay(
            call,
            lease.scope,
            upstream=self._upstream,
            base=self._base,
            own=headers,
            now=self._now,
        )

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and remember them.

        What was known stays where there is no list to ask for.
        """
        if credential is None or self._fixed:
            return self.known_models()
        reply = self._upstream.request(
            "GET",
            f"{self._base}/models",
            headers=self._headers_for(credential),
            scope=scope,
        )
        if reply.status in _NO_LIST:
            return self.known_models()
        if reply.status != 200:
            raise refused(reply, self._now())
        found = listed(object_of(reply.body), self.name)
        self._listed = {one.model.id: one for one in found}
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models last listed; empty before the first answer."""
        return [one.model for one in self._listed.values()]

    def known(self, model: str) -> Listed | None:
        """What is known of a model, and how it thinks."""
        return self._listed.get(model)

    def _headers_for(self, credential: Credential) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "User-Agent": f"kimi-proxy/{__version__}",
            **self._headers,
        }
        if credential != NO_KEY:
            headers["Authorization"] = f"Bearer {credential.access}"
        return headers
