"""HTTP/1.1 over real sockets, one thread per connection, nothing left after the end."""

import json
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from emulators.stream import Connection, StreamWriter


class Headers(dict[str, str]):
    """Header fields by lower-case name; repeated ones are joined with a comma."""

    def __init__(self, fields: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__()
        for name, value in fields:
            key = name.lower()
            self[key] = f"{self[key]}, {value}" if key in self else value


@dataclass(frozen=True, slots=True)
class Request:
    """One parsed HTTP request; `params` are the placeholders of the route's path.

    Header names are lower-case.
    """

    method: str
    path: str
    query: Mapping[str, str]
    headers: Headers
    body: bytes
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def bearer(self) -> str | None:
        """The bearer token, or None."""
        scheme, _, token = (self.headers.get("authorization") or "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token else None

    @property
    def content_type(self) -> str:
        """The media type, lower-case, without parameters."""
        return (self.headers.get("content-type") or "").partition(";")[0].lower()

    def json(self) -> Any:
        """Return the body as JSON; raises ValueError when it is none."""
        return json.loads(self.body)


Serve = Callable[["Handler", Request], None]


class Server(ThreadingHTTPServer):
    """Keeps account of its connections and threads, so that none outlives a stop."""

    daemon_threads = True
    request_queue_size = 2048

    def __init__(self, serve: Serve, crashes: list[str], port: int) -> None:
        self.serve = serve
        self.crashes = crashes
        self._open: dict[threading.Thread, socket.socket] = {}
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        thread = threading.Thread(
            target=self._run, args=(request, client_address), daemon=True
        )
        with self._lock:
            self._open[thread] = request
        thread.start()

    def _run(self, request: socket.socket, client_address: Any) -> None:
        try:
            self.finish_request(request, client_address)
        except OSError:
            pass  # The peer left in the middle of its own request.
        finally:
            with self._lock:
                del self._open[threading.current_thread()]
            request.close()

    def end_connections(self, deadline: float = 5.0) -> None:
        with self._lock:
            threads = dict(self._open)
            for sock in threads.values():
                try:
                    sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue  # Already closed by its handler.
        until = time.monotonic() + deadline
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        alive = sum(thread.is_alive() for thread in threads)
        if alive:
            raise RuntimeError(f"{alive} emulator threads did not end")


class Handler(BaseHTTPRequestHandler):
    """Reads requests and hands them on; one thread per connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def setup(self) -> None:
        super().setup()
        self.link = Connection(self.connection)
        self.answered = False
        self.writer: StreamWriter | None = None

    def parse_request(self) -> bool:
        """Route every method to `_exchange`, whatever its name."""
        if not super().parse_request():
            return False
        setattr(self, f"do_{self.command}", self._exchange)
        return True

    def _exchange(self) -> None:
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            parts.path,
            dict(parse_qsl(parts.query, keep_blank_values=True)),
            Headers(self.headers.items()),
            self._read_body(),
        )
        self.answered, self.writer = False, None
        try:
            self.server.serve(self, request)
        except Exception:
            self.server.crashes.append(traceback.format_exc())
            self.close_connection = True
        self._settle()

    def _settle(self) -> None:
        """End a stream its handler left open; close what cannot be kept alive."""
        if self.writer is not None:
            self.writer.finish()
            self.close_connection |= not self.writer.complete
        if not self.answered or self.link.gone_at is not None:
            self.close_connection = True

    def _read_body(self) -> bytes:
        if "chunked" not in (self.headers.get("Transfer-Encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            continue
        return b"".join(pieces)

    def log_message(self, *_: Any) -> None:
        """Say nothing: the audit log is the record."""
