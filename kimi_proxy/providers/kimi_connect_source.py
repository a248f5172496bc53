"""The sources an answer of the Connect wire names (connect sheet §6, §7)."""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from kimi_proxy.events import Citation
from kimi_proxy.providers.kimi_citation import is_web

# Where a list of pages, or the page itself, may be found one level down.
_NESTS: Final = ("base", "searchResult", "webPages", "searchChunks", "items")
_DEPTH: Final = 6


class Sources:
    """Collects sources; those the answer uses win over those a search only found.

    Those that no marker placed are told at the end of an answer: which ones are used
    is known no earlier. `begins`: nothing was said in the chat before this answer.
    """

    def __init__(self, begins: bool = True) -> None:
        self._found: dict[str, Citation] = {}
        self._used: dict[str, Citation] = {}
        self._begins = begins
        # By what a marker may call a result: its refIndex, or else its address.
        self._results: dict[str, Citation | None] = {}

    def message(self, message: Mapping[str, Any], append: bool) -> None:
        """Take what a message's `refs`, or the older `ref`, tells."""
        refs, ref = message.get("refs"), message.get("ref")
        if isinstance(refs, dict):
            self._find(refs.get("searchChunks"))
            if "usedSearchChunks" in refs:
                self._use(refs["usedSearchChunks"], append)
        if isinstance(ref, dict) and "search" in ref:
            self._use(ref["search"], append)

    def block(self, block: Mapping[str, Any]) -> None:
        """Take what a block's tool or, in older builds, its search found."""
        tool, search = block.get("tool"), block.get("search")
        if isinstance(tool, dict):
            self._find(tool.get("contents"))
        if isinstance(search, dict):
            self._find(search.get("webPages"))

    def named(self, ref: str) -> Citation | None:
        """The source that a marker's reference names, as far as that is sure."""
        if ref in self._results or not ref.isdecimal():
            return self._results.get(ref)
        # The number is a refIndex of the whole conversation (sheet §7). It can only be
        # the place in a list where no result has a number of its own, and only in a
        # chat's first answer: later on the list of this turn is not the one it counts.
        if not self._begins or any(name.isdecimal() for name in self._results):
            return None
        at = int(ref) - 1
        results = list(self._results.values())
        return results[at] if 0 <= at < len(results) else None

    def unplaced(self, placed: Set[str]) -> Iterator[Citation]:
        """The used sources without those `placed`, by their addresses.

        All that were found when none is known to be used: told so, or placed.
        """
        used = self._used if self._used or placed else self._found
        yield from (source for url, source in used.items() if url not in placed)

    def _find(self, listed: object) -> None:
        for page in _pages(listed):
            name = page.ref or page.url
            if page.source is not None:
                self._found.setdefault(page.url, page.source)
            self._results.setdefault(name, page.source)

    def _use(self, listed: object, append: bool) -> None:
        if not append:
            self._used.clear()
        for page in _pages(listed):
            if page.source is not None:
                self._used.setdefault(page.url, page.source)
            if page.ref:
                self._results.setdefault(page.ref, page.source)


@dataclass(frozen=True, slots=True)
class _Page:
    """A page of a list; `ref` is its refIndex, `source` None where it is no link."""

    url: str
    ref: str
    source: Citation | None


def _pages(value: object, ref: str = "", depth: int = 0) -> Iterator[_Page]:
    """Each page below `value`, in order; `ref` is what the object around it says."""
    if isinstance(value, list) and depth < _DEPTH:
        for item in value:
            yield from _pages(item, ref, depth + 1)
    if not isinstance(value, dict) or depth >= _DEPTH:
        return
    ref = _ref(value) or ref
    url, title = value.get("url"), value.get("title")
    if isinstance(url, str):
        text = title if isinstance(title, str) and title.strip() else url
        yield _Page(url, ref, Citation(url, text) if is_web(url) else None)
        return
    for name in _NESTS:
        yield from _pages(value.get(name), ref, depth + 1)


def _ref(value: Mapping[str, Any]) -> str:
    """A result's refIndex: text such as `web_search:1#0`, or a number."""
    ref = value.get("refIndex")
    if isinstance(ref, int) and not isinstance(ref, bool):
        return str(ref)
    return ref if isinstance(ref, str) else ""
