"""Answers of an OpenAI-compatible upstream, as events and in its own words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from kimi_proxy import sse
from kimi_proxy.errors import GatewayError, UpstreamCut, UpstreamGarbled
from kimi_proxy.events import Event, Meaning, Relayed, Usage
from kimi_proxy.providers import openai_refusal
from kimi_proxy.providers.openai_chunk import NO_NAMES, Said
from kimi_proxy.providers.openai_error import error_of

_DONE = "[DONE]"
_EMPTY: tuple[object, ...] = (None, "", [])
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
# An escape within JSON: a whole surrogate pair, half of one, or any other.
_ESCAPE = re.compile(
    r"\\(?:ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}|(?P<half>ud[89a-f][0-9a-f]{2})|.)",
    re.IGNORECASE | re.DOTALL,
)


def streamed(
    blocks: Iterator[bytes],
    *,
    relays: bool = False,
    tells_usage: bool = False,
    reasons: bool = True,
    names: Mapping[str, str] = NO_NAMES,
) -> Iterator[Event]:
    """Events of a chunk stream; without finish reason or end it was cut.

    Where the upstream gives no `reasons`, its end mark is the end. Tools that have
    other `names` there get their own back.

    With `relays` the chunks themselves come, as `Relayed`: at first those that say
    nothing yet (a role) are held back, so that an error after them can still be
    mended; one with nothing but token counts is left out unless `tells_usage`.
    """
    answer, held = Said(names=names), _Held()
    reader = sse.events(blocks)
    for event in reader:
        if event.data.strip() == _DONE:
            if not reasons:
                answer.assume_stop()
            break
        if not event.data or event.data.isspace():
            continue  # some keep the line alive by it
        document = _said_in(event.data)
        meant = tuple(answer.add(document))
        if not relays:
            yield from (m for m in meant if not isinstance(m, Usage))
        elif tells_usage or not _only_counts(document):
            yield from held.release(_chunk(event.data, document, meant, answer))
    if reader.unfinished or not answer.is_whole:
        raise _cut(reader.unfinished)
    yield from answer.end(relayed=relays)


def whole(
    body: bytes,
    *,
    relays: bool = False,
    reasons: bool = True,
    names: Mapping[str, str] = NO_NAMES,
) -> Iterator[Event]:
    """Events of an answer that came as one object; the rest is as in `streamed`."""
    answer, document = Said(names=names), _said_in(body)
    meant = tuple(answer.add(document, "message"))
    if not reasons:
        answer.assume_stop()
    if not answer.is_whole:
        raise UpstreamGarbled("the upstream's answer has no finish reason")
    if relays:
        as_it_came = not answer.mended and not _has_halves(body)
        yield Relayed(body if as_it_came else orjson.dumps(document), meant)
    else:
        yield from (m for m in meant if not isinstance(m, Usage))
    yield from answer.end(relayed=relays)


class _Held:
    """The chunks before the first that says something."""

    def __init__(self) -> None:
        self._chunks: list[Relayed] | None = []

    def release(self, chunk: Relayed) -> Sequence[Relayed]:
        if self._chunks is None:
            return (chunk,)
        self._chunks.append(chunk)
        if not chunk.events and _is_preamble(chunk.data):
            return ()
        released, self._chunks = self._chunks, None
        return released


def _chunk(
    data: str, document: dict[str, Any], meant: tuple[Meaning, ...], answer: Said
) -> Relayed:
    # Line ends within the JSON would end the line that we write it on.
    as_it_came = not answer.mended and "\n" not in data
    answer.mended = False
    return Relayed(data.encode() if as_it_came else orjson.dumps(document), meant)


def _said_in(data: bytes | str) -> dict[str, Any]:
    """A chunk or an answer; raises for an error too, in whatever place it is."""
    try:
        return object_of(data)
    except UpstreamGarbled:
        refusal = _misplaced(data)
        if refusal is None:
            raise
        raise refusal from None


def _cut(rest: bytes) -> GatewayError:
    """Why a stream ended early: some say it in an object that is no event."""
    cut = UpstreamCut("the upstream's stream ended without a finish reason")
    return _misplaced(rest) or cut


def _misplaced(data: bytes | str) -> GatewayError | None:
    """The error that data tells by itself; Google's are objects in a list."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, dict) and openai_refusal.is_refusal(document):
        return error_of(200, document, None)
    return None


def _only_counts(document: dict[str, Any]) -> bool:
    return not document.get("choices") and isinstance(document.get("usage"), dict)


def _is_preamble(data: bytes) -> bool:
    choices = object_of(data).get("choices") or ()
    return not any(
        choice.get("finish_reason")
        or any(
            value not in _EMPTY
            for name, value in (choice.get("delta") or {}).items()
            if name != "role"
        )
        for choice in choices
    )


def object_of(data: bytes | str) -> dict[str, Any]:
    """A JSON object; raises `UpstreamGarbled` for anything else."""
    try:
        document = orjson.loads(data)
    except orjson.JSONDecodeError as exc:
        document = _with_whole_letters(data)
        if document is None:
            raise UpstreamGarbled("the upstream's answer is not JSON") from exc
    if not isinstance(document, dict):
        raise UpstreamGarbled("the upstream's answer is not a JSON object")
    return document


def _has_halves(body: bytes) -> bool:
    """Whether a parser may stumble over it, though it is JSON."""
    if _SURROGATE.search(body) is None:
        return False
    return any(one["half"] for one in _ESCAPE.finditer(body.decode()))


def _with_whole_letters(data: bytes | str) -> Any:
    """The JSON with U+FFFD for halves of surrogate pairs, which it may hold and UTF-8
    may not: servers that cut a text by UTF-16 make them. None: it is no JSON either."""
    try:
        text = data if isinstance(data, str) else data.decode()
        return orjson.loads(
            _ESCAPE.sub(lambda one: r"\ufffd" if one["half"] else one[0], text)
        )
    except ValueError:
        return None
