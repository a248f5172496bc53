"""The one way out: over real sockets, against a server that misbehaves on demand."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import kimi_proxy.upstream
from kimi_proxy.errors import (
    ClientGone,
    GatewayError,
    UpstreamBlocked,
    UpstreamCut,
    UpstreamError,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamTimeout,
    UpstreamUnreachable,
)
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.upstream import Upstream


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        getattr(self, "do_" + self.path.strip("/").split("/")[0])()

    do_POST = do_GET

    def _head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def _stall(self) -> None:
        self.server.release.wait(20)
        self.close_connection = True

    def do_ok(self) -> None:
        self._head(Content_Length="2")
        self.wfile.write(b"ok")

    def do_pieces(self) -> None:
        self._head(Transfer_Encoding="chunked")
        for piece in (b"one", b"two"):
            self.wfile.write(b"3\r\n" + piece + b"\r\n")
            self.wfile.flush()
            self.server.step.wait(20)
        self.wfile.write(b"0\r\n\r\n")

    def do_close_delimited(self) -> None:
        self._head(Connection="close")
        self.wfile.write(b"first")
        self.wfile.flush()
        self.server.step.wait(20)
        self.wfile.write(b"last")

    def do_cut_chunk(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"5\r\nab")
        self._drop()

    def do_cut_between_chunks(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"2\r\nab\r\n")
        self._drop()

    def do_cut_length(self) -> None:
        self._head(Content_Length="10")
        self.wfile.write(b"ab")
        self._drop()

    def do_no_answer(self) -> None:
        self._drop()

    def _drop(self) -> None:
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_silent(self) -> None:
        self._stall()

    def do_silent_body(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.flush()
        self._stall()

    def do_moved(self) -> None:
        self._head(302, Location="/ok", Content_Length="0")

    def do_page(self) -> None:
        status = int(self.path.rsplit("/", 1)[1])
        self._head(status, Content_Type="text/html; charset=utf-8", Content_Length="4")
        self.wfile.write(b"page")

    def do_garbled(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"zz\r\nnot a chunk\r\n")
        self._drop()

    def do_cookie(self) -> None:
        self._head(Set_Cookie="a=b", Content_Length="0")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        self.step = threading.Event()
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hung up is what half of these tests are about."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.step.set()
        server.shutdown()
        thread.join()


@pytest.fixture(params=["below urllib3", "through urllib3"])
def upstream(
    server: Server, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Upstream]:
    """Both ways to read a chunked body: the quick one and the public one."""
    if request.param == "through urllib3":
        monkeypatch.setattr(kimi_proxy.upstream, "_below_chunks", lambda raw: None)
    upstream = Upstream([server.origin])
    yield upstream
    upstream.close()


def scope(**times: float) -> Scope:
    return Scope(Timeouts(**times), time.monotonic)


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
        ("garbled", UpstreamError),
    ],
)
def test_a_broken_answer_is_an_error_of_ours(
    server: Server, upstream: Upstream, path: str, error: type[GatewayError]
) -> None:
    with pytest.raises(error):
        upstream.request("GET", f"{server.origin}/{path}", headers={}, scope=scope())


def test_a_missing_page_is_left_to_the_provider(
    server: Server, upstream: Upstream
) -> None:
    reply = upstream.request(
        "GET", f"{server.origin}/page/404", headers={}, scope=scope()
    )
    assert reply.status == 404


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


@pytest.mark.parametrize(
    ("path", "times", "says"),
    [
        ("silent", {"headers": 0.1}, "no response headers"),
        ("silent", {"total": 0.1}, "longer than 0.1 s"),
        ("silent_body", {"idle": 0.1}, "silent for 0.1 s"),
        ("silent_body", {"total": 0.1}, "longer than 0.1 s"),
    ],
)
def test_each_silence_has_its_own_time_out(
    server: Server, upstream: Upstream, path: str, times: dict[str, float], says: str
) -> None:
    with pytest.raises(UpstreamTimeout, match=says):
        upstream.request(
            "GET", f"{server.origin}/{path}", headers={}, scope=scope(**times)
        )


def test_a_hurried_reader_does_not_wait_for_a_late_end(
    server: Server, upstream: Upstream
) -> None:
    exchange = upstream.open(
        "GET", f"{server.origin}/pieces", headers={}, scope=scope(idle=20)
    )
    blocks = exchange.blocks()
    assert next(blocks) == b"one"
    exchange.hurry(0.05)
    with pytest.raises(UpstreamTimeout):
        next(blocks)


def test_no_content_in_time_is_a_time_out_although_the_connection_lives(
    server: Server, upstream: Upstream
) -> None:
    limits = scope(first_content=0.1)
    limits.expect_content()
    with pytest.raises(UpstreamTimeout, match=r"no content within 0\.1 s"):
        upstream.request(
            "GET", f"{server.origin}/silent_body", headers={}, scope=limits
        )


@pytest.mark.parametrize("path", ["silent", "silent_body"])
def test_cancelling_wakes_whoever_waits_for_the_upstream(
    server: Server, upstream: Upstream, path: str
) -> None:
    limits = scope()

    def leave_once_asked() -> None:
        while not server.seen:
            time.sleep(0.005)
        limits.cancel(ClientGone("left"))

    canceller = threading.Thread(target=leave_once_asked)
    canceller.start()
    with pytest.raises(ClientGone):
        upstream.request("GET", f"{server.origin}/{path}", headers={}, scope=limits)
    canceller.join()


def test_a_cancelled_request_is_not_sent(server: Server, upstream: Upstream) -> None:
    limits = scope()
    limits.cancel(ClientGone("left"))
    with pytest.raises(ClientGone):
        upstream.request("GET", f"{server.origin}/ok", headers={}, scope=limits)
    assert server.seen == []


def test_a_host_that_is_not_configured_is_refused(upstream: Upstream) -> None:
    with pytest.raises(ValueError, match="not a configured host"):
        upstream.open("GET", "http://127.0.0.1:9/x", headers={}, scope=scope())


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


def test_an_answer_above_the_limit_is_refused(
    server: Server, upstream: Upstream
) -> None:
    with pytest.raises(UpstreamGarbled, match="exceeds 1 bytes"):
        upstream.request(
            "GET", f"{server.origin}/ok", headers={}, scope=scope(), limit=1
        )


def test_a_dead_proxy_is_named(server: Server) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        proxy = f"http://127.0.0.1:{sock.getsockname()[1]}"
        through = Upstream([server.origin], proxy)
        with pytest.raises(UpstreamUnreachable):
            through.request("GET", f"{server.origin}/ok", headers={}, scope=scope())
    assert server.seen == []


def test_secrets_in_an_answer_stay_out_of_its_repr(
    server: Server, upstream: Upstream
) -> None:
    reply = upstream.request("GET", f"{server.origin}/ok", headers={}, scope=scope())
    assert "ok" not in repr(reply).replace("Server", "")
