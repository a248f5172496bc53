"""The legacy wire's answer: its server-sent events as events of ours (sheet §5)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from kimi_proxy.errors import UpstreamCut, UpstreamGarbled
from kimi_proxy.events import Event, Finished
from kimi_proxy.providers.json_part import mapping_of
from kimi_proxy.providers.kimi_citation import CitedText
from kimi_proxy.providers.kimi_legacy_error import refusal
from kimi_proxy.providers.kimi_legacy_source import Sources
from kimi_proxy.sse import ServerEvent

# Known, and of no interest to a client. `done` ends one group, not the stream.
_SILENT = frozenset({"resp", "debug", "rename", "ping", "done"})
_NAME = 40  # characters of an unknown event's name worth keeping


class Answer:
    """One answer being read, from one stream or, after its limit, from several.

    `chat_id` is what the end names. `segment` is the id by which the answer can go on,
    once it is told. `length` is true when the last stream ended at the output limit.
    `said` counts the characters of the text so far, `unknown` the events of names that
    the sheet does not know.
    """

    def __init__(self, chat_id: str) -> None:
        self._chat_id = chat_id
        self.segment: str | None = None
        self.length = False
        self.said = 0
        self.unknown: Counter[str] = Counter()
        self._sources = Sources()
        self._cited = CitedText(self._sources.named)

    def read(self, frames: Iterable[ServerEvent]) -> Iterator[Event]:
        """Yield what the frames of a stream say, up to `all_done`.

        Raises `UpstreamCut` when the frames end before `all_done`, `UpstreamGarbled`
        for a frame that is not what the sheet describes, and what an `error` means.
        """
        at_limit = False
        for frame in frames:
            body = _body(frame)
            match body.get("event", frame.event):
                case "cmpl":
                    text = _text(body)
                    self.said += len(text)
                    yield from self._cited.feed(text)
                case "req":
                    self._see_segment(body.get("id"))
                case "search_plus":
                    self._sources.hit(mapping_of(body.get("msg")))
                case "ref_docs":
                    self._sources.cards(body.get("ref_cards"))
                case "length":
                    at_limit = True
                case "error":
                    raise refusal(200, mapping_of(body.get("error")))
                case "all_done":
                    self.length = at_limit
                    return
                case name if name not in _SILENT:
                    self.unknown[str(name)[:_NAME]] += 1
        raise UpstreamCut("Kimi's answer ended early")

    def end(self) -> Iterator[Event]:
        """The last events."""
        yield from self._cited.flush()
        yield from self._sources.unplaced(self._cited.placed)
        yield Finished("length" if self.length else "stop", self._chat_id)

    def _see_segment(self, ident: object) -> None:
        if isinstance(ident, str) and ident:
            self.segment = ident


def _body(frame: ServerEvent) -> Mapping[str, Any]:
    try:
        body = orjson.loads(frame.data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("an event of Kimi's answer is not JSON") from exc
    if not isinstance(body, dict):
        raise UpstreamGarbled("an event of Kimi's answer is not an object")
    return body


def _text(body: Mapping[str, Any]) -> str:
    text = body.get("text")
    if not isinstance(text, str):
        raise UpstreamGarbled("a piece of Kimi's answer holds no text")
    return text
