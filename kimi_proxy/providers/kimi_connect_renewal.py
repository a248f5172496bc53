"""Renewing and checking refresh tokens on the Connect wire (connect sheet §2)."""

from collections.abc import Mapping
from typing import Any

from kimi_proxy.errors import GatewayError, TokenDead, TokenRejected, UpstreamFailed
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kimi_connect_call import Caller, document, report
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply

_NOT_THERE = (404, 405, 501)
_LOG_IN = "Kimi refuses the refresh token: log in again and give the new one"


def renew(caller: Caller, credential: Credential, scope: Scope) -> Mapping[str, Any]:
    """The answer to a refresh, by the newer route or else the older one.

    Raises `TokenDead` when the refresh token is refused.
    """
    is_there = True
    try:
        reply = caller.renew(credential, scope)
    except UpstreamFailed as exc:  # a proxy's page in the place of a 5xx
        first: GatewayError = exc
    else:
        is_there = reply.status not in _NOT_THERE
        if is_there and reply.status < 500:
            return _granted(caller, reply)
        first = caller.refusal(reply)
    try:
        return _granted(caller, caller.renew_the_old_way(credential, scope))
    except TokenDead as exc:
        if not is_there:
            raise
        # The newer route is only ill. That the older one does not know the token is no
        # proof of its death: a wrong verdict would cost the user a log-in.
        raise UpstreamFailed(
            f"Kimi's token service fails: {first.message}",
            retry_after=first.retry_after,
            upstream_code=first.upstream_code,
        ) from exc


def check(caller: Caller, credential: Credential, scope: Scope) -> None:
    """Ask whether a refresh token works; raises `TokenDead` when it does not.

    By the older route: there the token stays valid for its own life (legacy sheet
    §2.1), so that the answer may be thrown away. The newer one might spend it.
    """
    _granted(caller, caller.renew_the_old_way(credential, scope))


def _granted(caller: Caller, reply: Reply) -> Mapping[str, Any]:
    error = _refusal(caller, reply)
    if error is not None:
        raise error
    return document(reply)


def _refusal(caller: Caller, reply: Reply) -> GatewayError | None:
    """What the answer refuses; a refused refresh token may hide under status 200."""
    if reply.status == 200 and not report(reply).reason:
        return None
    error = caller.refusal(reply)
    if reply.status in (401, 403) or isinstance(error, TokenRejected):
        return TokenDead(_LOG_IN, upstream_code=error.upstream_code)
    return error
