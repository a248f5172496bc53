"""What an upstream says, as the items of a response: one after the other, each whole.

Strict clients read one item at a time, so a call that begins while another one is
unfinished waits for its turn.
"""

from collections.abc import Iterator
from typing import Any, assert_never

from kimi_proxy.dialects.in_turn import InTurn
from kimi_proxy.dialects.responses_item import CallItem, MessageItem, ThoughtItem
from kimi_proxy.dialects.responses_request import Asked
from kimi_proxy.events import (
    Citation,
    Finished,
    Meaning,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)

Wire = dict[str, Any]

_PREFIXES = {"function": "fc", "custom": "ctc", "local_shell": "lsh"}
_CUT = frozenset({"length", "content_filter"})


class Output:
    """Events of the waist in, events of the stream out (without their numbers).

    `token` makes the items' ids unique. `items` are those that have ended.
    """

    def __init__(self, token: str, asked: Asked) -> None:
        self.items: list[Wire] = []
        self.usage: Usage | None = None
        self.end: Finished | None = None
        self._turn = InTurn()
        self._token = token
        self._asked = asked
        self._item: MessageItem | ThoughtItem | CallItem | None = None
        self._call: int | None = None  # the index of the latest
        self._said = 0  # characters of the messages that have ended

    def feed(self, event: Meaning) -> Iterator[Wire]:
        for each in self._turn.feed(event):
            yield from self._tell(each)

    def _tell(self, event: Meaning) -> Iterator[Wire]:
        match event:
            case TextDelta(text, refuses):
                yield from self._say(text, refuses)
            case ReasoningDelta(text):
                yield from self._think(text)
            case Citation():
                yield from self._cite(event)
            case ToolCallDelta():
                yield from self._write(event)
            case Usage():
                self.usage = event
            case Finished():
                self.end = event
                yield from self._finish(event)
            case _:
                assert_never(event)

    def break_off(self) -> None:
        """Keep what there is of an answer that failed; nobody is told of its end."""
        for _ in self._close("incomplete"):
            pass

    def _say(self, text: str, refuses: bool = False) -> Iterator[Wire]:
        item = self._item
        if not isinstance(item, MessageItem) or item.refuses != refuses:
            yield from self._close()
            item = self._item = MessageItem(
                *self._next("msg"), self._said, refuses=refuses
            )
            yield from item.begin()
        if text:
            yield from item.say(text)

    def _cite(self, citation: Citation) -> Iterator[Wire]:
        yield from self._say("")
        if isinstance(self._item, MessageItem):
            yield from self._item.cite(citation)

    def _think(self, text: str) -> Iterator[Wire]:
        item = self._item
        if not isinstance(item, ThoughtItem):
            yield from self._close()
            item = self._item = ThoughtItem(
                *self._next("rs"),
                summarised=self._asked.summarised,
                sealed=self._asked.sealed,
            )
            yield from item.begin()
        yield from item.think(text)

    def _write(self, delta: ToolCallDelta) -> Iterator[Wire]:
        item = self._item
        if not isinstance(item, CallItem) or self._call != delta.index:
            yield from self._close()
            called = delta.id or f"call_{self._token}{delta.index}"
            name = self._asked.tools.named(delta.name or "")
            place, id = self._next(_PREFIXES[name.kind])
            item = self._item = CallItem(place, id, called, name)
            self._call = delta.index
            yield from item.begin()
        yield from item.write(delta.arguments)

    def _finish(self, end: Finished) -> Iterator[Wire]:
        cut = end.reason in _CUT
        silent = self._item is None or isinstance(self._item, ThoughtItem)
        if silent and not cut and all(i["type"] == "reasoning" for i in self.items):
            yield from self._say("")  # an answer without any words is one, too
        yield from self._close("incomplete" if cut else "completed")

    def _close(self, status: str = "completed") -> Iterator[Wire]:
        """End the open item."""
        item, self._item = self._item, None
        if item is None:
            return
        if isinstance(item, MessageItem):
            self._said += item.length
        yield from item.end(status)
        self.items.append(item.whole)

    def _next(self, prefix: str) -> tuple[int, str]:
        """Place and id of the item that begins."""
        place = len(self.items)
        return place, f"{prefix}_{self._token}{place:04d}"
