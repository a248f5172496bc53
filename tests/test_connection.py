"""How connections are used: again only if nothing happened, and sparingly."""

import socket
import threading
import time

import pytest
from urllib3.connection import HTTPConnection

from kimi_proxy.connection import Watched
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream


def _ask(upstream: Upstream, origin: str) -> bytes:
    scope = Scope(Timeouts(), time.monotonic)
    return upstream.request("GET", f"{origin}/", headers={}, scope=scope).body


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 408 Timeout\r\n\r\n", b""])
def test_a_connection_on_which_something_came_meanwhile_serves_no_more(
    unasked: bytes,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as server:
        origin = f"http://127.0.0.1:{server.getsockname()[1]}"
        upstream = Upstream([origin])
        peers: list[socket.socket] = []

        def serve() -> None:
            for body in (b"ab", b"cd"):
                peer, _ = server.accept()
                peers.append(peer)
                peer.recv(65536)
                peer.sendall(head + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        assert _ask(upstream, origin) == b"ab"
        if unasked:
            peers[0].sendall(unasked)
        else:
            peers[0].close()
        assert _ask(upstream, origin) == b"cd"
        thread.join(10)
        upstream.close()
        for peer in peers:
            peer.close()


class _Plain(Watched, HTTPConnection):
    pass


class _Recorder:
    """A socket that remembers what it was given to send, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def settimeout(self, seconds: float) -> None:
        """Nothing waits here."""

    def sendall(self, data: bytes) -> None:
        self.pieces.append(data)


@pytest.mark.parametrize(
    ("body", "pieces"),
    [
        ([], 1),
        ([b"{}"], 1),
        ([b"b" * 16_384], 1),
        ([b"b" * 16_385], 2),
        ([b"one ", b"two"], 3),
    ],
    ids=["none", "small", "just small", "large", "in pieces"],
)
def test_a_small_body_leaves_together_with_its_head(
    body: list[bytes], pieces: int
) -> None:
    connection, sock = _Plain("localhost"), _Recorder()
    connection.sock = sock
    whole = b"".join(body)
    headers = {"Content-Length": f"{len(whole)}"}
    given = whole if len(body) < 2 else iter(body)
    connection.request("POST", "/", body=given, headers=headers)
    head, _, rest = b"".join(sock.pieces).partition(b"\r\n\r\n")
    assert head.startswith(b"POST / HTTP/1.1\r\n")
    assert rest == whole
    assert len(sock.pieces) == pieces
