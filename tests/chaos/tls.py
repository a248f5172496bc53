"""A TLS endpoint in front of an emulator, as a web service has one."""

from __future__ import annotations

import contextlib
import socket
import ssl
import subprocess
import threading
from pathlib import Path
from typing import Self

_COMMAND = (
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
    "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
)


def certificate(directory: Path) -> tuple[Path, Path]:
    """A fresh key and its certificate for `localhost`: no key is in the repository."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    done = subprocess.run(
        [*_COMMAND.split(), "-keyout", str(key), "-out", str(cert)],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return key, cert


class TLSFront:
    """Ends TLS and passes the bytes on to `port`; what one side ends ends for both."""

    def __init__(self, port: int, key: Path, cert: Path) -> None:
        self._behind = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self.mute = False
        self.waiting: list[socket.socket] = []

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for raw in self.waiting:
            raw.close()

    def _accept(self) -> None:
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            if self.mute:
                self.waiting.append(raw)
                continue
            threading.Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw: socket.socket) -> None:
        try:
            outer = self._context.wrap_socket(raw, server_side=True)
        except OSError:
            raw.close()
            return
        inner = socket.create_connection(("127.0.0.1", self._behind))
        back = threading.Thread(target=_pump, args=(inner, outer), daemon=True)
        back.start()
        _pump(outer, inner)
        back.join()
        outer.close()
        inner.close()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(1 << 16):
            sink.sendall(block)
    for each in (source, sink):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
