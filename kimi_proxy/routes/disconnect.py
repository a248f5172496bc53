"""Notices within a tenth of a second that a client hung up, whatever is going on.

WSGI notices on the next write only, which may be minutes away. gunicorn hands out the
client's socket; asking the kernel for the connection's state costs half a microsecond,
needs no readable event (a pipelined request makes a socket readable, too) and works
the same under gevent and threads.
"""

import _socket
import os
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from kimi_proxy.errors import ClientGone, ShuttingDown
from kimi_proxy.scope import Scope

_INTERVAL = 0.1
_GRACE = 2.0  # seconds after a request's last deadline until its socket is shut
_ESTABLISHED = 1  # TCP_ESTABLISHED of Linux's tcp_states.h; CLOSE_WAIT is a hang-up
_AT_ONCE = struct.pack("ii", 1, 0)  # struct linger: on, no seconds
_SOCKET_KEYS = ("gunicorn.socket", "werkzeug.socket")


class Watcher:
    """Looks at all watched sockets ten times a second; idle when there is none."""

    def __init__(self) -> None:
        self._watched: dict[object, tuple[Any, Scope]] = {}
        self._lock = threading.Lock()
        self._any = threading.Event()
        self._dismissed = False
        self._pid = 0

    def watch(self, environ: dict[str, Any], scope: Scope) -> Callable[[], None]:
        """Cancel `scope` with `ClientGone` when the client leaves.

        A client that is still there when the scope's time is up is left. After
        `dismiss` the scope ends as it begins.

        Returns the way to end the watch; it must end before the response does, since
        the socket may serve another request then.
        """
        sock = client_socket(environ)
        if sock is None:
            return _nothing
        ticket = object()
        with self._lock:
            self._watched[ticket] = (sock, scope)
            self._any.set()
            if self._pid != os.getpid():
                self._pid = os.getpid()
                threading.Thread(target=self._run, name="watch", daemon=True).start()
        if self._dismissed:
            _dismiss(scope)
        return lambda: self._forget(ticket)

    def dismiss(self) -> None:
        """End every watched request now, and every later one: the process ends."""
        self._dismissed = True
        with self._lock:
            scopes = [scope for _, scope in self._watched.values()]
        for scope in scopes:
            _dismiss(scope)

    def _forget(self, ticket: object) -> None:
        with self._lock:
            self._watched.pop(ticket, None)
            if not self._watched:
                self._any.clear()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            self._any.wait()
            pause.wait(_INTERVAL)
            with self._lock:
                watched = list(self._watched.items())
            for ticket, (sock, scope) in watched:
                if is_gone(sock):
                    self._forget(ticket)
                    scope.cancel(ClientGone("the client closed the connection"))
                elif scope.remaining() < -_GRACE:
                    self._forget(ticket)
                    _shut(sock)


def client_socket(environ: dict[str, Any]) -> Any:
    """The client's socket as the server hands it out; None where there is none."""
    return next((environ[k] for k in _SOCKET_KEYS if k in environ), None)


def is_gone(sock: Any) -> bool:
    """Whether the peer of a connected socket has closed its side."""
    try:
        if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
            return _peek_says_gone(sock)
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    except OSError:
        return True  # the descriptor is closed already
    return state[0] != _ESTABLISHED


def _dismiss(scope: Scope) -> None:
    scope.cancel(ShuttingDown("the gateway is being stopped: ask again"))


def _shut(sock: Any) -> None:
    """Free a writer whose client stays, but has stopped reading.

    The request itself is long over; only its last write still waits, for ever.
    """
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def reset(sock: Any) -> None:
    """End a connection so that the client cannot take its end for that of the answer.

    To a client of HTTP/1.0 they are the same. TCP says otherwise by a reset, which goes
    out when the last descriptor closes. The server, which would say an ordinary end
    before that, keeps one that leads nowhere. A Unix socket knows no reset.
    """
    with suppress(OSError), socket.socket() as blank:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        os.dup2(blank.fileno(), sock.fileno(), inheritable=False)


def _peek_says_gone(sock: Any) -> bool:
    # Below gevent's socket on purpose: its recv would wait where this one must not.
    raw = getattr(sock, "_sock", sock)
    try:
        flags = socket.MSG_PEEK | socket.MSG_DONTWAIT
        return _socket.socket.recv(raw, 1, flags) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _nothing() -> None:
    """There is no socket to watch."""
