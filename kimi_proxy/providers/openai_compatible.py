"""Any upstream that speaks OpenAI's chat completions, under an API key."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from kimi_proxy import __version__, refusal, sse
from kimi_proxy.chat import ChatRequest, Message, Model
from kimi_proxy.errors import (
    AccountExhausted,
    ContentRefused,
    ContextTooLong,
    GatewayError,
    TokenDead,
    UpstreamCut,
    UpstreamFailed,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
    UpstreamUnsupported,
)
from kimi_proxy.events import (
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Upstream

_DONE = "[DONE]"
_REASONS: dict[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
}
_BY_CODE: dict[str, type[GatewayError]] = {
    "insufficient_quota": AccountExhausted,
    "exceeded_current_quota_error": AccountExhausted,
    "context_length_exceeded": ContextTooLong,
    "content_filter": ContentRefused,
    "rate_limit_reached_error": UpstreamRateLimited,
    "engine_overloaded_error": UpstreamOverloaded,
}
# Fields that speak to the gateway, and `n`: it makes the choices one by one.
_OURS = frozenset({"conversation_id", "use_search", "include_reasoning", "n"})
_BY_STATUS: dict[int, type[GatewayError]] = {
    400: UpstreamRejected,
    401: TokenDead,
    402: AccountExhausted,
    403: UpstreamForbidden,
    404: UpstreamNotFound,
    413: UpstreamRejected,
    422: UpstreamRejected,
    429: UpstreamRateLimited,
    501: UpstreamUnsupported,
    529: UpstreamOverloaded,
}


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
            "tools",
            "response_format",
            "attachments",
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
                raise self._refused(exchange)
            if exchange.content_type == "application/json":
                yield from whole(_object(exchange.reply(64 << 20).body))
            else:
                yield from streamed(exchange.blocks())
        finally:
            exchange.close()

    def _refused(self, exchange: Exchange) -> GatewayError:
        reply = exchange.reply()
        wait = refusal.retry_after(reply.headers, self._now())
        try:
            document = orjson.loads(reply.body)
        except orjson.JSONDecodeError:
            document = None
        return error_of(reply.status, document, wait)

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
            raise error_of(reply.status, None, None)
        rows = _object(reply.body).get("data")
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
    if request.stream:
        body["stream_options"] = {"include_usage": True}
    if request.effort is not None:
        body["reasoning_effort"] = request.effort
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


def streamed(blocks: Iterator[bytes]) -> Iterator[Event]:
    """Events of a chunk stream; without finish reason or end it was cut."""
    answer = _Answer()
    reader = sse.events(blocks)
    for event in reader:
        if event.data.strip() == _DONE:
            break
        yield from answer.add(_object(event.data.encode()))
    if reader.unfinished or answer.reason is None:
        raise UpstreamCut("the upstream's stream ended without a finish reason")
    yield from answer.end()


def whole(document: dict[str, Any]) -> Iterator[Event]:
    """Events of an answer that came as one object."""
    answer = _Answer()
    yield from answer.add(document, "message")
    if answer.reason is None:
        raise UpstreamGarbled("the upstream's answer has no finish reason")
    yield from answer.end()


@dataclass(slots=True)
class _Answer:
    """What is known of an answer; `calls` are its tool calls by the upstream's number,
    `told` what has been said of them."""

    reason: FinishReason | None = None
    usage: Usage | None = None
    calls: dict[int, int] = field(default_factory=dict)
    told: set[tuple[int, str]] = field(default_factory=set)

    def add(self, document: dict[str, Any], part: str = "delta") -> Iterator[Event]:
        if document.get("error"):
            raise error_of(200, document, None)
        for choice in document.get("choices") or ():
            if choice.get("index", 0) == 0:
                delta = choice.get(part) or {}
                yield from _deltas(delta)
                yield from self._tool_calls(delta.get("tool_calls") or ())
                reason = choice.get("finish_reason")
                self.reason = _REASONS.get(reason, "stop") if reason else self.reason
                self._note_usage(choice.get("usage"))
        self._note_usage(document.get("usage"))

    def _tool_calls(self, pieces: Sequence[dict[str, Any]]) -> Iterator[Event]:
        """Clients fail where numbers have gaps, and join ids and names that come
        again (clients facts §3.3)."""
        for position, piece in enumerate(pieces):
            number = piece.get("index")
            number = position if number is None else number
            index = self.calls.setdefault(number, len(self.calls))
            function = piece.get("function") or {}
            yield ToolCallDelta(
                index=index,
                id=self._once(index, "id", piece.get("id")),
                name=self._once(index, "name", function.get("name")),
                arguments=function.get("arguments") or "",
            )

    def _once(self, index: int, what: str, value: str | None) -> str | None:
        if not value or (index, what) in self.told:
            return None
        self.told.add((index, what))
        return value

    def _note_usage(self, usage: Any) -> None:
        if isinstance(usage, dict) and "prompt_tokens" in usage:
            self.usage = _usage(usage)

    def end(self) -> Iterator[Event]:
        if self.usage is not None:
            yield self.usage
        yield Finished(self.reason or "stop")


def _deltas(delta: dict[str, Any]) -> Iterator[Event]:
    reasoning = delta.get("reasoning_content") or delta.get("reasoning")
    if isinstance(reasoning, str) and reasoning:
        yield ReasoningDelta(reasoning)
    text = delta.get("content") or delta.get("refusal")
    if isinstance(text, str) and text:
        yield TextDelta(text)


def _usage(usage: dict[str, Any]) -> Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        prompt_tokens=usage["prompt_tokens"],
        completion_tokens=usage.get("completion_tokens") or 0,
        reasoning_tokens=completion.get("reasoning_tokens") or 0,
        cached_tokens=prompt.get("cached_tokens") or usage.get("cached_tokens") or 0,
    )


def _object(data: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("the upstream's answer is not JSON") from exc
    if not isinstance(document, dict):
        raise UpstreamGarbled("the upstream's answer is not a JSON object")
    return document


def error_of(status: int, document: Any, retry_after: float | None) -> GatewayError:
    """What a refusal means, by its code first and its status second."""
    error = document.get("error") if isinstance(document, dict) else None
    facts = error if isinstance(error, dict) else {"message": error}
    words = (str(facts.get(key)) for key in ("code", "type"))
    known = next((_BY_CODE[word] for word in words if word in _BY_CODE), None)
    kind = known or _BY_STATUS.get(status, UpstreamFailed)
    told = facts.get("message")
    message = refusal.quoted(told) if isinstance(told, str) else f"status {status}"
    return kind(
        f"the upstream refused: {message}",
        retry_after=retry_after,
        upstream_code=str(facts.get("code") or status),
    )
