"""What the emulated model says: a script given by tests, or a quote of the prompt."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SearchHit:
    """One web search result; `used` ones are listed as sources of the answer.

    `ref` is its refIndex, text or a number; None: `web_search:1#` and its place.
    """

    title: str
    url: str
    snippet: str = ""
    site: str = "Example"
    published: str = "2026-09-20"
    used: bool = True
    ref: str | int | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted answer.

    `pieces` are the exact texts of the content frames, or the length in characters of
    each. `first_delay` passes before the first content frame and `delay` between any
    two (seconds). `thinking` and `search` appear only when the request asks for
    them. `agents` are `(name, text)` of sub-agents, `files` names of files made,
    `questions` the argument of an `ask_user` tool call that leaves the turn open, where
    the request lets the model ask.
    """

    text: str = ""
    thinking: str = ""
    pieces: tuple[str, ...] | int = 8
    delay: float = 0.0
    first_delay: float = 0.0
    search: tuple[SearchHit, ...] = ()
    name: str = ""
    agents: tuple[tuple[str, str], ...] = ()
    files: tuple[str, ...] = ()
    questions: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        """Raise ValueError for pieces that are not the text."""
        if isinstance(self.pieces, tuple) and "".join(self.pieces) != self.text:
            raise ValueError("the pieces of an answer must join to its text")

    @property
    def text_pieces(self) -> tuple[str, ...]:
        """The answer text, one item per content frame."""
        if isinstance(self.pieces, tuple):
            return self.pieces
        return _cut(self.text, self.pieces)

    @property
    def thinking_pieces(self) -> tuple[str, ...]:
        """The reasoning text, one item per content frame."""
        return _cut(self.thinking, self.pieces if isinstance(self.pieces, int) else 8)


# A callable gets the prompt text and the whole request, keys in snake_case.
Answering = Answer | Callable[[str, Mapping[str, Any]], Answer]


def quote(prompt: str, request: Mapping[str, Any]) -> Answer:
    """Return the default answer, which repeats the prompt word for word.

    With a search allowed it cites one made-up source, and one that nobody found.
    """
    searches = {"type": "TOOL_TYPE_SEARCH"}.items()
    asked = any(searches <= tool.items() for tool in request.get("tools", ()))
    marks = bracket_citation("web_search:1#0") + citation(7) if asked else ""
    return Answer(
        text=f"You said: {prompt}{marks}",
        search=(SearchHit("A made-up page", "https://example.org/made-up"),),
        thinking=f"The user wrote {len(prompt)} characters. I repeat them.",
        name=prompt[:20].strip() or "Untitled",
    )


def citation(number: int) -> str:
    """Return the marker `[^N^]` (§7)."""
    return f"[^{number}^]"


def bracket_citation(*references: str) -> str:
    """Return the marker in private-use brackets, e.g. of `web_search:1#0` (§7)."""
    return "\ue3a0cite" + "".join(f"\ue3a3{ref}" for ref in references) + "\ue3a8"


def _cut(text: str, size: int) -> tuple[str, ...]:
    return tuple(text[i : i + size] for i in range(0, len(text), size))
