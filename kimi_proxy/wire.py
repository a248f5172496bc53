"""The socket under one exchange, from the first look at the host's name on.

A cancelled scope must get through at once wherever a thread blocks: looking up a name,
connecting, shaking hands, writing, reading.
"""

import os
import socket
import threading
from collections.abc import Callable
from contextlib import suppress

from kimi_proxy.scope import Scope


class Wire:
    """Knows the socket in use, so that a cancelled scope can shut it."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self._socket: socket.socket | None = None
        self._twin: socket.socket | None = None
        self._lock = threading.Lock()
        self._forget = scope.on_cancel(self._shut)

    def attach(self, sock: socket.socket) -> None:
        """From here on this is the socket; raises what ended the scope."""
        self._replace(sock, None)
        self._check()

    def attach_raw(self, sock: socket.socket) -> None:
        """The same for a socket that TLS is going to take over, descriptor and all."""
        twin = _twin_of(sock)
        self._replace(twin, twin)
        self._check()

    def _replace(self, sock: socket.socket | None, twin: socket.socket | None) -> None:
        with self._lock:
            old, self._twin, self._socket = self._twin, twin, sock
        if old is not None:
            old.close()

    def _check(self) -> None:
        if self.scope.cancelled:
            self._shut()
        self.scope.check()

    def patience(self, seconds: float) -> None:
        """Let reads and writes block for at most so long."""
        # http.client closes it with the last byte where the server said it would.
        if self._socket is not None and self._socket.fileno() >= 0:
            self._socket.settimeout(seconds)

    def release(self) -> None:
        """From here on the socket belongs to the pool again."""
        self._forget()
        self._replace(None, None)

    def _shut(self) -> None:
        # On a duplicate of the descriptor: shutting the TLS object itself would race
        # with the thread that reads from it. The reader wakes with an end of file.
        with self._lock:
            sock = self._socket
            if sock is None or sock.fileno() < 0:
                return
            try:
                twin = _twin_of(sock)
            except OSError:
                return  # its reader closed it just now, with the last byte
        with suppress(OSError), twin:  # the peer may be faster
            # Closed meanwhile, its number may already be that of another socket.
            if sock.fileno() >= 0:
                twin.shutdown(socket.SHUT_RDWR)


def _twin_of(sock: socket.socket) -> socket.socket:
    return socket.socket(fileno=os.dup(sock.fileno()))


def dial(
    connect: Callable[[], socket.socket], scope: Scope, seconds: float
) -> socket.socket:
    """What `connect` makes, within `seconds` over all addresses of the host.

    Raises what it raises, TimeoutError, or what ended the scope.
    """
    return _Dial(connect).wait(scope, seconds)


class _Dial:
    """Connects in a thread of its own: neither the look-up of a name nor connect()
    can be interrupted, so whoever cannot wait leaves the socket to that thread."""

    def __init__(self, connect: Callable[[], socket.socket]) -> None:
        self._connect = connect
        self._socket: socket.socket | None = None
        self._error: BaseException | None = None
        self._left = False
        self._rung = threading.Event()
        self._lock = threading.Lock()

    def wait(self, scope: Scope, seconds: float) -> socket.socket:
        forget = scope.on_cancel(self._rung.set)
        try:
            threading.Thread(target=self._run, name="dial", daemon=True).start()
            self._rung.wait(scope.limit(seconds))
        finally:
            forget()
            with self._lock:
                self._left = True
        if self._socket is not None:
            return self._socket
        if self._error is not None:
            raise self._error
        scope.check()
        raise TimeoutError(f"no connection within {seconds:g} s")

    def _run(self) -> None:
        try:
            made = self._connect()
        except BaseException as exc:  # handed to whoever waits
            self._error = exc
        else:
            with self._lock:
                if self._left:
                    made.close()
                else:
                    self._socket = made
        self._rung.set()
