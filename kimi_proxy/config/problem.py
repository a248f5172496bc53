"""What can be wrong with a configuration, and how it is said."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

KeyPath = tuple[str | int, ...]
"""Where a value stands: `("keys", 0, "name")`."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something wrong at a key path; its line is looked up later unless given."""

    path: KeyPath
    message: str
    line: int | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong, as the user reads it: `keys[0].name`, its line, what to do."""

    path: str
    line: int | None
    message: str


class ConfigError(Exception):
    """The configuration cannot be used; `problems` lists every reason at once.

    `source` is the file (or "environment") they were found in. Neither it nor any
    message holds a value out of the configuration, so it may be printed and logged.
    """

    def __init__(self, source: str, problems: Iterable[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__(source, self.problems)

    def __str__(self) -> str:
        return "\n".join(_line(self.source, problem) for problem in self.problems)


def _line(source: str, problem: Problem) -> str:
    place = source if problem.line is None else f"{source}:{problem.line}"
    parts = (place, problem.path, problem.message)
    return ": ".join(part for part in parts if part)


def spell(path: KeyPath) -> str:
    """Write a key path as the user knows it: `providers.kimi.tokens[0].token`."""
    text = "".join(
        f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path
    )
    return text.removeprefix(".")


def shown(step: str) -> str:
    """Return a key as it may be told: not if it may be a secret."""
    # A token pasted in the place of a key is long, or holds a space or a quote.
    return step if re.fullmatch(r"[^\s\"'\x00-\x1f\x7f]{1,64}", step) else "…"
