"""A file server on this machine that misbehaves on demand."""

import gzip
import http.server
import socket
import threading

BOMB = gzip.compress(bytes(1_000_000))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "FileServer"

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test output clean."""

    def do_GET(self) -> None:
        self.server.seen.append((self.path, dict(self.headers)))
        name = self.path.partition("?")[0].strip("/").split("/")[0]
        getattr(self, "do_" + name)()

    def _head(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.flush()

    def _drip(self, data: bytes) -> None:
        """One byte at a time, each far within any time-out of a single read."""
        self.close_connection = True
        while not self.server.release.wait(0.02):
            self.wfile.write(data)

    def do_file(self) -> None:
        self._head(Content_Length="4", Content_Type="Image/PNG; q=1", Set_Cookie="a=b")
        self.wfile.write(b"data")

    def do_chunked(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.wfile.write(b"4\r\ndata\r\n0\r\n\r\n")

    def do_named(self) -> None:
        self._head(
            Content_Length="0", Content_Disposition='attachment; filename="../b\x07.md"'
        )

    def do_empty(self) -> None:
        self._head(204)

    def do_status(self) -> None:
        status = int(self.path.partition("?")[0].rsplit("/", 1)[1])
        self._head(status, Content_Length="0")

    def do_moved(self) -> None:
        self._head(302, Location=self.server.location, Content_Length="0")

    def do_moved_nowhere(self) -> None:
        self._head(302, Content_Length="0")

    def do_steps(self) -> None:
        left = int(self.path.rsplit("/", 1)[1])
        where = f"/steps/{left - 1}" if left else "/file/at-last.png"
        self._head(307, Location=where, Set_Cookie="a=b", Content_Length="0")

    def do_long(self) -> None:
        self._head(Content_Length="1" + "0" * int(self.path.rsplit("/", 1)[1]))
        self.server.release.wait(20)
        self.close_connection = True

    def do_endless(self) -> None:
        self._head(Connection="close")
        self.close_connection = True
        try:
            while not self.server.release.is_set():
                self.wfile.write(bytes(65_536))
        except OSError:
            self.server.hung_up.set()

    def do_endless_chunks(self) -> None:
        self._head(Transfer_Encoding="chunked")
        self.close_connection = True
        try:
            while not self.server.release.is_set():
                self.wfile.write(b"10000\r\n" + bytes(65_536) + b"\r\n")
        except OSError:
            self.server.hung_up.set()

    def do_drip(self) -> None:
        self._head(Content_Length="1000000")
        self._drip(b"x")

    def do_drip_head(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        self._drip(b"x")

    def do_continue(self) -> None:
        self._drip(b"HTTP/1.1 100 Continue\r\n\r\n")

    def do_silent(self) -> None:
        self.server.release.wait(20)
        self.close_connection = True

    def do_silent_body(self) -> None:
        self._head(Content_Length="10")
        self.do_silent()

    def do_cut(self) -> None:
        self._head(Content_Length="10")
        self.wfile.write(b"ab")
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def do_garbled(self) -> None:
        self.wfile.write(b"this is not HTTP\r\n\r\n")
        self.close_connection = True

    def do_bomb(self) -> None:
        self._head(Content_Encoding="gzip", Content_Length=str(len(BOMB)))
        self.wfile.write(BOMB)

    def do_transfer_bomb(self) -> None:
        self._head(Transfer_Encoding="gzip, chunked", Connection="close")
        self.wfile.write(BOMB)


class FileServer(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, host: str = "127.0.0.1") -> None:
        if ":" in host:
            self.address_family = socket.AF_INET6
        super().__init__((host, 0), Handler)
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.calls = 0
        self.release = threading.Event()
        self.hung_up = threading.Event()
        self.location = ""
        self.origin = f"http://127.0.0.1:{self.server_port}"

    def get_request(self) -> tuple[socket.socket, object]:
        self.calls += 1
        return super().get_request()

    def handle_error(self, request: object, client_address: object) -> None:
        """A peer that hung up is what half of these tests are about."""

    def server_bind(self) -> None:
        # Not the one of http.server, which asks the resolver for this host's name.
        http.server.socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = "files.test", self.server_address[1]
