"""Fetching the files that clients name by URL, without becoming their way inside.

A client chooses the URL, so everything behind it is hostile: the name may lead into our
own network, or change where it leads between two looks; the server may send us on,
send without end, or never send. Each connection looks its host up once, refuses it
unless every address is public or allowed by the operator, and goes to the very address
that was checked, while the Host header and the certificate keep the name. Any port is
allowed: file stores live on many, and it is the address that guards what is private.
No cookie, credential or proxy is used, an operator's outgoing one included: it would
look the name up again.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urljoin

import requests.utils
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import NewConnectionError

from kimi_proxy.connection import Watched
from kimi_proxy.errors import (
    InvalidRequest,
    PayloadTooLarge,
    UpstreamError,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from kimi_proxy.remote.address import Network, permitted
from kimi_proxy.remote.file_name import decoded, file_name
from kimi_proxy.remote.location import Location, read_location
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Exchange, send

_HEADERS = {
    "Accept": "*/*",
    "Accept-Encoding": "identity",
    "Connection": "close",
    "User-Agent": "kimi-proxy",
}
_WHOLE = frozenset({200, 203})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LENGTH = re.compile(r"[0-9]+")
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]{1,64}/[\w!#$&^.+-]{1,64}", re.ASCII)

Resolve = Callable[[str, int], list[str]]


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file: a name without path, at most 120 characters; the media type as the
    server gives it, in lower case without parameters."""

    name: str
    media_type: str | None
    data: bytes = field(repr=False)


def resolve_by_system(host: str, port: int) -> list[str]:
    """The addresses of a name, or the address itself; raises OSError, ValueError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


def trust_the_known() -> ssl.SSLContext:
    """TLS that checks certificate and name against the authorities requests knows."""
    return ssl.create_default_context(cafile=requests.utils.DEFAULT_CA_BUNDLE_PATH)


class RemoteFiles:
    """Fetches files of at most `limit` bytes within `seconds`, look-ups included.

    `networks` are those non-public ones that the operator allows. At most `redirects`
    are followed, each checked like the first address.
    """

    def __init__(
        self,
        *,
        limit: int,
        seconds: float,
        networks: Sequence[Network] = (),
        redirects: int = 3,
        resolve: Resolve = resolve_by_system,
        trust: Callable[[], ssl.SSLContext] = trust_the_known,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._networks = tuple(networks)
        self._redirects = redirects
        self._resolve = resolve
        self._trust = trust
        self._monotonic = monotonic
        self._tls: ssl.SSLContext | None = None

    def get(self, url: str, scope: Scope, param: str) -> Fetched:
        """The file behind `url`, which the client wrote into the field `param`.

        Raises `PayloadTooLarge`, `InvalidRequest` for everything else that is wrong
        with the URL, its host or its answer, and what ends the scope. No more of the
        URL than scheme and host is quoted: the rest may hold a secret.
        """
        seconds = scope.limit(self._seconds)
        try:
            with _capped(scope, seconds, self._monotonic) as inner:
                return self._follow(url, inner)
        except UpstreamTimeout as exc:
            if scope.cancelled or seconds < self._seconds:
                raise scope.overdue(exc.message) from exc
            text = f"fetching the file took longer than {seconds:g} s"
            raise InvalidRequest(text, param=param) from exc
        except (InvalidRequest, PayloadTooLarge) as exc:
            scope.check()
            exc.param = param
            raise

    def _follow(self, url: str, scope: Scope) -> Fetched:
        place = read_location(url)
        for _ in range(self._redirects + 1):
            with self._visit(place, scope) as exchange:
                if exchange.status not in _REDIRECTS:
                    return self._receive(exchange, place)
                place = _next(place, exchange)
        raise _refusal(place, f"more than {self._redirects} redirects lead there")

    @contextmanager
    def _visit(self, place: Location, scope: Scope) -> Iterator[Exchange]:
        pool = self._pool(place)
        with closing(pool):
            try:
                exchange = send(
                    pool,
                    "GET",
                    place.target,
                    headers=_HEADERS,
                    scope=scope,
                    host=place.origin,
                )
                with closing(exchange):
                    yield exchange
            except UpstreamTimeout:
                raise
            except UpstreamUnreachable as exc:
                scope.check()  # it may be our cap that was over before the connection
                raise _refusal(place, exc.message) from exc
            except UpstreamError as exc:
                raise _refusal(
                    place, "its server's answer is incomplete or malformed"
                ) from exc

    def _pool(self, place: Location) -> urllib3.HTTPConnectionPool:
        addresses = partial(self._addresses, place)
        if place.scheme == "http":
            return _HTTPPool(place.host, place.port, addresses=addresses)
        if self._tls is None:
            self._tls = self._trust()
        return _HTTPSPool(
            place.host, place.port, addresses=addresses, ssl_context=self._tls
        )

    def _addresses(self, place: Location) -> list[str]:
        """The addresses to connect to, in the resolver's order, all checked."""
        try:
            found = place.literal or self._resolve(place.host, place.port)
        except (OSError, ValueError) as exc:
            raise _refusal(place, "its host is unknown") from exc
        if not found:
            raise _refusal(place, "its host is unknown")
        addresses = permitted(found, self._networks)
        if addresses is None:
            raise _refusal(
                place, "its host has a private address, which is not allowed"
            )
        return addresses

    def _receive(self, exchange: Exchange, place: Location) -> Fetched:
        if exchange.status not in _WHOLE:
            raise _refusal(place, _said(exchange.status))
        if _is_encoded(exchange):
            raise _refusal(place, "its server compresses what was asked for plain")
        if _length(exchange) > self._limit:
            raise self._too_large(place)
        body = bytearray()
        for block in exchange.blocks():
            body += block
            if len(body) > self._limit:
                raise self._too_large(place)
        name = file_name(exchange.headers.get("content-disposition", ""), place.target)
        known = _MEDIA_TYPE.fullmatch(exchange.content_type)
        return Fetched(name, exchange.content_type if known else None, bytes(body))

    def _too_large(self, place: Location) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"the file at {place.origin} exceeds the limit of {self._limit} bytes"
        )


class _Pinned:
    """Mixed into urllib3's connections: goes to checked addresses, not to the name."""

    port: Any
    timeout: Any

    def __init__(
        self, *args: Any, addresses: Callable[[], list[str]], **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._addresses = addresses

    def _new_conn(self) -> socket.socket:
        addresses = self._addresses()
        share = self.timeout / len(addresses)  # a dead one leaves time for the others
        for address in addresses:
            try:
                sock = socket.create_connection((address, self.port), share)
            except OSError:
                continue
            sock.settimeout(self.timeout)
            return sock
        text = "none of the addresses answers"
        raise NewConnectionError(self, text)  # type: ignore[arg-type]  # mixed into one


class _PinnedHTTP(Watched, _Pinned, HTTPConnection):
    pass


class _PinnedHTTPS(Watched, _Pinned, HTTPSConnection):
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _PinnedHTTP


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _PinnedHTTPS


def _next(place: Location, exchange: Exchange) -> Location:
    location = decoded(exchange.headers.get("location", ""))
    if not location:
        raise _refusal(place, "it redirects without saying where")
    try:
        return read_location(urljoin(place.url, location))
    except ValueError:
        raise _refusal(place, "it redirects to a malformed URL") from None


def _refusal(place: Location, why: str) -> InvalidRequest:
    return InvalidRequest(f"cannot fetch the file at {place.origin}: {why}")


def _said(status: int) -> str:
    if status in {404, 410}:
        return f"it is not found ({status})"
    return f"its server answers with status {status}"


def _is_encoded(exchange: Exchange) -> bool:
    content = exchange.headers.get("content-encoding", "identity")
    transfer = exchange.headers.get("transfer-encoding", "chunked")
    return content.lower() not in {"", "identity"} or transfer.lower() != "chunked"


def _length(exchange: Exchange) -> int:
    """Bytes to come as announced; 0 when nothing sensible is."""
    length = exchange.headers.get("content-length", "")
    return int(length[:20]) if _LENGTH.fullmatch(length) else 0


@contextmanager
def _capped(
    scope: Scope, seconds: float, monotonic: Callable[[], float]
) -> Iterator[Scope]:
    """A scope inside `scope` that also ends after `seconds`, whatever blocks then.

    A timer, since time-outs of single reads add up: headers sent byte by byte would
    never end.
    """
    connect = min(scope.timeouts.connect, seconds)
    times = Timeouts(connect=connect, headers=seconds, idle=seconds, total=seconds)
    inner = Scope(times, monotonic)
    late = UpstreamTimeout(f"the file took longer than {seconds:g} s")
    timer = threading.Timer(seconds, inner.cancel, (late,))
    timer.daemon = True
    timer.start()
    forget = scope.on_cancel(lambda: inner.cancel(scope.reason or late))
    try:
        yield inner
    finally:
        forget()
        timer.cancel()
