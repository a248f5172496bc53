"""One thing after the other, for dialects whose tool calls cannot be mixed."""

import json
from collections.abc import Iterator

from kimi_proxy.events import Finished, Meaning, ToolCallDelta, Usage


class _Call:
    """The call that has its turn; whole when its arguments are JSON."""

    def __init__(self, index: int) -> None:
        self.index = index
        self._arguments: list[str] = []

    def add(self, piece: str) -> None:
        self._arguments.append(piece)

    @property
    def is_whole(self) -> bool:
        try:
            json.loads("".join(self._arguments))
        except (ValueError, RecursionError):
            return False
        return True


class InTurn:
    """Events in, the same events out, the pieces of each tool call together.

    What comes while a call is not whole (pieces of another, words) waits for it; a
    call that never is whole ends with the answer. Token counts never wait.
    """

    def __init__(self) -> None:
        self._call: _Call | None = None
        self._over: set[int] = set()  # calls that had their turn
        self._waiting: list[Meaning] = []

    def feed(self, event: Meaning) -> Iterator[Meaning]:
        """What is to be told now."""
        if isinstance(event, Finished):
            self._leave()
            while self._waiting:
                yield from self._go_on()
                self._leave()
            yield event
        elif isinstance(event, Usage):
            yield event
        elif self._must_wait(event):
            self._waiting.append(event)
        elif isinstance(event, ToolCallDelta):
            yield from self._call_on(event)
        else:
            self._leave()
            yield event

    def _must_wait(self, event: Meaning) -> bool:
        call = self._call
        if call is None:
            return False
        if isinstance(event, ToolCallDelta) and event.index == call.index:
            return False
        return bool(self._waiting) or not call.is_whole

    def _call_on(self, delta: ToolCallDelta) -> Iterator[Meaning]:
        if delta.index in self._over:
            return  # its arguments were whole
        if self._call is None or self._call.index != delta.index:
            self._leave()
            self._call = _Call(delta.index)
        self._call.add(delta.arguments)
        yield delta
        if self._waiting and self._call.is_whole:
            self._leave()
            yield from self._go_on()

    def _go_on(self) -> Iterator[Meaning]:
        """What has waited, as far as it need not wait again."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            yield from self.feed(event)

    def _leave(self) -> None:
        if self._call is not None:
            self._over.add(self._call.index)
            self._call = None
