"""One completion on the wire: SSE bytes, pings, a client that leaves (sheet §5)."""

import json
import time
from collections.abc import Sequence
from typing import Any

from emulators.kimi_legacy.chat import Turn
from emulators.kimi_legacy.knob import Knobs
from emulators.kimi_legacy.script import Close, Raw, Say, Stall, Step, remaining_time
from emulators.server import StreamWriter

# The longest single wait; a poll cannot take infinity.
_SLICE = 3600.0


def encode(event: str, fields: dict[str, Any], knobs: Knobs) -> bytes:
    """Return one event as the knobs want it written."""
    end = "\r\n" if knobs.crlf else "\n"
    document = {"event": event, **fields}
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    lines = [f": made-up comment{end}"] if knobs.comments else []
    if knobs.event_lines:
        lines.append(f"event: {event}{end}")
    lines.append(f"data:{'' if knobs.tight else ' '}{text}{end}{end}")
    return "".join(lines).encode()


class EventStream:
    """Plays the steps of one turn; `cut_at` is the body byte before which it breaks.

    The turn ends before the last event is sent: a client that has read the end may
    ask again at once.
    """

    def __init__(
        self,
        writer: StreamWriter,
        turn: Turn,
        knobs: Knobs,
        cut_at: int | None = None,
        rst: bool = False,
    ) -> None:
        self._writer = writer
        self._turn = turn
        self._knobs = knobs
        self._cut_at = cut_at
        self._rst = rst

    def play(self, steps: Sequence[Step]) -> None:
        """Send everything, or stop where the client leaves or the turn is cut."""
        link = self._writer.connection
        link.wakeable()
        self._turn.watch(link.wake)
        try:
            for number, step in enumerate(steps):
                if not self._do(step):
                    self._leave(remaining_time(steps[number:]))
                    return
        finally:
            self._turn.watch(None)
            link.release()
        self._turn.end()

    def _do(self, step: Step) -> bool:
        match step:
            case Say():
                return self._wait(step.delay, self._knobs.ping_interval) and self._say(
                    step
                )
            case Raw():
                return self._send(step.data)
            case Stall():
                return self._wait(step.seconds, step.ping_interval)
            case Close():
                self._turn.end()
                if not step.clean:
                    self._writer.cut(step.rst)
                return True

    def _say(self, step: Say) -> bool:
        if step.event in ("all_done", "error"):
            self._turn.end()
        if step.event == "length":
            self._turn.at_limit = True
        if step.event == "cmpl":
            self._turn.position += 1
        return self._send(encode(step.event, dict(step.fields), self._knobs))

    def _send(self, data: bytes) -> bool:
        room = None if self._cut_at is None else self._cut_at - self._writer.sent
        if room is None or room > len(data):
            return self._writer.write(data)
        self._writer.write(data[:room])
        self._turn.end()
        self._writer.cut(self._rst)
        return False

    def _wait(self, seconds: float, ping_interval: float) -> bool:
        """Wait, with pings; False when the client left or the turn was cancelled."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if not self._writer.pause(min(left, ping_interval or left, _SLICE)):
                return False
            if self._turn.cancelled:
                return False
            ping = encode("ping", {}, self._knobs)
            if ping_interval and time.monotonic() < until and not self._send(ping):
                return False
        return not self._turn.cancelled

    def _leave(self, rest: float) -> None:
        if self._turn.cancelled:
            self._writer.cut(rst=False)
        elif self._writer.gone and self._turn.running:
            self._turn.abandon(min(rest, self._knobs.generates_after_disconnect))
