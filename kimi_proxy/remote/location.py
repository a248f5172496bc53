"""A URL as a client gave it, read once: what is checked is what is connected to."""

import re
from dataclasses import dataclass, field

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

from kimi_proxy.errors import InvalidRequest

_PORTS = {"http": 80, "https": 443}
_LONGEST = 8192
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_IN_BRACKETS = re.compile(r"\[[0-9a-f:.]+\]")  # an interface (%eth0) is never public
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # a last label that means an IPv4 address
_DOTTED = re.compile(r"(0|[1-9]\d{0,2})(\.(0|[1-9]\d{0,2})){3}")


@dataclass(frozen=True, slots=True)
class Location:
    """Where a file is; `target` is the path with the query, which may hold a secret."""

    scheme: str
    host: str  # without brackets
    port: int
    target: str = field(repr=False)

    @property
    def literal(self) -> list[str]:
        """The host if it is an address that needs no look-up."""
        return [self.host] if ":" in self.host or _DOTTED.fullmatch(self.host) else []

    @property
    def origin(self) -> str:
        """Scheme and host: all of it that may be quoted."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}"

    @property
    def url(self) -> str:
        return f"{self.origin}:{self.port}{self.target}"


def read_location(url: str) -> Location:
    """The parts of an absolute URL, normalised.

    Raises `InvalidRequest` for another scheme than http and https, for user names and
    passwords, and for hosts that resolvers take for an address (`127.1`, `0x7f000001`).
    """
    text = url.strip()
    if len(text) > _LONGEST or _CONTROL.search(text):
        raise InvalidRequest("the URL is too long or holds control characters")
    try:
        parsed = parse_url(text)
    except LocationParseError:
        raise InvalidRequest("the URL is malformed") from None  # it quotes the URL
    if parsed.scheme not in _PORTS:
        raise InvalidRequest("only http and https URLs are fetched")
    if parsed.auth is not None:
        raise InvalidRequest("a URL with a user name or password is not fetched")
    host = _host((parsed.host or "").lower())
    port = parsed.port or _PORTS[parsed.scheme]
    return Location(parsed.scheme, host, port, parsed.request_uri)


def _host(host: str) -> str:
    if _IN_BRACKETS.fullmatch(host):
        return host[1:-1]
    if not _HOST.fullmatch(host):
        raise InvalidRequest("the URL's host is malformed")
    last = host.rstrip(".").rpartition(".")[2]
    if _NUMBER.fullmatch(last) and not _DOTTED.fullmatch(host):
        raise InvalidRequest("the URL's host is an address in an unusual spelling")
    return host
