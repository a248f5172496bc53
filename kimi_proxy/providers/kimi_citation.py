"""Citation markers in the text of Kimi's answers: taken out, and told as citations.

Two forms are known (connect sheet §7, legacy sheet §5): `[^N^]`, and private-use
brackets around `cite` and one or several references.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlsplit

from kimi_proxy.events import Citation, Event, TextDelta

# Only the exact forms count: footnotes (`[^1]`) and patterns (`[^a^]`) are text.
# Bounds keep a text that merely begins like a marker from being held back for long.
# What follows the first reference is not known for sure: any words may be there.
_OPEN, _NEXT, _CLOSE = "\ue3a0", "\ue3a3", "\ue3a8"
_REFS: Final = rf"(?:{_NEXT}[^\ue3a0-\ue3a8\r\n]{{0,160}}){{0,16}}"
_WHOLE: Final = re.compile(
    rf"\[\^([0-9]{{1,6}})\^\]|{_OPEN}cite({_REFS}){_CLOSE}",
)
_BEGUN: Final = re.compile(
    r"\[(?:\^(?:[0-9]{1,6}\^?)?)?\Z"
    rf"|{_OPEN}(?:c(?:i(?:t(?:e{_REFS})?)?)?)?\Z"
)


def is_web(url: str) -> bool:
    """Whether a client may make a link of it: nothing but http and https passes."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


@dataclass(frozen=True, slots=True)
class Marker:
    """A place in the text that stands on sources; `refs` as the service writes them."""

    refs: tuple[str, ...]


class Splitter:
    """Parts text from markers, however the text is cut.

    Never holds back more than what may still become a marker.
    """

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> Iterator[str | Marker]:
        """The text without markers, never empty, and the markers in their places."""
        text, self._held = self._held + text, ""
        place = 0
        for match in _WHOLE.finditer(text):
            if match.start() > place:
                yield text[place : match.start()]
            yield Marker(_refs(match))
            place = match.end()
        begun = _BEGUN.search(text, place)
        end = len(text) if begun is None else begun.start()
        self._held = text[end:]
        if end > place:
            yield text[place:end]

    def rest(self) -> str:
        """What was held back: it has become no marker.

        Nothing of one that was cut off in its brackets, which nobody could read.
        """
        held, self._held = self._held, ""
        return "" if held.startswith(f"{_OPEN}cite") else held


def _refs(match: re.Match[str]) -> tuple[str, ...]:
    number, listed = match.groups()
    if number:
        return (number,)
    return tuple(filter(None, map(str.strip, listed.split(_NEXT))))


class CitedText:
    """Answer text on its way to the client.

    `resolve` finds the source that a reference names. One that names none is dropped:
    some never appear in any result, and no link is ever invented (connect sheet §7).
    `placed` are the addresses of the sources that markers have cited.
    """

    def __init__(self, resolve: Callable[[str], Citation | None]) -> None:
        self._resolve = resolve
        self._splitter = Splitter()
        self.placed: set[str] = set()

    def feed(self, text: str) -> Iterator[Event]:
        for part in self._splitter.feed(text):
            if isinstance(part, str):
                yield TextDelta(part)
            else:
                yield from self._cited(part)

    def flush(self) -> Iterator[Event]:
        """What was held back, as text: nothing follows that belongs to it."""
        rest = self._splitter.rest()
        if rest:
            yield TextDelta(rest)

    def _cited(self, marker: Marker) -> Iterator[Event]:
        found = map(self._resolve, marker.refs)
        sources = {source.url: source for source in found if source is not None}
        self.placed.update(sources)
        for source in sources.values():
            yield replace(source, placed=True)
