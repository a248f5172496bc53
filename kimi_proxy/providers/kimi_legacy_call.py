"""The legacy wire's calls: where they go, what they carry, how they are refused."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import orjson

from kimi_proxy import USER_AGENT
from kimi_proxy.errors import (
    GatewayError,
    TokenRejected,
    UpstreamGarbled,
    UpstreamMoved,
)
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kimi_legacy_error import refusal
from kimi_proxy.refusal import retry_after
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

# Origins by the region of the token (connect sheet §1). The older host,
# kimi.moonshot.cn, only redirects by now (legacy sheet §0).
HOSTS: Mapping[str, str] = {
    "cn": "https://www.kimi.com",
    "overseas": "https://www.kimi.ai",
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of an account; `sends` is the token that goes with it.

    `page` is the path of the page that makes the call on the web.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    credential: Credential
    scope: Scope
    body: Mapping[str, Any] | None = field(default=None, repr=False)
    sends: Literal["access", "refresh"] = "access"
    page: str = "/"

    def token(self) -> str:
        """The token; raises `TokenRejected` when the account has none."""
        credential = self.credential
        token = credential.access if self.sends == "access" else credential.refresh
        if token is None:
            raise TokenRejected(f"the account has no {self.sends} token")
        return token


class Caller:
    """Makes calls for provider `name`; `host` replaces the choice by region."""

    def __init__(
        self, name: str, upstream: Upstream, host: str | None, now: Callable[[], float]
    ) -> None:
        self._name = name
        self._upstream = upstream
        self._host = host
        self._now = now

    def open(self, call: Call) -> Exchange:
        """Send, and wait for status and headers; raises what `Upstream.open` does."""
        region = call.credential.region or "cn"
        base = (self._host or HOSTS.get(region, HOSTS["cn"])).rstrip("/")
        try:
            return self._upstream.open(
                call.method,
                base + call.path,
                headers=_headers(base, call),
                body=None if call.body is None else orjson.dumps(call.body),
                scope=call.scope,
            )
        except UpstreamMoved as exc:
            text = f"{exc.message} (hosts.legacy of provider {self._name})"
            moved = UpstreamMoved(text)
            moved.where = exc.where
            raise moved from exc

    def ask(self, call: Call) -> Mapping[str, Any]:
        """Make a JSON call; an empty answer is an empty object.

        An error in the answer is raised, whatever the status says.
        """
        return self._answered(self.open(call).reply())

    def _answered(self, reply: Reply) -> Mapping[str, Any]:
        document = _document(reply)
        refused = document is not None and not document.keys().isdisjoint(
            ("error_type", "message")
        )
        if refused or not 200 <= reply.status < 300:
            raise self._refusal(reply, document)
        if document is None and reply.body.strip():
            raise UpstreamGarbled("Kimi's answer is not a JSON object")
        return document or {}

    def run(self, call: Call) -> None:
        """Make a call whose answer is a stream that only has to come to its end.

        JSON that is no error will do as well: what the answer says is not known (§7).
        """
        with closing(self.open(call)) as exchange:
            if exchange.status != 200 or exchange.content_type == "application/json":
                self._answered(exchange.reply())
                return
            for _ in exchange.blocks():
                continue

    def put(
        self,
        url: str,
        content_type: str,
        body: Iterable[bytes],
        length: int,
        scope: Scope,
    ) -> Reply:
        """Put bytes where the service said, without anything that tells whose.

        Raises `UpstreamGarbled` for a URL that is neither https nor of a configured
        host.
        """
        parts = urlsplit(url)
        try:
            upstream = self._upstream.beside(f"{parts.scheme}://{parts.netloc}")
        except ValueError as exc:
            raise UpstreamGarbled("Kimi names no safe place for a file") from exc
        with closing(upstream):
            return upstream.request(
                "PUT",
                url,
                headers={
                    "Content-Type": content_type,
                    "Content-Length": str(length),
                    "User-Agent": USER_AGENT,
                },
                body=body,
                scope=scope,
            )

    def no_stream(self, exchange: Exchange) -> GatewayError:
        """The error that stands where a stream was expected."""
        reply = exchange.reply()
        document = _document(reply)
        if document is None and reply.status == 200:
            return UpstreamGarbled("Kimi's answer is neither a stream nor an error")
        return self._refusal(reply, document)

    def _refusal(
        self, reply: Reply, document: Mapping[str, Any] | None
    ) -> GatewayError:
        wait = retry_after(reply.headers, self._now())
        return refusal(reply.status, document, wait)


def _headers(base: str, call: Call) -> Mapping[str, str]:
    """The headers of legacy sheet §1, as far as the account fills them."""
    credential = call.credential
    optional = {
        "Content-Type": None if call.body is None else "application/json",
        "X-Traffic-Id": credential.subject,
        "X-Msh-Device-Id": credential.device,
        "X-Msh-Session-Id": credential.session,
    }
    return {
        "Authorization": f"Bearer {call.token()}",
        "Origin": base,
        "Referer": base + call.page,
        "R-Timezone": "Etc/UTC",
        "X-Msh-Platform": "web",
        "User-Agent": USER_AGENT,
        **{name: value for name, value in optional.items() if value},
    }


def _document(reply: Reply) -> Mapping[str, Any] | None:
    """The answer as a JSON object; None when it is none."""
    try:
        value = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        return None
    return value if isinstance(value, dict) else None
