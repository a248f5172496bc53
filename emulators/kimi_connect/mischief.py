"""Faults of the Chat stream: each one rewrites the steps of a good answer (§8, §15)."""

import gzip
import json
import math
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from emulators.kimi_connect.error import planned
from emulators.kimi_connect.frame import COMPRESSED, TRAILER, data_frame, envelope
from emulators.kimi_connect.script import CLEAN_TRAILER, DONE, Send, Step, Wait
from emulators.stream import Shape

_Steps = Iterable[Step]
_Params = Mapping[str, Any]
_GARBAGE = {
    "text": b"<html>no json here</html>",
    "utf8": b'{"op":"set","mask":"block.text","x":"\xff\xfe"}',
    "cut_json": b'{"op":"append","mask":"block.te',
    "list": b"[1,2,3]",
}


def apply(steps: _Steps, name: str, params: _Params) -> Iterator[Step]:
    """Return the steps with one fault of `SCRIPT_FAULTS` in them."""
    return SCRIPT_FAULTS[name](steps, params)


def shape(name: str, params: _Params, before: Shape) -> Shape:
    """Return the shape with one fault of `SHAPE_FAULTS` in it."""
    fields = {**{key: getattr(before, key) for key in Shape.__slots__}}
    if name == "cut":
        fields |= {
            "cut_after": params.get("after_frames"),
            "cut_at": params.get("at_byte"),
            "rst": params.get("rst", False),
        }
    elif name == "split":
        fields |= {"pieces": tuple(params["pieces"]), "gap": params.get("gap", 0.0)}
    else:
        fields["chunked"] = False
    return Shape(**fields)


def _inject(
    steps: _Steps, params: _Params, extra: _Steps, *, stop: bool
) -> Iterator[Step]:
    """Put `extra` after so many content frames; `stop` drops what would follow.

    `after_content=0` means before the first one; `before_chat=True` before anything.
    A stream too short for it gets it before its end.
    """
    left = -1 if params.get("before_chat") else params.get("after_content", 0)
    placed = False
    for step in steps:
        ripe = left < 0 or (left == 0 and not _is(step, "head"))
        ripe = ripe or _is(step, "status", "done", "trailer")
        if ripe and not placed:
            placed = True
            yield from extra
            if stop:
                return
        yield step
        left -= isinstance(step, Send) and step.content and left > 0


def _is(step: Step, *kinds: str) -> bool:
    return isinstance(step, Send) and step.kind in kinds


def _error(steps: _Steps, params: _Params) -> Iterator[Step]:
    error = {"error": planned(params).body(params.get("locale", "en-US"))}
    trailer = Send(data_frame(error, TRAILER), "trailer")
    if params.get("after_done"):
        for step in steps:
            if _is(step, "trailer"):
                yield trailer
                return
            yield step
        return
    inline = params.get("where", "trailer") == "frame"
    frame = Send(data_frame(error), "error")
    ending = [frame, CLEAN_TRAILER] if inline else [trailer]
    yield from _inject(steps, params, ending, stop=True)


def _exception(steps: _Steps, params: _Params) -> Iterator[Step]:
    error: dict[str, Any] = {
        "reason": params.get("reason", "REASON_COMPLETION_OVERLOADED"),
        "localizedMessage": {
            "locale": "en-US",
            "message": params.get("text", "Kimi cannot go on."),
        },
    }
    if params.get("severity"):
        error["severity"] = params["severity"]
    event = {
        "op": "set",
        "mask": "block.exception",
        "block": {"id": "99", "exception": {"error": error}},
    }
    extra = [Send(data_frame(event), "error"), DONE, CLEAN_TRAILER]
    yield from _inject(steps, params, extra, stop=True)


def _silence(steps: _Steps, params: _Params) -> Iterator[Step]:
    wait = Wait(params.get("seconds", math.inf), params.get("heartbeats", True))
    yield from _inject(steps, params, [wait], stop=False)


def _without(*kinds: str) -> Callable[[_Steps, _Params], Iterator[Step]]:
    def drop(steps: _Steps, _: _Params) -> Iterator[Step]:
        for step in steps:
            if not _is(step, *kinds):
                yield step

    return drop


def _big_frame(steps: _Steps, params: _Params) -> Iterator[Step]:
    padding = "{" * params.get("size", 70_000)
    big = Send(data_frame({"heartbeat": {}, "padding": padding}))
    yield from _inject(steps, params, [big], stop=False)


def _garbage(steps: _Steps, params: _Params) -> Iterator[Step]:
    bad = Send(envelope(_GARBAGE[params.get("kind", "text")]))
    yield from _inject(steps, params, [bad], stop=False)


def _oversize(steps: _Steps, params: _Params) -> Iterator[Step]:
    head = struct.pack(">BI", 0, params.get("length", 0xFFFF_FFF0))
    lie = Send(head + b'{"op":"append"')
    yield from _inject(steps, params, [lie], stop=params.get("stop", True))


def _compressed(steps: _Steps, params: _Params) -> Iterator[Step]:
    """Send content frame number `frame` (from 0) gzipped, flag 01."""
    number = params.get("frame", 0)
    for step in steps:
        if isinstance(step, Send) and step.content:
            if number == 0:
                packed = envelope(gzip.compress(step.data[5:]), COMPRESSED)
                yield Send(packed, step.kind, step.content, step.text)
                number -= 1
                continue
            number -= 1
        yield step


def _ended_as(steps: _Steps, params: _Params) -> Iterator[Step]:
    """Let the answer's message end in another status; `done` follows all the same."""
    for step in steps:
        if isinstance(step, Send) and step.kind == "status":
            event = json.loads(step.data[5:])
            event["message"]["status"] = params["status"]
            yield Send(data_frame(event), step.kind)
        else:
            yield step


def _offsets_gone(steps: _Steps, _: _Params) -> Iterator[Step]:
    """Drop `eventOffset`, which no client needs."""
    for step in steps:
        if isinstance(step, Send) and step.data[:1] == b"\0":
            event = json.loads(step.data[5:])
            event.pop("eventOffset", None)
            yield Send(data_frame(event), step.kind, step.content, step.text)
        else:
            yield step


# name -> rewriting; parameters in brackets:
#   error: error, where=trailer|frame, after_content, before_chat, after_done, code,
#          message, reason, localized, empty_message, retry_after, where=http
#   exception: reason, severity, text, after_content
#   silence: seconds, heartbeats, after_content, before_chat
#   big_frame: size; garbage: kind=text|utf8|cut_json|list; oversize: length, stop;
#          each also after_content, before_chat
#   compressed: frame; ended_as: status
SCRIPT_FAULTS: Mapping[str, Callable[[_Steps, _Params], Iterator[Step]]] = {
    "silence": _silence,
    "big_frame": _big_frame,
    "compressed": _compressed,
    "garbage": _garbage,
    "oversize": _oversize,
    "no_offsets": _offsets_gone,
    "ended_as": _ended_as,
    "no_done": _without("done"),
    "no_trailer": _without("trailer"),
    "no_end": _without("trailer", "done", "status"),
    "exception": _exception,
    "error": _error,
}
# cut: after_frames or at_byte (of the body), rst; split: pieces, gap; close_delimited
SHAPE_FAULTS = frozenset({"cut", "split", "close_delimited"})
