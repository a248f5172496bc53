"""The sources an answer of the Connect wire names (connect sheet §6, §7)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from kimi_proxy.events import Citation

# Where a list of pages, or the page itself, may be found one level down.
_NESTS: Final = ("base", "searchResult", "webPages", "searchChunks", "items")
_DEPTH: Final = 6


class Sources:
    """Collects sources; those the answer uses win over those a search only found.

    They are told at the end of an answer: which ones are used is known no earlier.
    """

    def __init__(self) -> None:
        self._found: dict[str, Citation] = {}
        self._used: dict[str, Citation] = {}

    def message(self, message: Mapping[str, Any], append: bool) -> None:
        """Take what a message's `refs`, or the older `ref`, tells."""
        refs, ref = message.get("refs"), message.get("ref")
        if isinstance(refs, dict):
            _collect(refs.get("searchChunks"), self._found)
            if "usedSearchChunks" in refs:
                self._use(refs["usedSearchChunks"], append)
        if isinstance(ref, dict) and "search" in ref:
            self._use(ref["search"], append)

    def block(self, block: Mapping[str, Any]) -> None:
        """Take what a block's tool or, in older builds, its search found."""
        tool, search = block.get("tool"), block.get("search")
        if isinstance(tool, dict):
            _collect(tool.get("contents"), self._found)
        if isinstance(search, dict):
            _collect(search.get("webPages"), self._found)

    def chosen(self) -> Iterator[Citation]:
        """The used sources, or all that were found when none is known to be used."""
        yield from (self._used or self._found).values()

    def _use(self, listed: object, append: bool) -> None:
        if not append:
            self._used.clear()
        _collect(listed, self._used)


def _collect(value: object, into: dict[str, Citation], depth: int = 0) -> None:
    """Put each page below `value` into a mapping by URL; the first of a URL stays."""
    if isinstance(value, list) and depth < _DEPTH:
        for item in value:
            _collect(item, into, depth + 1)
    if not isinstance(value, dict) or depth >= _DEPTH:
        return
    url, title = value.get("url"), value.get("title")
    if isinstance(url, str) and _is_web(url):
        text = title if isinstance(title, str) and title.strip() else url
        into.setdefault(url, Citation(url, text))
        return
    for name in _NESTS:
        _collect(value.get(name), into, depth + 1)


def _is_web(url: str) -> bool:
    """Whether a client may make a link of it: nothing but http and https passes."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
