"""Calls of OpenAI's API handed on as they are, and their answers as they come."""

from collections.abc import Callable, Iterator, Mapping

import orjson

from kimi_proxy import refusal
from kimi_proxy.errors import GatewayError, UpstreamRejected
from kimi_proxy.providers import openai_refusal
from kimi_proxy.providers.base import Answer, Call
from kimi_proxy.providers.openai_error import error_of, refused
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

_LONGEST_ERROR = 1 << 16
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
    blocks = _Blocks(exchange)
    if exchange.content_type == "application/json" and "content-encoding" not in told:
        wait = refusal.retry_after(exchange.headers, now())
        _require_no_error(blocks, wait)
    return Answer(exchange.status, told, blocks)


def _require_no_error(blocks: "_Blocks", wait: float | None) -> None:
    """Raise what a short answer says under a status that claims success.

    Objects of the API's own may have an error among their facts: a failed response.
    """
    try:
        document = orjson.loads(blocks.ahead(_LONGEST_ERROR))
    except orjson.JSONDecodeError:
        return
    except BaseException:
        blocks.close()
        raise
    if not isinstance(document, dict) or document.get("object") not in (None, "error"):
        return
    if document.get("choices") is None and openai_refusal.tells_error(document):
        blocks.close()
        raise error_of(200, document, wait)


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
        self._ahead: list[bytes] = []

    def ahead(self, size: int) -> bytes:
        """All that is to come, or at least so much of it; none of it is lost."""
        while sum(map(len, self._ahead)) <= size:
            block = next(self._blocks, None)
            if block is None:
                break
            self._ahead.append(block)
        return b"".join(self._ahead)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        return self._ahead.pop(0) if self._ahead else next(self._blocks)

    def close(self) -> None:
        self._exchange.close()
