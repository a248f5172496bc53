"""What the emulated model says: a script given by tests, or a quote of the prompt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One web search result."""

    title: str
    url: str
    snippet: str = "A made-up passage."


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted answer; times are seconds.

    `pieces` are the exact texts of the `cmpl` events, or the length in characters of
    each. The first delta comes `first_delay` after the opening events, each later one
    `delay` after the one before. `search` shows only when the request allows a search.
    After `length_after` deltas the output limit is reached, and again after as many in
    each continuation.
    """

    text: str = ""
    pieces: tuple[str, ...] | int = 8
    delay: float = 0.0
    first_delay: float = 0.0
    search: tuple[SearchHit, ...] = ()
    length_after: int | None = None

    def __post_init__(self) -> None:
        """Raise ValueError for pieces that are not the text."""
        if isinstance(self.pieces, int):
            return
        joined = "".join(self.pieces)
        if self.text not in ("", joined):
            raise ValueError("the pieces of an answer must join to its text")
        object.__setattr__(self, "text", joined)

    def deltas(self) -> tuple[str, ...]:
        """Return the text, one item per `cmpl` event."""
        if not isinstance(self.pieces, int):
            return self.pieces
        size = self.pieces
        return tuple(self.text[i : i + size] for i in range(0, len(self.text), size))


# A callable gets the prompt text and the whole body of the request.
Script = Answer | Callable[[str, Mapping[str, Any]], Answer]


def quote(prompt: str, body: Mapping[str, Any]) -> Answer:
    """Return the default answer, which repeats the prompt word for word.

    With a search allowed it cites one made-up source.
    """
    hit = SearchHit("A made-up page", "https://example.org/made-up")
    mark = "[^1^]" if body.get("use_search") else ""
    return Answer(text=f"You said: {prompt}{mark}", search=(hit,))


def answer_from(fields: Mapping[str, Any]) -> Answer:
    """Build an answer from JSON; raises TypeError or ValueError for a wrong field."""
    plain = dict(fields)
    if isinstance(plain.get("pieces"), list):
        plain["pieces"] = tuple(plain["pieces"])
    plain["search"] = tuple(SearchHit(**hit) for hit in plain.get("search", ()))
    return Answer(**plain)
