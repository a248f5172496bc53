"""urllib3's connections, watched: a cancelled scope reaches the socket in use."""

import http.client
import socket
from contextvars import ContextVar
from typing import Any

from urllib3.exceptions import ConnectTimeoutError

from kimi_proxy.wire import Wire, dial

current: ContextVar[Wire | None] = ContextVar("wire", default=None)

_SMALL = 16_384  # bytes: one record of TLS
_MOST_HINTS = 16


class _Final(http.client.HTTPResponse):
    """Passes over what is announced before an answer, such as early hints.

    http.client takes any but 100 for the answer (RFC 9110 §15.2): the answer itself
    would then be that to the next request on the connection.
    """

    def _read_status(self) -> tuple[str, int, str]:
        for _ in range(_MOST_HINTS):
            version, status, reason = super()._read_status()  # type: ignore[misc]  # typeshed leaves it out
            if status >= 200:
                return version, status, reason
            if status == http.HTTPStatus.SWITCHING_PROTOCOLS:
                break  # nobody asked for that
            http.client.parse_headers(self.fp)
        raise http.client.BadStatusLine("no answer but hints of one")


class Watched:
    """Mixed into urllib3's connections: tells the current wire which socket it got.

    A small body leaves together with the head. urllib3 sends them one by one, which
    wakes the upstream to half a request and costs a tenth of sending it.
    """

    response_class: Any = _Final
    sock: Any
    _head: bytes | None = None  # while it waits for the body
    _head_waits = False

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

    def request(
        self, method: str, url: str, body: Any = None, *args: Any, **kwargs: Any
    ) -> None:
        self._head_waits = isinstance(body, bytes) and 0 < len(body) <= _SMALL
        super().request(  # type: ignore[misc]  # as above
            method, url, body, *args, **kwargs
        )

    def send(self, data: Any) -> None:
        if self._head_waits:
            self._head, self._head_waits = data, False
            return
        if self._head is not None:
            data, self._head = self._head + data, None
        super().send(data)  # type: ignore[misc]  # as above

    def _report(self) -> None:
        wire = current.get()
        if wire is not None:
            wire.attach(self.sock)
