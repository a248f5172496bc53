"""The legacy wire's answer: its server-sent events as events of ours (sheet §5)."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from kimi_proxy.errors import UpstreamCut, UpstreamGarbled
from kimi_proxy.events import Citation, Event, Finished, FinishReason, TextDelta
from kimi_proxy.providers.kimi_legacy_error import refusal
from kimi_proxy.sse import ServerEvent

# Known, and of no interest to a client. `done` ends one group, not the stream.
_SILENT = frozenset({"req", "resp", "debug", "rename", "ping", "done"})
_NAME = 40  # characters of an unknown event's name worth keeping


def parse(
    frames: Iterable[ServerEvent], conversation: str, unknown: Counter[str]
) -> Iterator[Event]:
    """Yield what the frames say, up to `all_done`.

    Counts events of names the sheet does not know in `unknown`. Raises `UpstreamCut`
    when the frames end before `all_done`, `UpstreamGarbled` for a frame that is not
    what the sheet describes, and what an `error` event means.
    """
    reason: FinishReason = "stop"
    cited: set[str] = set()
    for frame in frames:
        body = _body(frame)
        match body.get("event", frame.event):
            case "cmpl":
                yield from _text(body)
            case "search_plus" | "ref_docs":
                yield from _new(_sources(body), cited)
            case "length":
                reason = "length"
            case "error":
                raise refusal(200, _mapping(body.get("error")))
            case "all_done":
                yield Finished(reason, conversation)
                return
            case name if name not in _SILENT:
                unknown[str(name)[:_NAME]] += 1
    raise UpstreamCut("Kimi's answer ended early")


def _body(frame: ServerEvent) -> Mapping[str, Any]:
    try:
        body = orjson.loads(frame.data)
    except orjson.JSONDecodeError as exc:
        raise UpstreamGarbled("an event of Kimi's answer is not JSON") from exc
    if not isinstance(body, dict):
        raise UpstreamGarbled("an event of Kimi's answer is not an object")
    return body


def _text(body: Mapping[str, Any]) -> Iterator[TextDelta]:
    text = body.get("text")
    if not isinstance(text, str):
        raise UpstreamGarbled("a piece of Kimi's answer holds no text")
    if text:
        yield TextDelta(text)


def _sources(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    hit = _mapping(body.get("msg"))
    if hit.get("type") == "get_res":
        yield hit
    cards = body.get("ref_cards")
    if isinstance(cards, list):
        yield from map(_mapping, cards)


def _new(sources: Iterable[Mapping[str, Any]], cited: set[str]) -> Iterator[Citation]:
    for source in sources:
        url, title = source.get("url"), source.get("title")
        if not isinstance(url, str) or url in cited:
            continue
        # Clients make links of these: nothing but the web's own schemes may pass.
        if url.lower().startswith(("http://", "https://")):
            cited.add(url)
            yield Citation(url, title if isinstance(title, str) and title else url)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
