"""Qodo: command line tasks under an API key, the IDE chat under a Firebase pair.

The credential says which. Sessions stay with the service, which has no call that
deletes one: each request has a new one.
"""

import re
import uuid
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any

import orjson

from kimi_proxy import USER_AGENT, refusal
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    ClientError,
    GatewayError,
    TokenRejected,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamError,
    UpstreamMoved,
)
from kimi_proxy.events import Event, Finished
from kimi_proxy.providers import (
    json_line,
    qodo_cli,
    qodo_error,
    qodo_ide,
    qodo_token,
    text_only,
)
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.providers.qodo_renewal import Renewal
from kimi_proxy.providers.thought import ThoughtReader
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

_CHINESE = re.compile("[\u3400-\u4dbf\u4e00-\u9fff]")
_MARGIN = 30.0  # seconds before its end a token counts as good no more
# After these a session of our own would change nothing.
_FINAL = (TokenRejected, UpstreamBlocked, UpstreamMoved, ClientError)


@dataclass(frozen=True, slots=True)
class Hosts:
    """Origins (scheme://host[:port]) of the three services."""

    cli: str
    ide: str
    firebase: str


class Qodo:
    """Both generations of the service.

    `wires` says which of them (`cli`, `ide`) the configured accounts are for, and so
    which models there are. `now` is epoch seconds.
    """

    honours: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        hosts: Hosts,
        now: Callable[[], float],
        wires: Set[str] = frozenset({"cli", "ide"}),
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._hosts = hosts
        self._now = now
        self._wires = wires
        self._renewal = Renewal(upstream, hosts.firebase, now)
        self._models: tuple[Model, ...] = ()

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`."""
        suspect = _CHINESE.search(" ".join(m.text for m in request.messages))
        if lease.credential.refresh is None:
            exchange, is_good = self._start_task(request, lease), True
            text_of = qodo_cli.text_of
        else:
            exchange, is_good = self._chat(request, lease), self._lasts(lease)
            text_of = qodo_ide.text_of
        call = _Call(lease.credential, is_good and suspect is not None)
        try:
            if exchange.status != 200:
                raise self._refused(exchange.reply(), call)
            yield from self._told(exchange, call, text_of)
        finally:
            exchange.close()

    def ignores(self, request: ChatRequest, model: str) -> tuple[str, ...]:
        """Fields that will have no effect; never does I/O."""
        return text_only.ignored(request)

    def _told(
        self,
        exchange: Exchange,
        call: "_Call",
        text_of: Callable[[dict[str, Any]], str],
    ) -> Iterator[Event]:
        """The answer ends with its last byte: no end mark is known (§8), so a cut is
        seen by the framing, in the middle of a line, or where nothing was said."""
        thoughts, said = ThoughtReader(), False
        for line in json_line.objects(exchange.blocks()):
            error = qodo_error.in_line(line)
            if error is not None:
                raise self._refused(Reply(200, exchange.headers, error), call)
            text = text_of(line)
            said = said or bool(text)
            yield from thoughts.feed(text)
        if not said:
            raise UpstreamCut("Qodo's answer ended before its first word")
        yield from thoughts.end()
        yield Finished("stop")

    def _chat(self, request: ChatRequest, lease: Lease) -> Exchange:
        credential = lease.credential
        body = qodo_ide.payload(request, credential.subject or lease.account)
        url = self._hosts.ide + qodo_ide.PATH
        return self._send(url, credential, lease.scope, body)

    def _lasts(self, lease: Lease) -> bool:
        """Whether the access token is one that was bought and has not run out."""
        expires = lease.credential.access_expires
        return expires is not None and expires > self._now() + _MARGIN

    def _start_task(self, request: ChatRequest, lease: Lease) -> Exchange:
        """A task's answer; a session that is known already is gone on with, once
        (§4.4). A key that is no good was found out when the session was asked for."""
        session = self._session(lease.credential, lease.scope)
        body = qodo_cli.payload(request, session)
        more = {"Session-id": session}
        url = self._hosts.cli + qodo_cli.START
        exchange = self._send(url, lease.credential, lease.scope, body, more)
        if exchange.status != 500:
            return exchange
        reply = exchange.reply()
        if not qodo_error.session_exists(reply.status, reply.body):
            raise self._refused(reply, _Call(lease.credential, False))
        url = self._hosts.cli + qodo_cli.CONTINUE
        return self._send(url, lease.credential, lease.scope, body, more)

    def _session(self, credential: Credential, scope: Scope) -> str:
        """A session's id: the service's, or one of our own where it gives none."""
        try:
            session = qodo_cli.session_of(self._things(credential, scope))
        except _FINAL:
            raise
        except UpstreamError:
            scope.check()
            session = None
        return session or qodo_cli.invented_session(self._now())

    def _things(self, credential: Credential, scope: Scope) -> object:
        """What the service says about itself; raises what a refusal means."""
        reply = self._upstream.request(
            "GET",
            self._hosts.cli + qodo_cli.THINGS,
            headers=_headers(credential),
            scope=scope,
        )
        if reply.status != 200:
            raise self._refused(reply, _Call(credential, False))
        return reply.json()

    def _send(
        self,
        url: str,
        credential: Credential,
        scope: Scope,
        body: Mapping[str, Any],
        more: Mapping[str, str] | None = None,
    ) -> Exchange:
        return self._upstream.open(
            "POST",
            url,
            headers={
                "Content-Type": "application/json",
                **_headers(credential),
                **(more or {}),
            },
            body=orjson.dumps(body),
            scope=scope,
        )

    def _refused(self, reply: Reply, call: "_Call") -> GatewayError:
        return qodo_error.refusal(
            reply.status,
            reply.body,
            refusal.retry_after(reply.headers, self._now()),
            renewable=call.credential.refresh is not None,
            suspect_prompt=call.suspect_prompt,
        )

    def refresh(self, credential: Credential, scope: Scope) -> Credential:
        """Buy a new hour; see `RefreshesTokens`. An API key has nothing to renew."""
        return self._renewal.renew(credential, scope)

    @property
    def service(self) -> Hosts:
        """Whose tokens these are: one is shown to no other service."""
        return self._hosts

    def read_token(self, text: str) -> Credential:
        """See `ChecksTokens`."""
        return qodo_token.read(text)

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask for the service's facts with a key, for a new hour with a pair.

        The pair stays good: Firebase gives the same refresh token again (§1).
        """
        if credential.refresh is None:
            self._things(credential, scope)
        else:
            self._renewal.renew(credential, scope)

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and remember them; only a key may ask."""
        if credential is not None and credential.refresh is None:
            things = self._things(credential, scope)
            self._models = tuple(qodo_cli.models_of(things, self.name))
        return self.known_models()

    def known_models(self) -> list[Model]:
        """The models last named, or those of the sheet."""
        rows = list(self._models)
        if not rows and "cli" in self._wires:
            rows = qodo_cli.built_in(self.name)
        if "ide" in self._wires:
            known = {model.id for model in rows}
            ides = qodo_ide.models(self.name)
            rows += [model for model in ides if model.id not in known]
        return rows

    def offers(self, model: str) -> bool:
        """Any name may exist: none of the lists is known to be whole."""
        return bool(model)


@dataclass(frozen=True, slots=True)
class _Call:
    """What has to be known of a call to understand its refusal."""

    credential: Credential
    suspect_prompt: bool


def _headers(credential: Credential) -> dict[str, str]:
    if credential.access is None:
        raise TokenRejected("the account has no access token")
    return {
        "Authorization": f"Bearer {credential.access}",
        "Accept": "text/plain",
        "Request-id": str(uuid.uuid4()),
        "User-Agent": USER_AGENT,
    }
