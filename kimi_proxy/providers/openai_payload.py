"""A request in an OpenAI-compatible upstream's words: the client's own, as far as the
upstream knows them (`Quirks`)."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from kimi_proxy.chat import ChatRequest
from kimi_proxy.providers import openai_effort, openai_schema
from kimi_proxy.providers.openai_body import put_stored, written
from kimi_proxy.providers.openai_model import Listed
from kimi_proxy.providers.openai_quirk import Quirks

HONOURED = frozenset(
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
        "relay",
    }
)
_LIMITS = ("max_completion_tokens", "max_tokens")
# Fields that speak to the gateway, and `n`: unless an answer is relayed, the gateway
# makes the choices one by one.
_OURS = frozenset({"conversation_id", "use_search", "include_reasoning", "n"})
_DIGITS = 16
_PLAIN = Quirks()

Wire = dict[str, Any]
_Plain = Callable[[Mapping[str, Any]], Wire]


def payload(
    request: ChatRequest,
    honours: frozenset[str] = HONOURED,
    quirks: Quirks = _PLAIN,
    model: Listed | None = None,
    plain: _Plain = openai_schema.plain,
) -> Wire:
    """The body of a chat completion; the client's own is left as it was.

    `plain` writes schemas, where plain ones are wanted.
    """
    body = {k: v for k, v in request.body.items() if k not in _OURS}
    if body.get("messages") is None:  # asked in another dialect than OpenAI's
        body = written(request, thoughts=quirks.returns_reasoning)
    else:
        put_stored(body, request)
    body.update(model=request.model, stream=request.stream)
    if request.relays and request.choices > 1:
        body["n"] = request.choices
    _ask_for_usage(body, request.stream, quirks)
    for name, value in request.sampling.items():
        if name in honours:
            body[name] = value
        else:
            body.pop(name, None)
    for name in quirks.unsupported:
        body.pop(name, None)
    _name_the_limit(body, quirks)
    openai_effort.think(body, request.effort, quirks, model)
    body["messages"] = [_fitted(message, quirks) for message in body["messages"]]
    if quirks.plain_schemas:
        _write_schemas(body, plain)
    return body


def _ask_for_usage(body: Wire, stream: bool, quirks: Quirks) -> None:
    if stream and quirks.stream_options:
        options = body.get("stream_options") or {}
        body["stream_options"] = {**options, "include_usage": True}
    else:
        body.pop("stream_options", None)


def _name_the_limit(body: Wire, quirks: Quirks) -> None:
    """The one name that the upstream knows; the newer one counts where both came."""
    if quirks.limit is None:
        return
    told = [body.pop(name, None) for name in _LIMITS]
    limit = next((value for value in told if value is not None), None)
    if limit is not None:
        body[quirks.limit] = limit


def _fitted(message: Any, quirks: Quirks) -> Any:
    """A message without what the upstream would refuse it for."""
    if not isinstance(message, Mapping):
        return message
    changes: Wire = {}
    if message.get("role") == "developer" and not quirks.developer:
        changes["role"] = "system"
    calls = message.get("tool_calls")
    if calls and message.get("content") in ("", []) and not quirks.empty_content:
        changes["content"] = None
    if quirks.longest_call_id is not None:
        changes.update(_short_ids(message, quirks.longest_call_id))
    return {**message, **changes} if changes else message


def _short_ids(message: Mapping[str, Any], longest: int) -> Iterator[tuple[str, Any]]:
    told = message.get("tool_call_id")
    if isinstance(told, str) and len(told) > longest:
        yield "tool_call_id", _short(told, longest)
    calls = message.get("tool_calls")
    calls = calls if isinstance(calls, list) else []
    if any(_is_long(call, longest) for call in calls):
        yield (
            "tool_calls",
            [
                {**call, "id": _short(call["id"], longest)}
                if _is_long(call, longest)
                else call
                for call in calls
            ],
        )


def _is_long(call: Any, longest: int) -> bool:
    name = call.get("id") if isinstance(call, Mapping) else None
    return isinstance(name, str) and len(name) > longest


def _short(name: str, longest: int) -> str:
    """The same short name for the same long one, in whatever request."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return f"{name[: max(0, longest - _DIGITS - 1)]}-{digest}"[-longest:]


def _write_schemas(body: Wire, plain: _Plain) -> None:
    tools = body.get("tools")
    if isinstance(tools, list):
        places = ("function", "parameters")
        body["tools"] = [_with_plain(tool, *places, plain) for tool in tools]
    form = body.get("response_format")
    if isinstance(form, Mapping):
        body["response_format"] = _with_plain(form, "json_schema", "schema", plain)


def _with_plain(holder: Any, inner: str, name: str, plain: _Plain) -> Any:
    """The holder, its schema written plainly if it has one."""
    found = holder.get(inner) if isinstance(holder, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(found.get(name), Mapping):
        return holder
    return {**holder, inner: {**found, name: plain(found[name])}}
