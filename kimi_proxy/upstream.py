"""The only way to the upstreams: HTTP to the configured hosts of one provider.

Below `requests.Session` on purpose (performance facts: the pool that requests' adapter
holds costs two thirds of `Session.request`): its connection pools, TLS set-up and
proxies are used as they are, cookies, redirects and environment are left out. Every
wait obeys the request's `Scope`; every failure leaves as an `UpstreamError`.
"""

import io
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import orjson
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
    SSLError,
)

from kimi_proxy import refusal
from kimi_proxy.chunked import ChunkDecoder
from kimi_proxy.connection import Watched, current
from kimi_proxy.content_coding import decoded
from kimi_proxy.errors import (
    GatewayError,
    UpstreamCut,
    UpstreamError,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamUnreachable,
)
from kimi_proxy.scope import Scope
from kimi_proxy.wire import Wire

_BLOCK = 16_384  # bytes: a record of TLS; a read that waits holds them all the while
_REPLY_LIMIT = 8 * 1024 * 1024
_CONNECTIONS = 1024
_MOMENT = 0.2  # seconds


class _WatchedHTTP(Watched, HTTPConnection):
    pass


class _WatchedHTTPS(Watched, HTTPSConnection):
    pass


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer; `body` has at most the limit asked for."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> Any:
        """The body as JSON; raises `UpstreamGarbled` when it is none."""
        try:
            return orjson.loads(self.body)
        except orjson.JSONDecodeError as exc:
            raise UpstreamGarbled("the upstream's answer is not JSON") from exc


class Exchange:
    """An answer being received: status and headers are here, the body is to come."""

    def __init__(self, raw: urllib3.BaseHTTPResponse, wire: Wire) -> None:
        self._raw = raw
        self._wire = wire
        self._silence = wire.scope.timeouts.idle
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers

    @property
    def content_type(self) -> str:
        """The media type in lower case, without parameters; empty if not given."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def blocks(self, *, raw: bool = False) -> Iterator[bytes]:
        """The body in blocks as they arrive, each within the idle time-out.

        Uncompressed, unless they are wanted `raw`. Raises `UpstreamCut` when the
        framing says that there was more to come; a close-delimited body ends silently,
        its own protocol has to notice.
        """
        coding = self.headers.get("content-encoding")
        blocks = self._read()
        return blocks if raw or not coding else decoded(blocks, coding)

    def _read(self) -> Iterator[bytes]:
        source = _below_chunks(self._raw)
        try:
            if source is None:
                yield from self._read_plain()
            else:
                yield from self._read_chunked(source)
        except (HTTPError, OSError) as exc:
            raise _reading_failed(exc, self._wire.scope) from exc
        finally:
            self.close()

    def finish(self, blocks: Iterator[bytes]) -> None:
        """Read `blocks` on to their end, so that the connection can be used again.

        For when the answer is whole already: it waits no longer than a moment, and
        whatever goes wrong costs the connection only.
        """
        self._silence = min(self._silence, _MOMENT)
        with suppress(GatewayError):
            next(blocks, None)

    def _read_plain(self) -> Iterator[bytes]:
        scope = self._wire.scope
        while True:
            self._wire.patience(scope.limit(self._silence))
            block = self._raw.read1(_BLOCK)
            if not block:
                scope.check()
                return
            yield block

    def _read_chunked(self, source: io.BufferedReader) -> Iterator[bytes]:
        scope, decoder = self._wire.scope, ChunkDecoder()
        while not decoder.done:
            self._wire.patience(scope.limit(self._silence))
            data = source.read1(_BLOCK)
            if not data:
                scope.check()
                raise UpstreamCut("the upstream's answer ended early")
            block = decoder.feed(data)
            if block:
                yield block
        if not decoder.rest:
            _leave_reusable(self._raw)

    def reply(self, limit: int = _REPLY_LIMIT) -> Reply:
        """Read the rest; raises `UpstreamGarbled` when it exceeds `limit` bytes.

        Of a refusal that cannot be read the status says enough: its body is empty.
        """
        body = bytearray()
        try:
            for block in self.blocks():
                body += block
                if len(body) > limit:
                    raise UpstreamGarbled(
                        f"the upstream's answer exceeds {limit} bytes"
                    )
        except UpstreamGarbled:
            if self.status < 400:
                raise
            self.close()
            body.clear()
        return Reply(self.status, self.headers, bytes(body))

    def close(self) -> None:
        """Give the connection back, or drop it when the body was not read to its end.

        May be called more than once and from the thread that reads only.
        """
        self._wire.release()
        self._raw.close()
        self._raw.release_conn()


def send(
    pool: urllib3.HTTPConnectionPool,
    method: str,
    target: str,
    *,
    headers: Mapping[str, str],
    body: bytes | Iterable[bytes] | None = None,
    scope: Scope,
    host: str = "the upstream",
) -> Exchange:
    """Send over `pool` and wait for status and headers, whatever they are.

    The pool's connections are `Watched`; `host` is its name in errors. Raises
    `UpstreamUnreachable`, `UpstreamCut`, `UpstreamTimeout`, or the scope's reason.
    """
    times = scope.timeouts
    scope.check()
    wire = Wire(scope)
    token = current.set(wire)
    try:
        raw = pool.urlopen(
            method,
            target,
            body=body,
            headers={"Accept-Encoding": "identity", **headers},
            timeout=urllib3.Timeout(
                connect=scope.limit(times.connect), read=scope.limit(times.headers)
            ),
            retries=False,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
    except (HTTPError, OSError) as exc:
        wire.release()
        raise _sending_failed(exc, scope, host) from exc
    except BaseException:
        wire.release()
        raise
    finally:
        current.reset(token)
    return Exchange(raw, wire)


class Upstream:
    """Connections to `origins` (scheme://host[:port]); any other host is refused.

    `proxy` is the address of an outgoing proxy, `ca_bundle` a file of the authorities
    to trust in place of the well-known ones. The pools are made on first use, so an
    object made before a fork is safe.
    """

    def __init__(
        self,
        origins: Iterable[str],
        proxy: str | None = None,
        ca_bundle: str | None = None,
    ) -> None:
        self._origins = frozenset(origin.rstrip("/") for origin in origins)
        self._proxy = proxy
        self._ca_bundle = ca_bundle
        self._adapter: HTTPAdapter | None = None
        self._pools: dict[str, urllib3.HTTPConnectionPool] = {}
        self._lock = threading.Lock()

    def open(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        scope: Scope,
        pages: bool = False,
    ) -> Exchange:
        """Send and wait for status and headers.

        A body in pieces needs its `Content-Length` among the headers; each piece then
        has the connect time-out to be sent in, a body of bytes only as a whole. With
        `pages` the caller can tell by itself what an HTML page means.

        Raises `UpstreamMoved` for a redirect, `UpstreamBlocked` for an HTML page whose
        status does not tell enough, `UpstreamUnreachable`, `UpstreamTimeout`, or the
        reason of a cancelled scope.
        """
        parts = urlsplit(url)
        pool = self._pool(f"{parts.scheme}://{parts.netloc}")
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if pool.proxy is not None and parts.scheme == "http":
            # Nothing is tunnelled: the proxy is to be told the whole address (RFC 9112
            # §3.2.2), and only by that urllib3 sees that it wants its password, too.
            target = f"http://{parts.netloc}{target}"
        try:
            exchange = send(
                pool, method, target, headers=headers, body=body, scope=scope
            )
            return _screened(exchange, pages)
        except UpstreamError as exc:
            exc.where = parts.netloc  # clients are not told whom they are served by
            raise

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes | Iterable[bytes] | None = None,
        scope: Scope,
        limit: int = _REPLY_LIMIT,
        pages: bool = False,
    ) -> Reply:
        """Send and read the whole answer; raises what `open` and `reply` raise."""
        exchange = self.open(
            method, url, headers=headers, body=body, scope=scope, pages=pages
        )
        return exchange.reply(limit)

    def beside(self, origin: str) -> "Upstream":
        """The way to a host that an upstream names, by the same proxy.

        For what carries no credential. Raises ValueError for an origin that is neither
        configured nor https.
        """
        if origin not in self._origins and not origin.startswith("https://"):
            raise ValueError(f"{origin} is neither configured nor https")
        return Upstream([origin], self._proxy, self._ca_bundle)

    def close(self) -> None:
        """Close idle connections."""
        with self._lock:
            adapter, self._adapter = self._adapter, None
            self._pools.clear()
        if adapter is not None:
            adapter.close()

    def _pool(self, origin: str) -> urllib3.HTTPConnectionPool:
        pool = self._pools.get(origin)
        if pool is not None:
            return pool
        if origin not in self._origins:
            raise ValueError(f"{origin} is not a configured host")
        with self._lock:
            if self._adapter is None:
                self._adapter = HTTPAdapter(pool_maxsize=_CONNECTIONS)
            proxy = self._proxy
            fresh = self._adapter.get_connection_with_tls_context(
                requests.Request("POST", origin).prepare(),
                verify=self._ca_bundle or True,
                proxies={"http": proxy, "https": proxy} if proxy else None,
            )
            assert isinstance(fresh, urllib3.HTTPConnectionPool)  # noqa: S101 - typing
            secure = fresh.scheme == "https"
            fresh.ConnectionCls = _WatchedHTTPS if secure else _WatchedHTTP
            self._pools[origin] = fresh
        return fresh


def _below_chunks(raw: urllib3.BaseHTTPResponse) -> io.BufferedReader | None:
    """The buffered socket under a chunked body that nobody has read from yet.

    These are private parts of urllib3 and http.client (tried with urllib3 2.8, Python
    3.11); where they look different the answer is None and the public way is taken.
    """
    inner = getattr(raw, "_fp", None)
    source = getattr(inner, "fp", None)
    fresh = getattr(inner, "chunked", False) and getattr(inner, "chunk_left", 0) is None
    return source if fresh and isinstance(source, io.BufferedReader) else None


def _leave_reusable(raw: urllib3.BaseHTTPResponse) -> None:
    """Tell http.client that the body is over, so that the connection serves again."""
    raw._fp._close_conn()  # type: ignore[attr-defined]  # see _below_chunks
    raw.release_conn()


def _screened(exchange: Exchange, pages: bool) -> Exchange:
    """Refuse what no API answers with: redirects and pages made for a browser."""
    if 300 <= exchange.status < 400:
        exchange.close()
        raise UpstreamMoved(
            f"the upstream answers with a redirect ({exchange.status}): "
            "configure the host it moved to"
        )
    if exchange.content_type == "text/html" and not pages:
        error = refusal.page(exchange.status)
        if error is not None:
            exchange.close()
            raise error
    return exchange


_UNREACHABLE: tuple[tuple[type[Exception], str], ...] = (
    (NewConnectionError, "cannot connect to {}"),
    (ConnectTimeoutError, "connecting to {} timed out"),
    (ProxyError, "the outgoing proxy did not connect to {}"),
    (SSLError, "TLS with {} failed"),
    (Exception, "the connection to {} failed"),
)


def _sending_failed(exc: Exception, scope: Scope, host: str) -> GatewayError:
    if scope.cancelled or isinstance(exc, ReadTimeoutError):
        return scope.overdue(f"{host} sent no response headers in time")
    if isinstance(exc, ProtocolError):
        return UpstreamCut(f"{host} closed the connection before answering")
    text = next(text for kind, text in _UNREACHABLE if isinstance(exc, kind))
    return UpstreamUnreachable(text.format(host))


def _reading_failed(exc: Exception, scope: Scope) -> GatewayError:
    if scope.cancelled or isinstance(exc, ReadTimeoutError | TimeoutError):
        return scope.overdue(f"the upstream was silent for {scope.timeouts.idle:g} s")
    if isinstance(exc, ProtocolError | OSError):
        return UpstreamCut("the upstream's answer ended early")
    return UpstreamGarbled("the upstream's answer is malformed")
