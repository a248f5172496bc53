"""The sources an answer of the legacy wire names (legacy sheet §5)."""

from collections.abc import Iterator, Mapping, Set
from typing import Any

from kimi_proxy.events import Citation
from kimi_proxy.providers.kimi_citation import is_web


class Sources:
    """Collects the hits of a search, and the cards that are shown below the answer."""

    def __init__(self) -> None:
        self._known: dict[str, Citation] = {}
        # In the order in which markers count them; None where a hit is no link.
        self._hits: list[Citation | None] = []
        self._cards: list[Citation | None] = []

    def hit(self, message: Mapping[str, Any]) -> None:
        """Take one step of a search."""
        if message.get("type") == "get_res":
            self._hits.append(self._source(message))

    def cards(self, listed: object) -> None:
        """Take a list of cards."""
        for card in listed if isinstance(listed, list) else ():
            self._cards.append(self._source(card if isinstance(card, dict) else {}))

    def named(self, ref: str) -> Citation | None:
        """The source that a marker's number names: its place among the turn's."""
        counted = self._hits or self._cards
        at = int(ref) - 1 if ref.isdecimal() else -1
        return counted[at] if 0 <= at < len(counted) else None

    def unplaced(self, placed: Set[str]) -> Iterator[Citation]:
        """The sources, each once, without those `placed`, by their addresses.

        Once a marker has told that a hit is used, those that were only found are not.
        """
        shown = self._cards if placed else self._known.values()
        left = {s.url: s for s in shown if s is not None and s.url not in placed}
        yield from left.values()

    def _source(self, told: Mapping[str, Any]) -> Citation | None:
        url, title = told.get("url"), told.get("title")
        if not isinstance(url, str) or not is_web(url):
            return None
        name = title if isinstance(title, str) and title else url
        return self._known.setdefault(url, Citation(url, name))
