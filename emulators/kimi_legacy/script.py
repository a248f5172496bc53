"""A turn as a list of steps, and the faults that edit the list (legacy sheet §5, §6).

The list is whole before its first byte is sent, so a fault is an edit of a list.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from emulators.kimi_legacy.chat import Turn, hits
from emulators.kimi_legacy.knob import Knobs
from emulators.kimi_legacy.refusal import GENERATION_FAILED, MESSAGES


@dataclass(frozen=True, slots=True)
class Say:
    """Send one event, `delay` seconds after the step before."""

    event: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    delay: float = 0.0


@dataclass(frozen=True, slots=True)
class Raw:
    """Send bytes that are no proper event."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Stall:
    """Say nothing for so many seconds, except pings every `ping_interval` (0: none)."""

    seconds: float = math.inf
    ping_interval: float = 0.0


@dataclass(frozen=True, slots=True)
class Close:
    """End the connection here: `clean` ends the body properly, else it is cut."""

    clean: bool = False
    rst: bool = False


Step = Say | Raw | Stall | Close
Params = Mapping[str, Any]


def steps_of(turn: Turn, knobs: Knobs, *, first: bool, resumed: bool) -> list[Step]:
    """Return what is sent for a turn, or for the part after its output limit."""
    limit = turn.answer.length_after
    end = len(turn.deltas) if limit is None else turn.position + limit
    portion = turn.deltas[turn.position : end]
    steps: list[Step] = list(_opening(turn, resumed))
    steps += _text(turn, portion, knobs)
    if end < len(turn.deltas):
        steps.append(Say("length"))
    else:
        steps += _closing(turn, first)
    return [*steps, Say("done"), Say("all_done")]


def _opening(turn: Turn, resumed: bool) -> Iterator[Say]:
    yield Say(
        "req",
        {
            "content": turn.prompt,
            "group_id": turn.group_id,
            "id": turn.segment_id,
            "refs": list(turn.refs),
        },
    )
    yield Say("resp", {"group_id": turn.group_id, "id": turn.answer_id})
    found = hits(turn)
    if resumed or not turn.searched:
        return
    debug = {
        "need2search": bool(found),
        "search_target": turn.prompt,
        "search_language": "en",
    }
    yield Say("debug", {"message": debug})
    if found:
        yield Say("search_plus", {"msg": {"type": "start"}})
        yield Say("search_plus", {"msg": {"type": "start_res", "successNum": 0}})
        for msg in found:
            yield Say("search_plus", {"msg": msg})


def _text(turn: Turn, portion: Sequence[str], knobs: Knobs) -> Iterator[Say]:
    delay = turn.answer.first_delay
    extra = {} if knobs.old_cmpl else {"idx_s": 0, "idx_z": 0, "view": "cmpl"}
    for text in portion:
        for name in knobs.unknown_events:
            yield Say(name, {"text": f"made-up {name}", "view": name})
        yield Say("cmpl", {**extra, "text": text}, delay)
        delay = turn.answer.delay


def _closing(turn: Turn, first: bool) -> Iterator[Say]:
    cards = [{"title": msg["title"], "url": msg["url"]} for msg in hits(turn)]
    if cards:
        yield Say("ref_docs", {"ref_cards": cards})
    if first:
        yield Say("rename", {"text": turn.prompt.strip()[:20]})


# Where a fault strikes: `at` counts the deltas sent before it, -1 is before the first
# event. `at` beyond the last delta means after the last.
#   error_event: at=0, error_type, message, detail, then="close"|"all_done", moderated
#   stall:       at=-1, seconds=inf, ping_interval=0
#   garbled:     at=0; a data line that is no JSON, the stream goes on
#   no_all_done: done=True (whether `done` is still sent), clean=False, rst=False
Edit = Callable[[list[Step], Params], list[Step]]


def _index(steps: Sequence[Step], at: int) -> int:
    if at < 0:
        return 0
    places = [n for n, step in enumerate(steps) if _is(step, "cmpl")]
    if at < len(places):
        return places[at]
    return places[-1] + 1 if places else 2


def _is(step: Step, *events: str) -> bool:
    return isinstance(step, Say) and step.event in events


def _error_event(steps: list[Step], params: Params) -> list[Step]:
    error_type = params.get("error_type", GENERATION_FAILED)
    message = params.get("message", MESSAGES.get(error_type, "made-up message"))
    error = {"error_type": error_type, "message": message}
    if "detail" in params:
        error["detail"] = params["detail"]
    head = steps[: _index(steps, params.get("at", 0))]
    end: Step = Close(clean=True)
    if params.get("then", "close") == "all_done":
        end = Say("all_done")
    return [*head, Say("error", {"error": error}), end]


def _stall(steps: list[Step], params: Params) -> list[Step]:
    place = _index(steps, params.get("at", -1))
    stall = Stall(params.get("seconds", math.inf), params.get("ping_interval", 0.0))
    return [*steps[:place], stall, *steps[place:]]


def _garbled(steps: list[Step], params: Params) -> list[Step]:
    place = _index(steps, params.get("at", 0))
    return [*steps[:place], Raw(b'data: {"event":"cmpl","te\n\n'), *steps[place:]]


def _no_all_done(steps: list[Step], params: Params) -> list[Step]:
    unsent = ("all_done",) if params.get("done", True) else ("done", "all_done")
    kept = [step for step in steps if not _is(step, *unsent)]
    return [*kept, Close(params.get("clean", False), params.get("rst", False))]


EDITS: Mapping[str, Edit] = {
    "error_event": _error_event,
    "stall": _stall,
    "garbled": _garbled,
    "no_all_done": _no_all_done,
}


def remaining_time(steps: Sequence[Step]) -> float:
    """Return how many seconds these steps would still take."""
    delays = (
        step.delay if isinstance(step, Say) else step.seconds
        for step in steps
        if isinstance(step, Say | Stall)
    )
    return sum(delays, 0.0)
