"""What comes back: whole, in pieces, broken; its connection is used again."""

import pytest

import kimi_proxy.upstream
from kimi_proxy.errors import (
    GatewayError,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamMoved,
)
from kimi_proxy.upstream import Upstream
from tests.upstream.server import Server, scope


def test_the_quick_way_below_urllib3_is_really_taken(server: Server) -> None:
    upstream = Upstream([server.origin])
    exchange = upstream.open(
        "GET", f"{server.origin}/pieces", headers={}, scope=scope()
    )
    assert kimi_proxy.upstream._below_chunks(exchange._raw) is not None
    exchange.close()
    upstream.close()


def test_a_connection_serves_again_after_a_chunked_body(
    server: Server, upstream: Upstream
) -> None:
    server.step.set()
    for _ in range(3):
        reply = upstream.request(
            "GET", f"{server.origin}/pieces", headers={}, scope=scope()
        )
        assert reply.body == b"onetwo"
    assert upstream._pools[server.origin].num_connections == 1


def test_an_answer_comes_whole_and_its_connection_is_used_again(
    server: Server, upstream: Upstream
) -> None:
    for _ in range(3):
        reply = upstream.request(
            "GET", f"{server.origin}/ok", headers={}, scope=scope()
        )
        assert (reply.status, reply.body) == (200, b"ok")
    pool = upstream._pools[server.origin]
    assert pool.num_connections == 1


def test_an_answer_of_known_length_whose_server_closes_is_whole(
    server: Server, upstream: Upstream
) -> None:
    reply = upstream.request(
        "GET", f"{server.origin}/ok_and_close", headers={}, scope=scope()
    )
    assert (reply.status, reply.body) == (200, b"ok")


@pytest.mark.parametrize("path", ["pieces", "close_delimited"])
def test_a_piece_is_handed_on_before_the_next_one_exists(
    server: Server, upstream: Upstream, path: str
) -> None:
    exchange = upstream.open(
        "GET", f"{server.origin}/{path}", headers={}, scope=scope()
    )
    blocks = exchange.blocks()
    assert next(blocks) in {b"one", b"first"}
    server.step.set()
    assert b"".join(blocks) in {b"two", b"last"}


@pytest.mark.parametrize(
    ("path", "error"),
    [
        ("cut_chunk", UpstreamCut),
        ("cut_between_chunks", UpstreamCut),
        ("cut_length", UpstreamCut),
        ("no_answer", UpstreamCut),
        ("moved", UpstreamMoved),
        ("page/200", UpstreamBlocked),
        ("page/403", UpstreamBlocked),
        ("page/503", UpstreamBlocked),
        ("page/502", UpstreamFailed),
        ("page/520", UpstreamFailed),
        ("page/530", UpstreamFailed),
        ("garbled", UpstreamError),
    ],
)
def test_a_broken_answer_is_an_error_of_ours(
    server: Server, upstream: Upstream, path: str, error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        upstream.request("GET", f"{server.origin}/{path}", headers={}, scope=scope())


@pytest.mark.parametrize("status", [401, 404, 405, 413, 429, 501])
def test_a_page_whose_status_says_enough_is_left_to_the_provider(
    server: Server, upstream: Upstream, status: int
) -> None:
    reply = upstream.request(
        "GET", f"{server.origin}/page/{status}", headers={}, scope=scope()
    )
    assert reply.status == status


def test_an_answer_above_the_limit_is_refused(
    server: Server, upstream: Upstream
) -> None:
    with pytest.raises(UpstreamGarbled, match="exceeds 1 bytes"):
        upstream.request(
            "GET", f"{server.origin}/ok", headers={}, scope=scope(), limit=1
        )


def test_secrets_in_an_answer_stay_out_of_its_repr(
    server: Server, upstream: Upstream
) -> None:
    reply = upstream.request("GET", f"{server.origin}/ok", headers={}, scope=scope())
    assert "ok" not in repr(reply).replace("Server", "")


@pytest.mark.parametrize("hint", ["100/1", "102/1", "103/1", "103/5"])
def test_what_is_announced_before_an_answer_is_passed_over(
    server: Server, upstream: Upstream, hint: str
) -> None:
    """Else the next request on the connection would get this one's answer."""
    for path in (f"hints/{hint}", "ok"):
        url = f"{server.origin}/{path}"
        reply = upstream.request("GET", url, headers={}, scope=scope())
        assert (reply.status, reply.body) == (200, b"ok")
    assert upstream._pools[server.origin].num_connections == 1


@pytest.mark.parametrize("hint", ["101/1", "103/99"])
def test_a_connection_that_makes_no_sense_is_not_used_again(
    server: Server, upstream: Upstream, hint: str
) -> None:
    with pytest.raises(UpstreamError):
        url = f"{server.origin}/hints/{hint}"
        upstream.request("GET", url, headers={}, scope=scope())
    reply = upstream.request("GET", f"{server.origin}/ok", headers={}, scope=scope())
    assert reply.body == b"ok"
    assert upstream._pools[server.origin].num_connections == 2
