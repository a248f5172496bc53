"""Which calls are handed on, and what may be done with them.

A list, since whoever is let through here speaks with the account's own key: what
manages the account (keys, users, invoices), or hands out keys that work without the
gateway (realtime and chatkit sessions), is not on it.
"""

import re
from dataclasses import dataclass

# Nothing stays upstream of a call to these, so that it may be made again like a chat.
_PASSING = (
    "completions",
    "embeddings",
    "moderations",
    "audio",
    "images",
    "rerank",
    "score",
    "classify",
    "tokenize",
    "detokenize",
    "tokenizers",
    "fim",
    "ocr",
)
# These make objects, which belong to the account that they were made with.
_KEEPING = (
    "chat/completions",
    "batches",
    "fine_tuning",
    "vector_stores",
    "uploads",
    "assistants",
    "threads",
    "responses",
    "conversations",
    "videos",
    "evals",
    "containers",
)
ENDPOINTS = (*_PASSING, *_KEEPING)
_SAFE = frozenset({"GET", "HEAD"})
# Of what ids and the names of calls are made: nothing that another server could read as
# another path, encoded once more or not.
_SEGMENT = re.compile(r"[A-Za-z0-9._~@:+=,-]{1,256}")
_ID = re.compile(r"(?=.*\d).{6,}")


@dataclass(frozen=True, slots=True)
class Target:
    """What is called: one of `ENDPOINTS`, and the segments of the path behind it."""

    method: str
    endpoint: str
    segments: tuple[str, ...] = ()

    @property
    def path(self) -> str:
        """Below /v1, beginning with a slash."""
        return "/".join(("", self.endpoint, *self.segments))

    @property
    def is_sound(self) -> bool:
        """Whether its path means to any server what it means here."""
        return all(
            _SEGMENT.fullmatch(segment) and segment.strip(".")
            for segment in self.segments
        )

    @property
    def keeps(self) -> bool:
        """Whether it is about objects that stay."""
        return self.endpoint in _KEEPING

    @property
    def may_repeat(self) -> bool:
        """Whether it does no harm to make the call twice."""
        return not self.keeps or self.method in _SAFE

    @property
    def ids(self) -> tuple[str, ...]:
        """Those of the objects it is about, as far as they look like ids."""
        return tuple(s for s in self.segments if self.keeps and _ID.fullmatch(s))
