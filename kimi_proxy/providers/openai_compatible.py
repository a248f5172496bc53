"""Any upstream that speaks OpenAI's chat completions, under an API key."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson

from kimi_proxy import __version__
from kimi_proxy.chat import ChatRequest, Message, Model
from kimi_proxy.events import Event
from kimi_proxy.providers import openai_relay
from kimi_proxy.providers.base import Answer, Call, Credential, Lease
from kimi_proxy.providers.openai_answer import object_of, streamed, whole
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Upstream

_LARGEST_ANSWER = 64 << 20
# Fields that speak to the gateway, and `n`: unless an answer is relayed, the gateway
# makes the choices one by one.
_OURS = frozenset({"conversation_id", "use_search", "include_reasoning", "n"})


class OpenAICompatible:
    """Chat completions at `base_url`, for example `https://api.example.com/v1`."""

    honours = frozenset(
        {
            "temperature",
            "top_p",
            "max_tokens",
            "max_completion_tokens",
            "stop",
            "presence_penalty",
            "frequency_penalty",
            "seed",
            "logit_bias",
            "verbosity",
            "top_k",
            "min_p",
            "repetition_penalty",
            "prediction",
            "service_tier",
            "store",
            "tools",
            "response_format",
            "attachments",
            "logprobs",
            "top_logprobs",
            "n",
        }
    )

    def __init__(
        self, name: str, upstream: Upstream, base_url: str, now: Callable[[], float]
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._base = base_url.rstrip("/")
        self._now = now
        self._models: tuple[Model, ...] = ()

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`."""
        exchange = self._upstream.open(
            "POST",
            f"{self._base}/chat/completions",
            headers=_headers(lease.credential),
            body=orjson.dumps(payload(request)),
            scope=lease.scope,
        )
        try:
            if exchange.status != 200:
                raise refused(exchange.reply(), self._now())
            # Only what came the way it was asked for can be handed on as it is.
            if exchange.content_type == "application/json":
                body = exchange.reply(_LARGEST_ANSWER).body
                yield from whole(body, relays=request.relays and not request.stream)
            else:
                yield from streamed(
                    exchange.blocks(),
                    relays=request.relays and request.stream,
                    tells_usage=request.include_usage,
                )
        finally:
            exchange.close()

    def relay(self, call: Call, lease: Lease) -> Answer:
        """Make any other call of the API; see `RelaysOpenAI.relay`."""
        return openai_relay.relay(
            call,
            lease.scope,
            upstream=self._upstream,
            base=self._base,
            own=_headers(lease.credential),
            now=self._now,
        )

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and remember them."""
        if credential is None:
            return self.known_models()
        reply = self._upstream.request(
            "GET",
            f"{self._base}/models",
            headers=_headers(credential),
            scope=scope,
        )
        if reply.status != 200:
            raise refused(reply, self._now())
        rows = object_of(reply.body).get("data")
        ids = [r["id"] for r in rows or () if isinstance(r, dict) and "id" in r]
        self._models = tuple(Model(str(i), str(i), self.name) for i in ids)
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models last listed; empty before the first answer."""
        return list(self._models)


def _headers(credential: Credential) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {credential.access}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "User-Agent": f"kimi-proxy/{__version__}",
    }


def payload(request: ChatRequest) -> dict[str, Any]:
    """The request in the upstream's words: the client's own where it speaks them."""
    body = {k: v for k, v in request.body.items() if k not in _OURS}
    body.setdefault("messages", [_message(message) for message in request.messages])
    body.update(model=request.model, stream=request.stream)
    if request.relays and request.choices > 1:
        body["n"] = request.choices
    if request.stream:
        options = body.get("stream_options") or {}
        body["stream_options"] = {**options, "include_usage": True}
    if request.effort is not None:
        body.setdefault("reasoning_effort", request.effort)
    for name, value in request.sampling.items():
        if name in OpenAICompatible.honours:
            body[name] = value
        else:
            body.pop(name, None)
    return body


def _message(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": message.role, "content": message.text}
    if message.name is not None:
        wire["name"] = message.name
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return wire
