"""A configuration as it was found, before it is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kimi_proxy.config.document import Document
from kimi_proxy.config.problem import Finding, KeyPath, Problem, spell


@dataclass(frozen=True, slots=True)
class Draft:
    """A tree of today's keys and how to speak of its places.

    `names` holds what the user called a key path where that was not its key:
    an environment variable, or a key of another program's file. `directory` is what
    relative secret files start from; None: nothing in the tree is to be expanded.
    """

    source: str
    tree: Any = field(repr=False)
    document: Document | None = None
    directory: Path | None = None
    findings: tuple[Finding, ...] = ()
    warnings: tuple[str, ...] = ()
    names: Mapping[KeyPath, str] = field(default_factory=dict)

    def problem(self, finding: Finding) -> Problem:
        """Say a finding with the user's own name for its place, and its line."""
        name, path = self._name(finding.path)
        line = finding.line
        if line is None and self.document is not None:
            line = self.document.line(path)
        return Problem(name, line, finding.message)

    def _name(self, path: KeyPath) -> tuple[str, KeyPath]:
        for end in range(len(path), 0, -1):
            if (name := self.names.get(path[:end])) is not None:
                return name, (name,)
        return spell(path), path
