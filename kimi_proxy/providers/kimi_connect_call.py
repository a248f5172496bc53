"""The Connect wire's calls: where they go, what they carry, how they are refused."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from kimi_proxy import USER_AGENT, connect
from kimi_proxy.errors import GatewayError, TokenRejected, UpstreamGarbled
from kimi_proxy.providers import kimi_connect_error
from kimi_proxy.providers.base import Credential
from kimi_proxy.refusal import retry_after
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Exchange, Reply, Upstream

CHAT_SERVICE: Final = "kimi.gateway.chat.v1.ChatService"
# Below 2.0.0 the service shows old models only (connect sheet §3).
_WEB_BUILD: Final = "2.2.0"
_JSON: Final = "application/json"
_STREAM: Final = "application/connect+json"


@dataclass(frozen=True, slots=True)
class Hosts:
    """The origins of one region: the API and where tokens are renewed."""

    api: str
    auth: str


# Connect sheet §1.
REGIONS: Final[Mapping[str, Hosts]] = {
    "cn": Hosts("https://www.kimi.com", "https://auth.kimi.com"),
    "overseas": Hosts("https://www.kimi.ai", "https://auth.kimi.ai"),
}


def hosts(api: str | None = None, auth: str | None = None) -> Mapping[str, Hosts]:
    """The hosts by region; a configured origin replaces that of both regions."""
    return {
        region: Hosts((api or known.api).rstrip("/"), (auth or known.auth).rstrip("/"))
        for region, known in REGIONS.items()
    }


def origins(by_region: Mapping[str, Hosts]) -> frozenset[str]:
    """All origins, as `Upstream` wants to know them."""
    return frozenset(o for host in by_region.values() for o in (host.api, host.auth))


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call of an account, or of nobody where the service allows it."""

    service: str
    method: str
    body: Mapping[str, Any] = field(repr=False)
    credential: Credential | None
    scope: Scope
    root: str = "/apiv2"


class Caller:
    """Makes the calls; `now` is epoch seconds, for dates in `Retry-After`."""

    def __init__(
        self,
        upstream: Upstream,
        by_region: Mapping[str, Hosts],
        now: Callable[[], float],
    ) -> None:
        self._upstream = upstream
        self._hosts = by_region
        self._now = now

    def ask(self, call: Call) -> Mapping[str, Any]:
        """The answer to a call; raises what its refusal means."""
        reply = self.post(call)
        if reply.status != 200:
            raise self.refusal(reply)
        return document(reply)

    def post(self, call: Call) -> Reply:
        """Make a call and take whatever the answer is."""
        api = self.of(call.credential).api
        return self._upstream.request(
            "POST",
            f"{api}{call.root}/{call.service}/{call.method}",
            headers=_headers(api, call.credential, _JSON),
            body=orjson.dumps(call.body),
            scope=call.scope,
        )

    def chat(
        self, credential: Credential, body: Mapping[str, Any], scope: Scope
    ) -> Exchange:
        """Send a Chat request; raises what a refusal in place of a stream means."""
        if credential.access is None:
            raise TokenRejected("the Kimi account has no access token")
        api = self.of(credential).api
        exchange = self._upstream.open(
            "POST",
            f"{api}/apiv2/{CHAT_SERVICE}/Chat",
            headers=_headers(api, credential, _STREAM),
            body=connect.encode(orjson.dumps(body)),
            scope=scope,
        )
        # A stream is never plain JSON: whatever the status says, this is an error.
        if exchange.status == 200 and exchange.content_type != _JSON:
            return exchange
        reply = exchange.reply()
        if reply.status == 200 and not _is_error(reply):
            raise UpstreamGarbled("Kimi answered neither a stream nor an error")
        raise self.refusal(reply)

    def upload(
        self,
        credential: Credential,
        content_type: str,
        body: Iterable[bytes],
        length: int,
        scope: Scope,
    ) -> Reply:
        """Send a file (connect sheet §11) and take whatever the answer is."""
        api = self.of(credential).api
        return self._upstream.request(
            "POST",
            f"{api}/apiv2-files/file/upload",
            headers={
                **_headers(api, credential, content_type),
                "Content-Length": str(length),
            },
            body=body,
            scope=scope,
        )

    def renew(self, credential: Credential, scope: Scope) -> Reply:
        """The newer refresh call (connect sheet §2.1): the token goes in the body."""
        return self._upstream.request(
            "POST",
            self.of(credential).auth
            + "/api/account.gateway.v1.AuthService/RefreshToken",
            headers={
                "Content-Type": _JSON,
                "Connect-Protocol-Version": "1",
                "User-Agent": USER_AGENT,
            },
            body=orjson.dumps({"refresh_token": credential.refresh}),
            scope=scope,
        )

    def renew_the_old_way(self, credential: Credential, scope: Scope) -> Reply:
        """The older refresh call (connect sheet §2.2): the token is the bearer."""
        api = self.of(credential).api
        headers = _headers(api, credential, None)
        return self._upstream.request(
            "GET",
            f"{api}/api/auth/token/refresh",
            headers={**headers, "Authorization": f"Bearer {credential.refresh}"},
            scope=scope,
        )

    def of(self, credential: Credential | None) -> Hosts:
        """Where the account lives; without a region, where the older tokens do."""
        region = credential.region if credential is not None else None
        return self._hosts.get(region or "cn", self._hosts["cn"])

    def wait(self, headers: Mapping[str, str]) -> float | None:
        """What the headers ask to wait, in seconds."""
        return retry_after(headers, self._now())

    def refusal(self, reply: Reply) -> GatewayError:
        """What an answer other than the expected one means."""
        return kimi_connect_error.error_of(report(reply), self.wait(reply.headers))


def report(reply: Reply) -> kimi_connect_error.Report:
    """What a refused call says; a body that is no JSON says nothing."""
    try:
        said = orjson.loads(reply.body)
    except orjson.JSONDecodeError:
        said = None
    return kimi_connect_error.read(said, reply.status)


def document(reply: Reply) -> Mapping[str, Any]:
    """The answer as a JSON object; raises `UpstreamGarbled`."""
    said = reply.json()
    if not isinstance(said, dict):
        raise UpstreamGarbled("Kimi's answer is not a JSON object")
    return said


def _is_error(reply: Reply) -> bool:
    said = report(reply)
    return bool(said.code or said.reason)


def _headers(
    api: str, credential: Credential | None, content_type: str | None
) -> Mapping[str, str]:
    """The headers of connect sheet §3, as far as the account fills them.

    Texts are asked for in English: they end up in errors that people read.
    """
    account = credential or Credential()
    optional = {
        "Authorization": f"Bearer {account.access}" if account.access else None,
        "Content-Type": content_type,
        "x-msh-device-id": account.device,
        "x-msh-session-id": account.session,
        "x-traffic-id": account.subject,
    }
    return {
        "Connect-Protocol-Version": "1",
        "x-msh-platform": "web",
        "x-msh-version": _WEB_BUILD,
        "x-language": "en-US",
        "r-timezone": "Etc/UTC",
        "Origin": api,
        "Referer": f"{api}/",
        "User-Agent": USER_AGENT,
        **{name: value for name, value in optional.items() if value},
    }
