"""A configuration file in a directory of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

from kimi_proxy.config import ConfigError, Settings, load

KIMI = "providers: {kimi: {type: kimi, tokens: [made-up-token]}}"
"""The least that stands in every file that is about something else."""


@dataclass(frozen=True, slots=True)
class Desk:
    """Writes files and loads them."""

    directory: Path

    def write(self, text: str | bytes, name: str = "config.yaml") -> Path:
        file = self.directory / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        file.chmod(0o600)
        return file

    def load(
        self, text: str | bytes, environ: Mapping[str, str] | None = None
    ) -> Settings:
        return load(str(self.write(text)), environ or {})

    def error(
        self, text: str | bytes, environ: Mapping[str, str] | None = None
    ) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.load(text, environ)
        return caught.value

    def problems(
        self, text: str | bytes, environ: Mapping[str, str] | None = None
    ) -> list[str]:
        """Load a broken file and return its problems as `line: path: message`."""
        return [
            f"{problem.line}: {problem.path}: {problem.message}"
            for problem in self.error(text, environ).problems
        ]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)
