"""An idle connection is used again only when nothing happened to it."""

import socket
import threading
import time

import pytest

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
