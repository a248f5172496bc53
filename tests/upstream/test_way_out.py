"""Where requests go: to configured hosts, by the proxy, never on by a redirect."""

import socket
from base64 import b64encode

import pytest

from kimi_proxy.errors import UpstreamMoved, UpstreamUnreachable
from kimi_proxy.upstream import Upstream
from tests.upstream.server import Server, scope, serving


def test_a_redirect_is_not_followed_with_the_token(
    server: Server, upstream: Upstream
) -> None:
    with pytest.raises(UpstreamMoved, match="redirect"):
        upstream.request(
            "POST",
            f"{server.origin}/moved",
            headers={"Authorization": "Bearer made-up"},
            scope=scope(),
        )
    assert [path for path, _ in server.seen] == ["/moved"]


def test_cookies_are_not_kept(server: Server, upstream: Upstream) -> None:
    for path in ("cookie", "ok"):
        upstream.request("GET", f"{server.origin}/{path}", headers={}, scope=scope())
    assert "Cookie" not in server.seen[1][1]


def test_a_host_that_is_not_configured_is_refused(upstream: Upstream) -> None:
    with pytest.raises(ValueError, match="not a configured host"):
        upstream.open("GET", "http://127.0.0.1:9/x", headers={}, scope=scope())


def test_a_body_in_pieces_arrives_whole_with_its_length(
    server: Server, upstream: Upstream
) -> None:
    pieces = [b"a" * 70_000, b"", b"b"]
    reply = upstream.request(
        "POST",
        f"{server.origin}/echo",
        headers={"Content-Length": "70001"},
        body=iter(pieces),
        scope=scope(),
    )
    assert reply.body == b"".join(pieces)
    assert "Transfer-Encoding" not in server.seen[0][1]


def test_beside_the_configured_hosts_there_is_https_alone(
    server: Server, upstream: Upstream
) -> None:
    with pytest.raises(ValueError, match="neither configured nor https"):
        upstream.beside("http://127.0.0.1:9")
    beside = upstream.beside(server.origin)
    assert beside.request("GET", f"{server.origin}/ok", headers={}, scope=scope()).body
    beside.close()
    secure = upstream.beside(server.origin.replace("http:", "https:"))
    with pytest.raises(ValueError, match="not a configured host"):
        secure.open("GET", f"{server.origin}/ok", headers={}, scope=scope())


def test_the_way_beside_goes_by_the_same_proxy() -> None:
    with serving(Server()) as proxy:
        beside = Upstream([], proxy.origin).beside("https://files.test")
        with pytest.raises(UpstreamUnreachable):
            beside.request("GET", "https://files.test/ok", headers={}, scope=scope())
        assert [path for path, _ in proxy.seen] == ["files.test:443"]


def test_nobody_listening_is_unreachable() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        origin = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(UpstreamUnreachable, match="cannot connect"):
            Upstream([origin]).request("GET", f"{origin}/", headers={}, scope=scope())


def test_a_server_without_tls_is_unreachable_over_https(server: Server) -> None:
    origin = server.origin.replace("http:", "https:")
    with pytest.raises(UpstreamUnreachable):
        Upstream([origin]).request("GET", f"{origin}/ok", headers={}, scope=scope())


def test_a_plain_host_is_asked_for_through_the_proxy_with_its_password() -> None:
    origin = "http://10.1.2.3:81"
    with serving(Server()) as proxy:
        place = proxy.origin.replace("//", "//made-up-user:made%2Dup@")
        through = Upstream([origin], place)
        for _ in range(2):
            reply = through.request(
                "POST", f"{origin}/ok?a=b", headers={"X-Own": "1"}, scope=scope()
            )
            assert reply.body == b"ok"
        assert through._pools[origin].num_connections == 1
        through.close()
    path, headers = proxy.seen[0]
    assert path == f"{origin}/ok?a=b"
    assert headers["Host"] == "10.1.2.3:81"
    assert headers["X-Own"] == "1"
    credentials = b64encode(b"made-up-user:made-up").decode()
    assert headers["Proxy-Authorization"] == f"Basic {credentials}"


def test_a_tls_host_is_tunnelled_to_and_sees_no_password_of_the_proxy() -> None:
    with serving(Server()) as proxy:
        place = proxy.origin.replace("//", "//made-up-user:made-up@")
        origin = "https://10.1.2.3"
        through = Upstream([origin], place)
        with pytest.raises(UpstreamUnreachable):
            through.request("GET", f"{origin}/ok", headers={}, scope=scope())
        through.close()
    ((path, headers),) = proxy.seen
    assert path == "10.1.2.3:443"
    assert headers["Proxy-Authorization"].startswith("Basic ")


def test_a_dead_proxy_is_named(server: Server) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{sock.getsockname()[1]}"
        through = Upstream([server.origin], proxy)
        with pytest.raises(UpstreamUnreachable):
            through.request("GET", f"{server.origin}/ok", headers={}, scope=scope())
    assert server.seen == []
