"""A multipart body (RFC 7578): its fields, and its files on their way to the disk."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from io import RawIOBase
from typing import IO, cast

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from kimi_proxy.errors import InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from kimi_proxy.file_store import Upload
from kimi_proxy.routes.body import body_limit, pieces, refuse_compressed
from kimi_proxy.routes.context import record

_KIND = "multipart/form-data"
_MOST_PARTS = 50
# Also what the parser holds at most, so it has to be more than a piece of the body.
_LONGEST_FIELD = 256 * 1024


@dataclass(frozen=True, slots=True)
class FilePart:
    """A file as it was sent; nothing the client says of it is checked."""

    name: str
    media_type: str
    upload: Upload


@dataclass(frozen=True, slots=True)
class Form:
    """The parts by name; of several with one name the first."""

    fields: Mapping[str, str]
    files: Mapping[str, FilePart]


@contextmanager
def read_form(begin: Callable[[], Upload]) -> Iterator[Form]:
    """The body as a form, whose files are closed afterwards; `begin` is asked for each.

    Raises for a wrong type, a wrong size or a malformed form, and what `Upload` raises.
    """
    if request.mimetype != _KIND:
        raise UnsupportedMediaType(f"send the file as {_KIND}")
    if not request.mimetype_params.get("boundary"):
        raise InvalidRequest(f"the Content-Type {_KIND} has no boundary")
    refuse_compressed()
    with ExitStack() as uploads, closing(pieces(body_limit())) as body:

        def sink(*_: object, **__: object) -> IO[bytes]:
            upload = uploads.enter_context(closing(begin()))
            # The parser only ever writes to it and seeks to its beginning.
            return cast(IO[bytes], _Sink(upload))

        yield _parse(_Source(body), sink)


def _parse(source: "_Source", sink: Callable[..., IO[bytes]]) -> Form:
    parser = FormDataParser(
        stream_factory=sink,
        max_form_memory_size=_LONGEST_FIELD,
        max_form_parts=_MOST_PARTS,
        silent=False,
    )
    try:
        _, fields, files = parser.parse(
            cast(IO[bytes], source),  # of which only `read` is called
            _KIND,
            request.content_length,
            request.mimetype_params,
        )
    except RequestEntityTooLarge:
        raise PayloadTooLarge(
            f"the form has more than {_MOST_PARTS} parts, or one besides its file has "
            f"more than {_LONGEST_FIELD} bytes"
        ) from None
    except ValueError:  # its words may quote what was sent
        raise InvalidRequest(f"the request body is not whole {_KIND}") from None
    found = {}
    for name, part in files.items():
        sunk = cast(_Sink, part.stream)
        found[name] = FilePart(part.filename or "", part.mimetype, sunk.upload)
    return Form(fields.to_dict(), found)


class _Source:
    """The body with the one method that the parser asks for."""

    def __init__(self, body: Iterator[bytes]) -> None:
        self._body = body

    def read(self, _size: int) -> bytes:
        """The next piece, which has at most the 64 KiB that the parser wants."""
        piece = next(self._body, b"")
        record().bytes_in += len(piece)
        return piece


class _Sink(RawIOBase):
    """An upload as the parser writes to it."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload

    def write(self, data: bytes) -> int:  # type: ignore[override]  # never a buffer
        self.upload.write(data)
        return len(data)

    def seek(self, offset: int, whence: int = 0) -> int:
        return offset  # nobody reads it from here
