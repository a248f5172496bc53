"""The request's body: bounded, read whole, parsed as JSON."""

import socket
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import orjson
from flask import Response, after_this_request, current_app, g, request

from kimi_proxy.errors import (
    ClientError,
    ClientGone,
    InvalidRequest,
    PayloadTooLarge,
    RequestTimeout,
    UnsupportedMediaType,
)
from kimi_proxy.routes.context import context, record
from kimi_proxy.routes.disconnect import client_socket

_BLOCK = 1 << 16
_PATIENCE = 60.0  # seconds without a byte of a body, as nginx has it
_DRAIN_PATIENCE = 2.0  # the same where the body is of no use any more
_DRAIN_LIMIT = 1 << 28
_DEEPEST = 100  # orjson reads 1024 levels but writes no more than 254
# Small as they are, a body full of them costs twenty times its size and, checked one
# by one, minutes in which a gevent worker answers nobody. Texts may be full of them.
_MOST_BRACKETS = 1_000_000
_MOST_PIECES = 100_000
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def read_json() -> object:
    """The body as JSON; raises for a wrong type, a wrong size or malformed text."""
    _, value = read_document()
    return value


def read_document(*, may_be_empty: bool = False) -> tuple[bytes, object]:
    """The body and what it says as JSON; an empty one says None, where it may be."""
    _check_kind()
    data = b"".join(_held(pieces(body_limit())))
    record().bytes_in = len(data)
    data = data.removeprefix(_BYTE_ORDER_MARK)
    if not data and may_be_empty:
        return data, None
    if not data:
        raise InvalidRequest("the request body is empty; send a JSON object")
    brackets = data.count(b"[") + data.count(b"{")
    if brackets > _MOST_BRACKETS:
        raise InvalidRequest(
            f"the request body holds more than {_MOST_BRACKETS} opening brackets"
        )
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        raise InvalidRequest(
            f"the request body is not valid JSON: {exc.msg} at line {exc.lineno}, "
            f"column {exc.colno}"
        ) from None
    # Counting costs nothing, walking does: few bodies have so many of them at all.
    if brackets > _DEEPEST or data.count(b":") > _MOST_PIECES:
        _refuse_unwieldy(value)
    return data, value


def body_limit() -> int:
    """The most bytes a body may have: server.max_body."""
    limit: int = current_app.config["MAX_CONTENT_LENGTH"]
    return limit


def _check_kind() -> None:
    kind = request.mimetype
    if kind and kind != "application/json" and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"the body is sent as {kind[:80]}; send it as application/json"
        )
    refuse_compressed()


def refuse_compressed() -> None:
    """Raise `UnsupportedMediaType` for a body in another encoding than its own."""
    if request.content_encoding not in {None, "identity"}:
        raise UnsupportedMediaType("compressed request bodies are not understood")


def pieces(limit: int) -> Generator[bytes]:
    """The body as it comes, in blocks of at most 64 KiB; to be closed.

    Not by werkzeug's streams: of a body without a length they give the first `limit`
    bytes, as if they were all. Raises for a body of more bytes, and for one that is
    broken off or stops coming. What its reader did not want is taken off the
    connection.
    """
    g.body_touched = True
    announced = request.content_length
    if announced is not None and announced > limit:
        _drain(announced)
        raise PayloadTooLarge(
            f"the request body has {announced} bytes, the limit is {limit} "
            "(server.max_body)"
        )
    if announced is None and not _is_chunked():
        return
    came, end = 0, limit + 1 if announced is None else announced
    with _impatient(_PATIENCE):
        while came < end and (block := _read(min(end - came, _BLOCK), came)):
            came += len(block)
            if came > limit:
                break
            try:
                yield block
            except GeneratorExit:
                _drain(_DRAIN_LIMIT if announced is None else announced - came)
                raise
    if came > limit:
        _drain(_DRAIN_LIMIT)
        raise PayloadTooLarge(
            f"the request body has more than the {limit} bytes that are the limit "
            "(server.max_body)"
        )
    if announced is not None and came < announced:
        raise InvalidRequest(
            f"the request body ended after {came} of {announced} bytes"
        )


def _hold(size: int) -> None:
    """Count `size` bytes more for the request at hand until its answer is sent.

    Raises `OutOfMemory`.
    """
    memory = context().memory
    held: list[int] | None = g.get("body_held")
    if held is None:
        held = g.body_held = [0]

        @after_this_request
        def give_back(response: Response) -> Response:
            response.call_on_close(lambda: memory.give(held[0]))
            return response

    memory.take(size, held[0])
    held[0] += size


def _held(blocks: Generator[bytes]) -> Iterator[bytes]:
    """The same blocks, each counted in the memory that all bodies share."""
    with closing(blocks):
        for block in blocks:
            _hold(len(block))
            yield block


def _is_chunked() -> bool:
    return "chunked" in request.headers.get("Transfer-Encoding", "").lower()


def _read(length: int, came: int) -> bytes:
    """At most `length` bytes, none only at the end of the body; `came` are read."""
    try:
        block: bytes = request.environ["wsgi.input"].read(length)
    except TimeoutError:
        _end_reading()
        raise RequestTimeout(
            f"the request body stopped coming after {came} bytes"
        ) from None
    except ConnectionError as exc:
        raise ClientGone("the client left before its request was whole") from exc
    except Exception as exc:  # gunicorn has no class for a broken body but this
        raise InvalidRequest(
            f"the request body could not be read ({type(exc).__name__})"
        ) from None
    return block


def drop() -> None:
    """Take the body of a refused request off the connection, within bounds.

    A client that is still sending when the socket closes sees a reset connection
    instead of the answer that says why: gunicorn's thread workers close it once 64 KiB
    are left.
    """
    if g.get("body_touched") or not (request.content_length or _is_chunked()):
        return
    g.body_touched = True
    _drain(request.content_length or _DRAIN_LIMIT)


def _drain(length: int) -> None:
    left = min(length, _DRAIN_LIMIT)
    # It is refused already, for a better reason than how its body ends.
    with suppress(ClientError), _impatient(_DRAIN_PATIENCE):
        while left > 0:
            dropped = len(_read(min(left, _BLOCK), 0))
            if not dropped:
                return
            left -= dropped


@contextmanager
def _impatient(seconds: float) -> Iterator[None]:
    """Wait no longer than this for each piece that comes from the client.

    A body that was announced and never sent would hold a thread for ever, and the
    refusal of a request would wait for a body that nobody wants.
    """
    sock = client_socket(request.environ)
    if sock is None:
        yield
        return
    before = sock.gettimeout()
    sock.settimeout(seconds)
    try:
        yield
    finally:
        with suppress(OSError):
            sock.settimeout(before)


def _end_reading() -> None:
    """What is left of the body must not be waited for again, nor taken for a request.

    The server sees the end of the connection there, and closes it after the answer.
    """
    sock = client_socket(request.environ)
    if sock is not None:
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RD)


def _refuse_unwieldy(value: object) -> None:
    level, pieces = list(_children([value])), 0
    for _ in range(_DEEPEST):
        pieces += sum(len(v) if isinstance(v, dict) else 1 for v in level)
        if pieces > _MOST_PIECES:
            raise InvalidRequest(
                f"the request body holds more than {_MOST_PIECES} arrays and fields"
            )
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return
    raise InvalidRequest(f"the request body is nested deeper than {_DEEPEST} levels")


def _children(value: Any) -> Iterable[Any]:
    inside = value.values() if isinstance(value, dict) else value
    return (child for child in inside if isinstance(child, dict | list))
