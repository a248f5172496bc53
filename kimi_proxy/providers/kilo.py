"""Kilo's documented gateway: OpenAI's API with an account's facts beside it."""

import base64
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import orjson

from kimi_proxy import USER_AGENT
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    ContextTooLong,
    TokenDead,
    TokenRejected,
    UpstreamError,
    UpstreamForbidden,
    UpstreamGarbled,
    UpstreamRejected,
)
from kimi_proxy.events import Event
from kimi_proxy.providers.base import Answer, Call, Credential, Lease
from kimi_proxy.providers.openai_answer import object_of
from kimi_proxy.providers.openai_compatible import NO_KEY, OpenAICompatible
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.providers.openai_quirk import Quirks
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Upstream

GATEWAY = "/api/gateway"
_PROFILE = "/api/profile"
_BALANCE = "/api/profile/balance"
_WINDOW = re.compile(r"context (window|length)|too many tokens", re.IGNORECASE)
_TOKEN = re.compile(r"[\x21-\x39\x3b-\x7e]+")  # no spaces, and no colon
_BEARER = re.compile(r"bearer\s+", re.IGNORECASE)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*")


class Kilo:
    """Chat completions at `base`, accounts at `api` (kilo sheet §1 to §5).

    A credential's `region` is a base address of its own, its `subject` the id of the
    organization that pays. `origins` are those that tokens may go to. `now` is epoch
    seconds.
    """

    honours: frozenset[str]

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        *,
        base: str,
        api: str,
        origins: frozenset[str],
        now: Callable[[], float],
    ) -> None:
        self.name = name
        self._upstream = upstream
        self._base = base.rstrip("/")
        self._api = api
        self._origins = origins
        self._now = now
        self._broke: set[str] = set()
        self._doors: dict[tuple[str | None, str | None], OpenAICompatible] = {}
        self._front = self._door(Credential())
        self.honours = self._front.honours

    def _door(self, credential: Credential) -> OpenAICompatible:
        """The gateway by the address, and for the organization, of a credential."""
        key = (credential.region, credential.subject)
        if key not in self._doors:
            self._doors[key] = OpenAICompatible(
                self.name,
                self._upstream,
                credential.region or self._base,
                self._now,
                quirks=Quirks(thinking="reasoning"),  # as OpenRouter has it (§3)
                headers=_organization(credential),
            )
        return self._doors[key]

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        """Stream the answer; see `Provider.stream`."""
        known = self._front.known(request.model)
        if known is None or not known.free:
            self._require_balance(lease)
        events = self._door(lease.credential).stream(request, lease)
        try:
            yield from events
        except AccountExhausted:
            self._broke.add(_mark(lease.credential))
            raise
        except UpstreamForbidden:
            self._require_profile(lease)
            raise
        except UpstreamRejected as exc:
            # The text of a 400 names the window and what was asked (§5).
            if not _WINDOW.search(exc.message):
                raise
            code = exc.upstream_code
            raise ContextTooLong(exc.message, upstream_code=code) from exc

    def ignores(self, request: ChatRequest, model: str) -> tuple[str, ...]:
        """Fields that will have no effect; see `SaysWhatIsLost`."""
        return self._front.ignores(request, model)

    def relay(self, call: Call, lease: Lease) -> Answer:
        """Make any other call of the API; see `RelaysOpenAI.relay`."""
        return self._door(lease.credential).relay(call, lease)

    def _require_profile(self, lease: Lease) -> None:
        """A 403 is an organization's policy (§5), unless the account may not even see
        its own profile (§2): then it is the account that is shut out."""
        person = replace(lease.credential, subject=None)  # with no organization
        try:
            self.check_token(person, lease.scope)
        except TokenRejected as exc:
            raise AccountSuspended(
                "Kilo shuts the account out, its own profile too",
                upstream_code=exc.upstream_code,
            ) from exc
        except UpstreamError:
            lease.scope.check()

    def _require_balance(self, lease: Lease) -> None:
        """After a 402 ask for the balance before the next prompt goes up (§5).

        Where it cannot be told, the prompt will tell.
        """
        if _mark(lease.credential) not in self._broke:
            return
        try:
            balance = self.balance(lease.credential, lease.scope)
        except UpstreamError:
            lease.scope.check()
            return
        if balance <= 0:
            raise AccountExhausted("Kilo's balance is still empty")
        self._broke.discard(_mark(lease.credential))

    def balance(self, credential: Credential, scope: Scope) -> float:
        """What is left, in dollars; raises `UpstreamError`."""
        told = self._ask(credential, _BALANCE, scope).get("balance")
        if not isinstance(told, int | float) or isinstance(told, bool):
            raise UpstreamGarbled("Kilo's answer holds no balance")
        return float(told)

    def may_spend(self, credential: Credential, scope: Scope) -> bool | None:
        """See `TellsBalance`."""
        return self.balance(credential, scope) > 0

    def _ask(self, credential: Credential, path: str, scope: Scope) -> dict[str, Any]:
        """An account's facts; a token that may not see its own profile is no good."""
        origin = _origin(credential.region) if credential.region else self._api
        reply = self._upstream.request(
            "GET", origin + path, headers=_headers(credential), scope=scope
        )
        if reply.status in (401, 403):
            raise TokenDead(
                f"Kilo refuses the token (status {reply.status})",
                upstream_code=str(reply.status),
            )
        if reply.status != 200:
            raise refused(reply, self._now())
        return object_of(reply.body)

    @property
    def service(self) -> str:
        """Whose tokens these are: one is shown to no other service."""
        return self._api

    def check_token(self, credential: Credential, scope: Scope) -> None:
        """Ask for the token's profile; see `ChecksTokens`."""
        self._ask(credential, _PROFILE, scope)

    def read_token(self, text: str) -> Credential:
        """A token as it is configured: alone, or after an address that is allowed.

        See `ChecksTokens`. Only what looks like one of Kilo's own (§2) is read.
        """
        word = _BEARER.sub("", text.strip(), count=1)
        base, colon, token = word.rpartition(":") if "://" in word else ("", "", word)
        known = colon or (_JWT.fullmatch(token) and not _is_kimis(token))
        if not known or not _TOKEN.fullmatch(token):
            raise ValueError("this is no Kilo token: it begins with eyJ")
        if not colon:
            return Credential(access=token)
        if _origin(base) not in self._origins:
            raise ValueError("this is no Kilo token for a host that is allowed")
        return Credential(access=token, region=base_of(base))

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        """Ask which models there are, and remember them; no token is needed for it."""
        return self._front.models(NO_KEY, scope)

    def known_models(self) -> list[Model]:
        """The models last listed; empty before the first answer."""
        return self._front.known_models()

    def shared_models(self) -> list[dict[str, Any]] | None:
        """See `SharesModels`."""
        return self._front.shared_models()

    def adopt_models(self, shared: list[dict[str, Any]]) -> None:
        """See `SharesModels`."""
        self._front.adopt_models(shared)

    def offers(self, model: str) -> bool:
        """An organization's own models are in no public list."""
        return "/" in model


def _is_kimis(token: str) -> bool:
    """Whether a JWT says that it is Kimi's (connect sheet §1, §2): not to be shown."""
    part = token.split(".")[1]
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except ValueError:
        return False
    claims = claims if isinstance(claims, dict) else {}
    return claims.get("app_id") == "kimi" or "kimi" in str(claims.get("aud"))


def base_of(address: str) -> str:
    """The base address that a token names: one without a path means the documented."""
    address = address.rstrip("/")
    return address if urlsplit(address).path else address + GATEWAY


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _organization(credential: Credential) -> dict[str, str]:
    if credential.subject is None:
        return {}
    return {"X-KiloCode-OrganizationId": credential.subject}


def _headers(credential: Credential) -> dict[str, str]:
    return {
        "Authorization": f"Bearer {credential.access}",
        "Accept": "application/json",
        "User-Agent": USER_AGENT,
        **_organization(credential),
    }


def _mark(credential: Credential) -> str:
    return f"{credential.subject}/{credential.access}"
