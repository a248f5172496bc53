"""A server that misbehaves on demand: the path says how."""

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from kimi_proxy.scope import Scope, Timeouts


def scope(**times: float) -> Scope:
    return Scope(Timeouts(**times), time.monotonic)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        path = urlsplit(self.path).path  # whole when it is asked as a proxy
        getattr(self, "do_" + path.strip("/").split("/")[0])()

    do_POST = do_GET

    def do_CONNECT(self) -> None:
        """As a proxy that lets nobody through."""
        self.server.seen.append((self.path, dict(self.headers)))
        self._head(403, Content_Length="0")

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

    def do_ok_and_close(self) -> None:
        self._head(Content_Length="2", Connection="close")
        self.wfile.write(b"ok")

    def do_echo(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self._head(Content_Length=str(len(body)))
        self.wfile.write(body)

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

    def do_hints(self) -> None:
        """As many answers that are none before the one as the path says."""
        status, number = self.path.rsplit("/", 2)[1:]
        hint = f"HTTP/1.1 {status} Early Hints\r\nLink: </made-up>\r\n\r\n"
        self.wfile.write(hint.encode() * int(number))
        self.wfile.flush()
        self.do_ok()

    def do_coded(self) -> None:
        """What the test left, as compressed as it says: status and coding."""
        status, coding, data = self.server.coded
        self._head(status, Content_Encoding=coding, Content_Length=str(len(data)))
        self.wfile.write(data)

    def do_cookie(self) -> None:
        self._head(Set_Cookie="a=b", Content_Length="0")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.release = threading.Event()
        self.step = threading.Event()
        self.coded = (200, "identity", b"")
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hung up is what half of these tests are about."""


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """Serve until the block ends; whoever still waits is let go."""
    with server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.release.set()
        server.step.set()
        server.shutdown()
        thread.join()
