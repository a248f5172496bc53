"""A streamed answer as steps, the faults that edit them, and how they are sent.

The list is whole before its first byte is sent, so a fault is an edit of a list.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulators.openai.knob import Spelling
from emulators.server import StreamWriter

# The longest single wait; a poll cannot take infinity.
_SLICE = 3600.0


@dataclass(frozen=True, slots=True)
class Say:
    """Send a document, `delay` seconds after the step before; `content`: no mere role.

    `event` overrides the spelling's event name.
    """

    document: Any
    delay: float = 0.0
    content: bool = False
    event: str = ""


@dataclass(frozen=True, slots=True)
class Raw:
    """Send bytes as they are."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing for so many seconds, except comments every `comments` (0: none)."""

    seconds: float = math.inf
    comments: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection here: `clean` ends the body properly, else it is cut."""

    clean: bool = False
    rst: bool = False


class Done:
    """Send `[DONE]`."""


Step = Say | Raw | Stall | Close | Done
Params = Mapping[str, Any]


# Where a fault strikes: `at` counts the chunks with content sent before it, -1 is
# before the first chunk. `at` beyond the last means after it.
#   error_chunk: at=0, body={"error": …}, event="", then="close"|"done"|"cut"
#   stall:       at=-1, seconds=inf, comments=0
#   garbled:     at=0; a data line that is no JSON, the stream goes on
#   no_done:     finish=True (whether the finish chunk is sent), clean=False, rst=False
Edit = Callable[[list[Step], Params], list[Step]]
STREAM_ERROR = {
    "error": {
        "message": "The server had an error while processing your request. Sorry!",
        "type": "server_error",
        "param": None,
        "code": None,
    }
}


def _index(steps: Sequence[Step], at: int) -> int:
    if at < 0:
        return 0
    places = [n for n, s in enumerate(steps) if isinstance(s, Say) and s.content]
    if at < len(places):
        return places[at]
    return places[-1] + 1 if places else len(steps)


def _error_chunk(steps: list[Step], params: Params) -> list[Step]:
    head = steps[: _index(steps, params.get("at", 0))]
    error = Say(params.get("body", STREAM_ERROR), event=params.get("event", ""))
    ends: Mapping[str, Step] = {
        "close": Close(clean=True),
        "done": Done(),
        "cut": Close(),
    }
    return [*head, error, ends[params.get("then", "close")]]


def _stall(steps: list[Step], params: Params) -> list[Step]:
    place = _index(steps, params.get("at", -1))
    stall = Stall(params.get("seconds", math.inf), params.get("comments", 0.0))
    return [*steps[:place], stall, *steps[place:]]


def _garbled(steps: list[Step], params: Params) -> list[Step]:
    place = _index(steps, params.get("at", 0))
    return [*steps[:place], Raw(b'data: {"id":"chatcmpl-\n\n'), *steps[place:]]


def _no_done(steps: list[Step], params: Params) -> list[Step]:
    kept = [step for step in steps if not isinstance(step, Done)]
    if not params.get("finish", True):
        kept = [step for step in kept if not _finishes(step)]
    return [*kept, Close(params.get("clean", False), params.get("rst", False))]


def _finishes(step: Step) -> bool:
    if not isinstance(step, Say):
        return False
    choices = step.document["choices"]
    return not choices or choices[0]["finish_reason"] is not None


EDITS: Mapping[str, Edit] = {
    "error_chunk": _error_chunk,
    "stall": _stall,
    "garbled": _garbled,
    "no_done": _no_done,
}


def encode(step: Say, spelling: Spelling, number: int) -> bytes:
    """Return one event as it is to be spelled; `number` is for its id."""
    indent = 1 if spelling.multi_line else None
    text = json.dumps(
        step.document,
        ensure_ascii=spelling.ascii,
        indent=indent,
        separators=(",", ":") if indent is None else None,
    )
    return "".join(
        _lines(text, step.event or spelling.event, spelling, number)
    ).encode()


def _lines(text: str, event: str, spelling: Spelling, number: int) -> Iterator[str]:
    end, space = spelling.end, "" if spelling.tight else " "
    if spelling.comments:
        yield f": made-up comment{end}"
    if spelling.retry is not None and number == 0:
        yield f"retry:{space}{spelling.retry}{end}"
    if spelling.ids:
        yield f"id:{space}{number}{end}"
    if event:
        yield f"event:{space}{event}{end}"
    for line in text.split("\n"):
        yield f"data:{space}{line}{end}"
    yield end


def respell(documents: Sequence[Any], spelling: Spelling) -> bytes:
    """Return a whole stream of these documents, for a recording."""
    steps = [encode(Say(d), spelling, n) for n, d in enumerate(documents)]
    return opening(spelling) + b"".join(steps) + ending(spelling)


def opening(spelling: Spelling) -> bytes:
    """Return what comes before the first event."""
    return b"\xef\xbb\xbf" if spelling.bom else b""


def ending(spelling: Spelling) -> bytes:
    """Return what comes after the last event."""
    if not spelling.done:
        return b""
    space = "" if spelling.tight else " "
    return f"data:{space}[DONE]{spelling.end}{spelling.end}".encode()


def play(writer: StreamWriter, steps: Sequence[Step], spelling: Spelling) -> None:
    """Send everything, or stop where the client leaves or the stream is cut."""
    start, number = opening(spelling), 0
    for step in steps:
        match step:
            case Say():
                going = _wait(writer, step.delay, 0.0, spelling)
                going = going and writer.write(start + encode(step, spelling, number))
                start, number = b"", number + 1
            case Raw():
                going = writer.write(step.data)
            case Stall():
                going = _wait(writer, step.seconds, step.comments, spelling)
            case Close():
                if not step.clean:
                    writer.cut(step.rst)
                going = False
            case Done():
                end = ending(spelling)
                going = writer.write(end) if end else True
        if not going:
            return


def _wait(
    writer: StreamWriter, seconds: float, comments: float, spelling: Spelling
) -> bool:
    """Wait, with comments; False when the client left."""
    until = time.monotonic() + seconds
    comment = f": keep-alive{spelling.end}{spelling.end}".encode()
    while (left := until - time.monotonic()) > 0:
        if not writer.pause(min(left, comments or left, _SLICE)):
            return False
        if comments and time.monotonic() < until and not writer.write(comment):
            return False
    return True
