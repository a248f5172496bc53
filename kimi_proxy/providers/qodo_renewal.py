"""Buying an hour's token for a Firebase pair (qodo sheet §1)."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import orjson

from kimi_proxy import USER_AGENT
from kimi_proxy.errors import TokenDead, UpstreamGarbled
from kimi_proxy.providers import qodo_token
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.qodo_error import renewal_refused
from kimi_proxy.refusal import retry_after
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Upstream

_LIFE = 3600.0  # seconds; for when the answer does not say


class Renewal:
    """Renews at `host` (scheme://host[:port]); `now` is epoch seconds."""

    def __init__(self, upstream: Upstream, host: str, now: Callable[[], float]) -> None:
        self._upstream = upstream
        self._host = host
        self._now = now

    def renew(self, credential: Credential, scope: Scope) -> Credential:
        """The credential with a new access token, and whose it is.

        Raises `TokenDead` when the pair is refused or there is none, and
        `UpstreamGarbled` when the answer is no token or that of another user.
        """
        if credential.refresh is None:
            raise TokenDead("Qodo refuses the API key, which cannot be renewed")
        key, refresh = qodo_token.halves(credential.refresh)
        form = {"grant_type": "refresh_token", "refresh_token": refresh}
        reply = self._upstream.request(
            "POST",
            f"{self._host}/v1/token?{urlencode({'key': key})}",
            headers={
                "Content-Type": "application/x-www-form-urlencoded",
                "Accept": "application/json",
                "User-Agent": USER_AGENT,
            },
            body=urlencode(form).encode(),
            scope=scope,
        )
        now = self._now()
        if reply.status != 200:
            wait = retry_after(reply.headers, now)
            raise renewal_refused(reply.status, reply.body, wait)
        return _bought(credential, reply.body, now)


def _bought(credential: Credential, body: bytes, now: float) -> Credential:
    answer = _object(body)
    access = _text(answer, "id_token") or _text(answer, "access_token")
    if access is None:
        raise UpstreamGarbled("Firebase's answer holds no token")
    user = _text(answer, "user_id")
    if credential.subject is not None and user not in (None, credential.subject):
        raise UpstreamGarbled("Firebase answered with the token of another user")
    pair = credential.refresh or ""
    refresh = _text(answer, "refresh_token")
    return Credential(
        access=access,
        refresh=qodo_token.paired(pair, refresh) if refresh else pair,
        access_expires=now + _life(answer.get("expires_in")),
        region="ide",
        subject=user or credential.subject,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("Firebase's answer is not JSON") from exc
    if not isinstance(value, dict):
        raise UpstreamGarbled("Firebase's answer is no object")
    return value


def _text(answer: Mapping[str, Any], key: str) -> str | None:
    value = answer.get(key)
    return value if isinstance(value, str) and value else None


def _life(told: object) -> float:
    """Seconds, which come as a text."""
    try:
        seconds = float(str(told))
    except ValueError:
        return _LIFE
    return seconds if 0 < seconds < 10 * 86_400 else _LIFE
