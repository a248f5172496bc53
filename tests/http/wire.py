"""HTTP by hand: what a client sees, byte for byte."""

import http.client
import json
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer; header names are in lower case."""

    status_code: int
    headers: Mapping[str, str]
    data: bytes

    def json(self) -> Any:
        return json.loads(self.data)


def call(
    port: int,
    method: str,
    path: str,
    body: object = None,
    *,
    headers: Mapping[str, str] | None = None,
    source: str = "127.0.0.1",
) -> Answer:
    """One request on a connection of its own; a body that is not bytes goes as JSON."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=SECONDS, source_address=(source, 0)
    )
    sent = dict(headers or {})
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        sent.setdefault("content-type", "application/json")
    try:
        connection.request(method, path, body, sent)
        response = connection.getresponse()
        return Answer(response.status, _lower(response.getheaders()), response.read())
    finally:
        connection.close()


def head(method: str, path: str, *lines: str) -> bytes:
    """The head of a raw request."""
    text = "\r\n".join([f"{method} {path} HTTP/1.1", "Host: localhost", *lines])
    return text.encode() + b"\r\n\r\n"


def request(body: object, *lines: str, path: str = "/v1/chat/completions") -> bytes:
    """A raw POST of this JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    length = f"Content-Length: {len(data)}"
    return head("POST", path, "Content-Type: application/json", length, *lines) + data


class Line:
    """A raw connection; reads answers as http.client understands them."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._seen = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def until(self, mark: bytes) -> bytes:
        """All that comes up to and with `mark`; what follows is kept."""
        while mark not in self._seen:
            block = self.socket.recv(65_536)
            if not block:
                raise AssertionError(f"it closed after {self._seen[-2000:]!r}")
            self._seen += block
        found, _, self._seen = self._seen.partition(mark)
        return found + mark

    def answer(self) -> Answer:
        """The next whole answer; the connection may be used again after it."""
        if self._seen:
            raise AssertionError(f"bytes before the answer: {self._seen!r}")
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        body = response.read()
        return Answer(response.status, _lower(response.getheaders()), body)

    def rest(self) -> bytes:
        """All that comes until the other side closes."""
        blocks = [self._seen]
        while block := self.socket.recv(65_536):
            blocks.append(block)
        self._seen = b""
        return b"".join(blocks)

    def reset(self) -> None:
        """Hang up rudely: the other side sees a reset instead of an end."""
        linger = struct.pack("ii", 1, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.socket.close()


@contextmanager
def line(port: int, receive_buffer: int | None = None) -> Iterator[Line]:
    """Open a connection; `receive_buffer` makes it small, for slow readers."""
    with socket.socket() as sock:
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(SECONDS)
        sock.connect(("127.0.0.1", port))
        yield Line(sock)


def chunked(data: bytes, size: int = 65_536) -> bytes:
    """A whole body in the chunked transfer coding."""
    parts = [data[i : i + size] for i in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def dechunked(data: bytes) -> bytes:
    """What the chunks of an answer hold, as far as they have come."""
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        length = int(size, 16) if size else 0
        body, data = body + data[:length], data[length:].removeprefix(b"\r\n")
    return body


def _lower(headers: list[tuple[str, str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers}
