"""Calls of OpenAI's API handed on as they are, and their answers as they come."""

from collections.abc import Callable, Iterator, Mapping

import orjson

from kimi_proxy import refusal
from kimi_proxy.errors import GatewayError, UpstreamRejected
from kimi_proxy.providers.base import Answer, Call
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

# What of an answer's head is the client's: how to read the body. The rest speaks of the
# account (its cookies, limits, organisation) or of the machines that answered.
_DOWN = (
    "content-type",
    "content-length",
    "content-encoding",
    "content-disposition",
    "content-range",
    "accept-ranges",
)


def relay(
    call: Call,
    scope: Scope,
    *,
    upstream: Upstream,
    base: str,
    own: Mapping[str, str],
    now: Callable[[], float],
) -> Answer:
    """See `RelaysOpenAI.relay`; `base` is the upstream's base address, `own` are the
    headers of any call to it."""
    headers = {"accept": "*/*", **call.headers}
    about_body = {"content-type", "accept"}
    headers |= {n: v for n, v in own.items() if n.lower() not in about_body}
    if call.body is not None:
        headers["Content-Length"] = str(call.body.size)
    exchange = upstream.open(
        call.method,
        f"{base}{call.path}" + (f"?{call.query}" if call.query else ""),
        headers=headers,
        body=None if call.body is None else call.body.blocks(),
        scope=scope,
    )
    if not 200 <= exchange.status < 300:
        try:
            raise _refused(exchange.reply(), now())
        finally:
            exchange.close()
    told = {n: v for n in _DOWN if (v := exchange.headers.get(n)) is not None}
    return Answer(exchange.status, told, _Blocks(exchange))


def _refused(reply: Reply, now: float) -> GatewayError:
    """The error, with the upstream's own code where the request itself is at fault."""
    error = refused(reply, now)
    if isinstance(error, UpstreamRejected):
        try:
            code = orjson.loads(reply.body)["error"]["code"]
        except (orjson.JSONDecodeError, KeyError, TypeError):
            code = None
        error.shown_code = refusal.quoted(code) if isinstance(code, str) else None
    return error


class _Blocks:
    """The body; a generator alone would not close what nobody began to read."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._blocks = exchange.blocks(raw=True)  # its header goes along

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return next(self._blocks)

    def close(self) -> None:
        self._exchange.close()
