"""urllib3's connections, watched: a cancelled scope reaches the socket in use."""

import fcntl
import socket
import struct
import termios
from contextvars import ContextVar
from typing import Any

from urllib3.exceptions import ConnectTimeoutError

from kimi_proxy.wire import Wire, dial

_ESTABLISHED = 1  # TCP_ESTABLISHED of Linux's tcp_states.h

current: ContextVar[Wire | None] = ContextVar("wire", default=None)


class Watched:
    """Mixed into urllib3's connections: tells the current wire which socket it got."""

    sock: Any

    @property
    def is_connected(self) -> bool:
        """Whether an idle connection may serve again: open, and nothing unread on it.

        urllib3 asks poll(), which gevent emulates with watchers and a switch to its
        hub: 6 % of a whole request. Two system calls say the same.
        """
        if self.sock is None or not hasattr(socket, "TCP_INFO"):
            return bool(super().is_connected)  # type: ignore[misc]  # as below
        return _is_quiet(self.sock)

    def _new_conn(self) -> socket.socket:
        connect = super()._new_conn  # type: ignore[misc]  # the mixed-in class has it
        wire = current.get()
        if wire is None:
            return connect()  # type: ignore[no-any-return]  # as above
        try:
            sock = dial(connect, wire.scope, wire.scope.timeouts.connect)
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, "the connection timed out") from exc
        try:
            wire.attach_raw(sock)  # for the handshakes of TLS and of a proxy
        except BaseException:
            sock.close()
            raise
        return sock

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # as above
        self._report()

    def putrequest(self, *args: Any, **kwargs: Any) -> None:
        if self.sock is not None:
            self._report()
        super().putrequest(*args, **kwargs)  # type: ignore[misc]  # as above

    def _report(self) -> None:
        wire = current.get()
        if wire is not None:
            wire.attach(self.sock)


def _is_quiet(sock: Any) -> bool:
    """Whether the peer keeps the connection open and has said nothing unasked."""
    try:
        state: bytes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
        unread = fcntl.ioctl(sock.fileno(), termios.FIONREAD, bytes(4))
    except (OSError, ValueError):
        return False  # the descriptor is closed already
    return state[0] == _ESTABLISHED and struct.unpack("i", unread) == (0,)
