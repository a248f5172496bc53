"""A plain client on http.client for any emulator; it repairs nothing."""

import http.client
import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole answer; `broken` says that the body ended before its end.

    The names of its headers are in lower case.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    broken: bool = False

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


@dataclass(slots=True)
class Client:
    """Sends below `base`, each time on a new connection; `secret` None sends none."""

    base: str
    secret: str | None = field(repr=False)
    open_connections: list[http.client.HTTPConnection] = field(
        default_factory=list, init=False
    )

    def send(
        self,
        method: str,
        path: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> http.client.HTTPConnection:
        """Send a request and return its connection before any answer is read."""
        place = urlsplit(self.base)
        link = http.client.HTTPConnection(place.netloc, timeout=30)
        self.open_connections.append(link)
        fields = {"Authorization": f"Bearer {self.secret}"} if self.secret else {}
        if isinstance(body, dict | list):
            fields["Content-Type"] = "application/json"
            body = json.dumps(body)
        link.request(method, place.path + path, body, {**fields, **(headers or {})})
        return link

    def fetch(self, method: str, path: str, body: Any = None, **more: Any) -> Whole:
        """Send a request and read the answer to its end."""
        link = self.send(method, path, body, **more)
        response = link.getresponse()
        broken = False
        try:
            data = response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            data, broken = getattr(error, "partial", b""), True
        finally:
            link.close()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Whole(response.status, headers, data, broken)

    def leave(self) -> None:
        """Close every connection at once."""
        for link in self.open_connections:
            link.close()
        self.open_connections.clear()
