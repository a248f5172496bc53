"""A request's body, of which nothing but the model's name is ever changed."""

import mmap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from tempfile import TemporaryFile
from typing import IO

from kimi_proxy.errors import StateUnavailable

_BLOCK = 1 << 16
_IN_MEMORY = 1 << 20

Content = bytes | mmap.mmap


@dataclass(frozen=True, slots=True)
class ModelField:
    """Where a body names its model: the bytes from `start` to `end` say `model`.

    `encode` writes another name in their place.
    """

    model: str
    start: int
    end: int
    encode: Callable[[str], bytes]


@dataclass(frozen=True, slots=True)
class RelayBody:
    """The bytes as they came; see `providers.base.Body`."""

    content: Content = field(repr=False)
    field: ModelField | None = None
    _written: bytes | None = None

    @property
    def size(self) -> int:
        if self.field is None or self._written is None:
            return len(self.content)
        replaced = self.field.end - self.field.start
        return len(self.content) - replaced + len(self._written)

    def naming(self, model: str) -> "RelayBody":
        """The same with another model; as it is where it names none, or this one."""
        if self.field is None or model == self.field.model:
            return self
        return replace(self, _written=self.field.encode(model))

    def blocks(self) -> Iterator[bytes]:
        """All of it, from its beginning each time."""
        if self.field is None or self._written is None:
            yield from self._slices(0, len(self.content))
            return
        yield from self._slices(0, self.field.start)
        yield self._written
        yield from self._slices(self.field.end, len(self.content))

    def _slices(self, start: int, end: int) -> Iterator[bytes]:
        for at in range(start, end, _BLOCK):
            yield self.content[at : min(at + _BLOCK, end)]


class BodySpool:
    """A body on its way in: a small one in memory, any other in a file without a name.

    Who opens it closes it, once nobody reads the content any more. Raises
    `StateUnavailable` when there is no room.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._held = 0
        self._file: IO[bytes] | None = None
        self._resources = ExitStack()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        self._pieces.append(data)
        self._held += len(data)
        if self._held > _IN_MEMORY:
            self._put_aside()

    def content(self) -> Content:
        """All that was written."""
        if self._file is None:
            return b"".join(self._pieces)
        self._put_aside()
        with _as_unavailable():
            whole = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._resources.enter_context(whole)

    def _put_aside(self) -> None:
        with _as_unavailable():
            if self._file is None:
                self._file = self._resources.enter_context(TemporaryFile(buffering=0))
            left = memoryview(b"".join(self._pieces))
            while left:
                left = left[self._file.write(left) :]
        self._pieces.clear()
        self._held = 0

    def close(self) -> None:
        self._resources.close()


@contextmanager
def _as_unavailable() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        fault = exc.strerror or type(exc).__name__
        raise StateUnavailable(f"a large body cannot be put aside: {fault}") from exc
