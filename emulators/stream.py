"""A streamed HTTP answer written piece by piece, able to be cut and to notice a cut."""

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

# POLLRDHUP says at once that the peer closed; systems without it report POLLHUP.
_GONE = getattr(select, "POLLRDHUP", 0) | select.POLLHUP | select.POLLERR


@dataclass(frozen=True, slots=True)
class Shape:
    """How the bytes of a streamed answer travel.

    `pieces` are the sizes to split the body into, the last one repeating; `gap` is
    the pause in seconds between pieces. The connection is cut before body byte
    `cut_at` or frame number `cut_after` (counted from 0) would be sent, with a TCP
    reset when `rst`. `chunked` False gives a body delimited by the close.
    """

    chunked: bool = True
    pieces: tuple[int, ...] = ()
    gap: float = 0.0
    cut_at: int | None = None
    cut_after: int | None = None
    rst: bool = False


class Connection:
    """The server's side of one accepted socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._poll = select.poll()
        self._poll.register(sock, getattr(select, "POLLRDHUP", 0))
        self._wake_read, self._wake_write = -1, -1
        self._lock = threading.Lock()
        self.gone_at: float | None = None

    @property
    def gone(self) -> bool:
        """Whether the peer has left (checks the socket now)."""
        return not self.pause(0)

    def pause(self, seconds: float) -> bool:
        """Wait; return False at once when the peer has left, early after `wake`."""
        if self.gone_at is not None:
            return False
        for fd, event in self._poll.poll(max(0.0, seconds) * 1000):
            if fd == self._wake_read:
                os.read(fd, 4096)
            elif event & (_GONE | select.POLLNVAL):
                self.lost()
                return False
        return True

    def wakeable(self) -> None:
        """Allow `wake` to end pauses early; `release` gives the pipe back."""
        with self._lock:
            self._wake_read, self._wake_write = os.pipe()
            self._poll.register(self._wake_read, select.POLLIN)

    def wake(self) -> None:
        """End the running pause (or the next one) of another thread."""
        with self._lock:
            if self._wake_write >= 0:
                os.write(self._wake_write, b"w")

    def release(self) -> None:
        """Free what `wakeable` took."""
        with self._lock:
            if self._wake_read >= 0:
                self._poll.unregister(self._wake_read)
                os.close(self._wake_read)
                os.close(self._wake_write)
                self._wake_read, self._wake_write = -1, -1

    def send(self, data: bytes) -> bool:
        """Send all bytes; return False when the peer has left."""
        if not self.pause(0):
            return False
        try:
            self._sock.sendall(data)
        except OSError:
            self.lost()
            return False
        return True

    def lost(self) -> None:
        """Note that the peer has left, once."""
        if self.gone_at is None:
            self.gone_at = time.monotonic()

    def cut(self, rst: bool) -> None:
        """Close abruptly: with a TCP reset, or with a plain FIN."""
        try:
            if not rst:
                self._sock.shutdown(socket.SHUT_RDWR)
                return
            # Lingering for zero seconds makes a close send RST. The handler's files
            # hold the socket, so its descriptor is closed under them, at once.
            linger = struct.pack("ii", 1, 0)
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._poll.unregister(self._sock)
            os.close(self._sock.detach())
        except OSError:
            pass  # The peer was faster.
        self.lost()


class StreamWriter:
    """The body of one streamed answer.

    Writing after the peer left or after a cut does nothing and returns False.
    """

    def __init__(
        self, connection: Connection, shape: Shape, note: Callable[..., Any]
    ) -> None:
        self.connection = connection
        self.frames = 0
        self.sent = 0
        self.ended = False
        self.complete = False
        self._shape = shape
        self._note = note
        self._sizes = _sizes(shape.pieces)

    @property
    def gone(self) -> bool:
        """Whether the peer has left; the audit entry learns it the moment it shows."""
        if self.connection.gone and not self.ended:
            self._end("aborted", aborted_at=self.connection.gone_at)
        return self.connection.gone_at is not None

    def pause(self, seconds: float) -> bool:
        """Wait; False when the peer has left (at once) or the stream has ended."""
        self.connection.pause(seconds)
        return not self.gone and not self.ended

    def write(self, frame: bytes) -> bool:
        """Send one frame, in the pieces and up to the cut that the shape asks for."""
        if self.ended or self.gone:
            return False
        if self.frames == self._shape.cut_after:
            self.cut()
            return False
        self.frames += 1
        while frame:
            size = next(self._sizes, len(frame))
            piece, frame = frame[:size], frame[size:]
            if not self._send(piece):
                return False
        return True

    def _send(self, piece: bytes) -> bool:
        limit = self._shape.cut_at
        stop = limit is not None and self.sent + len(piece) >= limit
        if stop and limit is not None:
            piece = piece[: limit - self.sent]
        if piece and not self.connection.send(self._framed(piece)):
            return not self.gone
        self.sent += len(piece)
        if stop:
            self.cut()
            return False
        return not self._shape.gap or self.pause(self._shape.gap)

    def _framed(self, piece: bytes) -> bytes:
        if not self._shape.chunked:
            return piece
        return b"%x\r\n%b\r\n" % (len(piece), piece)

    def cut(self, rst: bool | None = None) -> None:
        """Close the connection in the middle of the answer."""
        if not self.ended:
            self._end("cut")
            self.connection.cut(self._shape.rst if rst is None else rst)

    def finish(self) -> None:
        """End the answer properly; does nothing after a cut or when the peer left."""
        if self.ended or self.gone:
            return
        # Logged first: a client that has read the end finds it in the log.
        self._end("complete")
        if self._shape.chunked and not self.connection.send(b"0\r\n\r\n"):
            self._end("aborted", aborted_at=self.connection.gone_at)
            return
        # A body that the close delimits is complete, yet its connection is spent.
        self.complete = self._shape.chunked

    def _end(self, outcome: str, **facts: Any) -> None:
        self.ended = True
        self._note(
            outcome=outcome,
            frames=self.frames,
            sent=self.sent,
            closed_at=time.monotonic(),
            **facts,
        )


def _sizes(pieces: tuple[int, ...]) -> Iterator[int]:
    yield from pieces
    while pieces:
        yield pieces[-1]
