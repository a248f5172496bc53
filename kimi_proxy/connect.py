"""Connect's streaming envelopes: bytes in, frames out, no I/O.

An envelope is one flag byte, four bytes of length (big-endian) and the payload
(connect sheet §4). `FrameDecoder` takes the bytes in whatever pieces they come.
"""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final

from kimi_proxy.errors import UpstreamCut, UpstreamGarbled

_HEADER: Final = struct.Struct(">BI")
_COMPRESSED: Final = 0x01
_END: Final = 0x02
_WEB_TRAILER: Final = 0x80
_KNOWN: Final = _COMPRESSED | _END | _WEB_TRAILER
_GZIP: Final = zlib.MAX_WBITS | 16


@dataclass(frozen=True, slots=True)
class Frame:
    """One envelope, its payload decompressed."""

    flags: int
    payload: bytes = field(repr=False)

    @property
    def end(self) -> bool:
        """Whether this is the end-of-stream trailer."""
        return bool(self.flags & _END)


def encode(payload: bytes) -> bytes:
    """One envelope with flag 00, as a request carries it."""
    return _HEADER.pack(0, len(payload)) + payload


class FrameDecoder:
    """Cuts a byte stream into frames; `limit` bounds a payload, in bytes."""

    def __init__(self, limit: int = 16 * 1024 * 1024) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._broken: UpstreamGarbled | None = None

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes.

        Raises `UpstreamGarbled` for a frame over the limit, unknown flags or a bad
        gzip payload; the frames before it come first, the error with the next call.
        """
        if self._broken is not None:
            raise self._broken
        self._buffer += data
        frames: list[Frame] = []
        try:
            self._cut(frames)
        except UpstreamGarbled as exc:
            self._broken = exc
            if not frames:
                raise
        return frames

    def finish(self) -> None:
        """The stream has ended; raises `UpstreamCut` if it did so inside a frame."""
        if self._broken is not None:
            raise self._broken
        if self._buffer:
            raise UpstreamCut("the upstream's answer ended inside a frame")

    def _cut(self, frames: list[Frame]) -> None:
        buffer, start = self._buffer, 0
        try:
            while len(buffer) - start >= _HEADER.size:
                flags, length = _HEADER.unpack_from(buffer, start)
                self._check(flags, length)
                begin = start + _HEADER.size
                if len(buffer) < begin + length:
                    break
                start = begin + length
                if not flags & _WEB_TRAILER:  # a gRPC-Web habit, says nothing here
                    payload = bytes(memoryview(buffer)[begin:start])
                    frames.append(Frame(flags, self._plain(flags, payload)))
        finally:
            # Once per call: many frames in one piece are cut out in linear time.
            del buffer[:start]

    def _check(self, flags: int, length: int) -> None:
        # Bits that the protocol reserves show that this is no frame at all, a bare
        # JSON answer for instance, whose first byte is 7B.
        if flags & ~_KNOWN:
            raise UpstreamGarbled(f"unknown frame flags {flags:#04x}")
        if length > self._limit:
            raise UpstreamGarbled(f"a frame of {length} bytes exceeds {self._limit}")

    def _plain(self, flags: int, payload: bytes) -> bytes:
        if not flags & _COMPRESSED or not payload:
            return payload
        inflater = zlib.decompressobj(_GZIP)
        try:
            plain = inflater.decompress(payload, self._limit + 1)
        except zlib.error as exc:
            raise UpstreamGarbled("a compressed frame is not gzip") from exc
        if len(plain) > self._limit:
            raise UpstreamGarbled(f"a frame inflates to more than {self._limit} bytes")
        if not inflater.eof or inflater.unused_data:
            raise UpstreamGarbled("a compressed frame is cut or has a tail")
        return plain
