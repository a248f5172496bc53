"""A streamed answer in Anthropic's Messages: one block after the other."""

from typing import Any, Literal, assert_never

from kimi_proxy.dialects.anthropic_errors import error_body
from kimi_proxy.dialects.anthropic_told import (
    SIGNATURE,
    citation_of,
    message_of,
    stop_of,
    usage_of,
)
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.in_turn import InTurn
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.errors import GatewayError
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    Meaning,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)

_Kind = Literal["text", "thinking"]
_EMPTY: dict[_Kind, dict[str, str]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}


class MessageEncoder:
    """Events to server-sent events; every method returns bytes ready to be sent.

    Blocks do not overlap: what `InTurn` holds back waits for the open one.
    """

    def __init__(self, stamp: Stamp) -> None:
        self._stamp = stamp
        self._turn = InTurn()
        self._begun = False
        self._ended = False
        self._usage: Usage | None = None
        self._blocks = 0
        self._open: _Kind | int | None = None  # of a call its index
        self._called = False
        self._sources: list[Citation] = []  # that wait for words

    @property
    def finished(self) -> bool:
        return self._ended

    def feed(self, event: Event) -> bytes:
        """What to send for an event; the message begins with the first."""
        if isinstance(event, TextDelta) and self._open == "text":
            return self._said(event)  # most of a stream: nothing else has its turn
        if isinstance(event, Relayed):
            return b"".join(map(self.feed, event.events))
        if isinstance(event, Usage):
            self._usage = event
        begun = b"" if self._begun else self._begin()
        return begun + b"".join(map(self._said, self._turn.feed(event)))

    def finish(self) -> bytes:
        """What follows the last event."""
        return _frame({"type": "message_stop"})

    def fail(self, error: GatewayError) -> bytes:
        """An error event, and no sign of success after it."""
        return _frame(error_body(error, self._stamp.request_id))

    def _begin(self) -> bytes:
        self._begun = True
        message = message_of(self._stamp, usage_of(self._usage))
        return _frame({"type": "message_start", "message": message})

    def _said(self, event: Meaning) -> bytes:
        match event:
            case TextDelta(text):
                return self._piece("text", "text_delta", text)
            case ReasoningDelta(text):
                return self._piece("thinking", "thinking_delta", text)
            case Citation():
                self._sources.append(event)
                return self._cited() if self._open == "text" else b""
            case ToolCallDelta():
                return self._call(event)
            case Usage():
                return b""
            case Finished():
                return self._end(event)
            case _:
                assert_never(event)

    def _piece(self, kind: _Kind, delta: str, text: str) -> bytes:
        if not text:
            return b""
        begun = b"" if self._open == kind else self._close() + self._start(kind)
        told = self._delta({"type": delta, kind: text})
        return begun + told + (self._cited() if kind == "text" else b"")

    def _start(self, kind: _Kind) -> bytes:
        self._open = kind
        return self._block(_EMPTY[kind])

    def _cited(self) -> bytes:
        sources, self._sources = self._sources, []
        return b"".join(
            self._delta({"type": "citations_delta", "citation": citation_of(source)})
            for source in sources
        )

    def _call(self, delta: ToolCallDelta) -> bytes:
        begun = b""
        if self._open != delta.index:
            begun = self._close()
            self._open, self._called = delta.index, True
            begun += self._block(
                {
                    "type": "tool_use",
                    "id": delta.id or f"toolu_{self._stamp.token}_{delta.index}",
                    "name": delta.name or "",
                    "input": {},
                }
            )
        if not delta.arguments:
            return begun
        told = {"type": "input_json_delta", "partial_json": delta.arguments}
        return begun + self._delta(told)

    def _end(self, event: Finished) -> bytes:
        closed = self._close()
        self._ended = True
        end: dict[str, Any] = {
            "type": "message_delta",
            "delta": stop_of(event.reason, self._called, event.matched),
            "usage": usage_of(self._usage),
        }
        if event.conversation is not None:
            end["conversation_id"] = event.conversation
        return closed + _frame(end)

    def _block(self, block: dict[str, Any]) -> bytes:
        start = {"type": "content_block_start", "index": self._blocks}
        return _frame({**start, "content_block": block})

    def _delta(self, delta: dict[str, Any]) -> bytes:
        head = {"type": "content_block_delta", "index": self._blocks}
        return _frame({**head, "delta": delta})

    def _close(self) -> bytes:
        if self._open is None:
            return b""
        sealed = b""
        if self._open == "thinking":
            seal = {"type": "signature_delta", "signature": SIGNATURE}
            sealed = self._delta(seal)
        stop = _frame({"type": "content_block_stop", "index": self._blocks})
        self._open = None
        self._blocks += 1
        return sealed + stop


def _frame(event: dict[str, Any]) -> bytes:
    """An event; its name stands twice, as clients look for it in either place."""
    return b"".join(
        (b"event: ", event["type"].encode(), b"\ndata: ", dump(event), b"\n\n")
    )
