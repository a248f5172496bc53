"""A client on a raw socket, which can leave at any moment."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Mapping
from typing import Any, Self

from tests.chaos.reply import Reply


class Caller:
    """One connection and one request on it."""

    def __init__(self, port: int, timeout: float = 30.0) -> None:
        self.received = b""
        self.ended = False
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        key: str | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Self:
        """Send a whole request."""
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n"
        if key is not None:
            head += f"Authorization: Bearer {key}\r\n"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n"
        self._socket.sendall(head.encode() + b"\r\n" + data)
        return self

    def read(self) -> bool:
        """Take what has arrived, or wait for it; False at the end."""
        try:
            block = self._socket.recv(1 << 16)
        except ConnectionResetError:
            block = b""
        self.received += block
        self.ended = not block
        return bool(block)

    def read_until(self, wanted: bytes) -> None:
        """Read until these bytes were seen; raises EOFError when they never come."""
        while wanted not in self.received:
            if not self.read():
                raise EOFError(f"no {wanted!r} in {self.received[-2000:]!r}")

    def leave(self) -> float:
        """Close the connection; the moment, in monotonic seconds."""
        moment = time.monotonic()
        self._socket.close()
        return moment

    def reply(self) -> Reply:
        """Read to the end, then close."""
        while not self.ended:
            self.read()
        self._socket.close()
        head, _, rest = self.received.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        if not head:
            raise ConnectionError("the gateway closed without an answer")
        body, broken = _body(rest, headers)
        return Reply(int(first.split()[1]), headers, body, broken)


def _body(rest: bytes, headers: Mapping[str, str]) -> tuple[bytes, bool]:
    if headers.get("transfer-encoding") == "chunked":
        return _dechunked(rest)
    length = headers.get("content-length")
    return rest, length is not None and len(rest) != int(length)


def _dechunked(rest: bytes) -> tuple[bytes, bool]:
    body = b""
    while True:
        size, _, rest = rest.partition(b"\r\n")
        if not size or len(rest) < int(size, 16) + 2:
            return body + rest, True
        if int(size, 16) == 0:
            return body, False
        body += rest[: int(size, 16)]
        rest = rest[int(size, 16) + 2 :]
