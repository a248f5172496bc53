"""The site's nonce: on its page, good for hours, the same for all who are not logged in
(kimi-ai.chat sheet §2)."""

import re
import threading

import orjson

from kimi_proxy import USER_AGENT
from kimi_proxy.errors import UpstreamBlocked, UpstreamFailed, UpstreamGarbled
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply, Upstream

PAGE = "/chat/"
_VARIABLE = re.compile(rb"\bkimi_ajax\s*=\s*(\{[^<>]*?\})\s*;")
_LIMIT = 4 * 1024 * 1024  # bytes of a page
_GLANCE = 0.1  # seconds between two looks at whether the request is over
_PROXY_PAGE = frozenset({500, 502, 504, *range(520, 531)})


class Nonce:
    """Remembers the nonce; whoever needs a new one shares one fetch."""

    def __init__(self, upstream: Upstream, site: str) -> None:
        self._upstream = upstream
        self._site = site
        self._lock = threading.Lock()
        self._value: str | None = None

    def get(self, scope: Scope, stale: str | None = None) -> str:
        """The nonce, fetched if there is none or it is `stale`.

        Raises `UpstreamBlocked` for a challenge in the page's place, `UpstreamGarbled`
        for a page without a nonce, and what any call does.
        """
        while not self._lock.acquire(timeout=scope.limit(_GLANCE)):
            scope.check()
        try:
            if self._value is None or self._value == stale:
                self._value = None
                self._value = self._fetched(scope)
            return self._value
        finally:
            self._lock.release()

    def _fetched(self, scope: Scope) -> str:
        reply = self._upstream.request(
            "GET",
            self._site + PAGE,
            headers={
                "Accept": "text/html",
                "User-Agent": USER_AGENT,
            },
            scope=scope,
            limit=_LIMIT,
            pages=True,
        )
        if reply.status != 200:
            raise page_error(reply)
        return _found(reply.body)


def _found(page: bytes) -> str:
    """The nonce in a page; of the script's variable nothing else is proven."""
    script = _VARIABLE.search(page)
    try:
        value = orjson.loads(script[1]) if script else {}
    except orjson.JSONDecodeError:
        value = {}
    nonce = value.get("nonce")
    if not isinstance(nonce, str) or not nonce:
        raise UpstreamGarbled(
            "the page of kimi-ai.chat holds no nonce: the site has changed, or asks for"
            " a browser check"
        )
    return nonce


def page_error(reply: Reply) -> UpstreamBlocked | UpstreamFailed:
    """What a page means that came in the place of what was asked for."""
    if reply.status in _PROXY_PAGE:
        return UpstreamFailed(f"kimi-ai.chat is failing (status {reply.status})")
    return UpstreamBlocked(
        f"kimi-ai.chat answered with a web page (status {reply.status}) instead of"
        " data: it may be asking for a browser check"
    )
