"""`${NAME}` in texts, and `key_file` / `token_file` beside them."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kimi_proxy.config.problem import Finding, KeyPath, spell

SECRET_FILES = {"key_file": "key", "token_file": "token"}
"""Keys that name a file, and the key whose value the file holds."""
STAND_IN = "unread:"
"""How a value begins that stands in for a secret that cannot be read."""

_MARK = re.compile(r"\$\$|\$\{(?P<inside>[^}]*)(?P<end>\}?)")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_MOST_BYTES = 64 * 2**10


@dataclass(slots=True)
class Expansion:
    """One pass over a tree: replaces what stands for something else.

    A value that cannot be had is noted in `findings` and becomes None, or a stand-in
    where None would only raise a second complaint about the same thing.
    """

    environ: Mapping[str, str] = field(repr=False)
    directory: Path
    findings: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def value(self, value: Any, path: KeyPath = ()) -> Any:
        """Return the value with every text in it expanded."""
        if isinstance(value, str):
            return self._text(value, path)
        if isinstance(value, list):
            return [self.value(item, (*path, at)) for at, item in enumerate(value)]
        if isinstance(value, dict):
            return self._mapping(value, path)
        return value

    def _mapping(self, value: dict[str, Any], path: KeyPath) -> dict[str, Any]:
        expanded = {key: self.value(item, (*path, key)) for key, item in value.items()}
        if not _holds_secret(path):
            return expanded
        for file_key, key in SECRET_FILES.items():
            name = expanded.pop(file_key, None)
            if name and expanded.get(key):
                self._note((*path, file_key), f"give {key} or {file_key}, not both")
            elif name:
                expanded[key] = self._secret_file(name, (*path, file_key))
        return expanded

    def _text(self, text: str, path: KeyPath) -> str | None:
        missing = False

        def replace(match: re.Match[str]) -> str:
            nonlocal missing
            if match[0] == "$$":
                return "$"
            found = self._variable(match, path)
            missing = missing or found is None
            return found or ""

        expanded = _MARK.sub(replace, text)
        return None if missing else expanded

    def _variable(self, match: re.Match[str], path: KeyPath) -> str | None:
        inside = _NAME.fullmatch(match["inside"])
        if not match["end"] or inside is None:
            message = "holds a ${ that is no ${NAME}: write $$ for a plain $"
            self._note(path, message)
            return None
        found = self.environ.get(inside["name"])
        if inside["default"] is not None:
            return found or inside["default"].removeprefix(":-")
        if found is None:
            self._note(path, f"environment variable {inside['name']} is not set")
        return found

    def _secret_file(self, name: object, path: KeyPath) -> str:
        # Stands in for the secret, so that the schema does not miss it as well.
        stand_in = f"{STAND_IN}{len(self.findings)}"
        if not isinstance(name, str):
            self._note(path, "must be the path of a file")
            return stand_in
        file = self.directory / name
        try:
            mode = file.stat().st_mode
            if not stat.S_ISREG(mode):
                self._note(path, "is not a regular file")
                return stand_in
            with file.open("rb") as stream:
                text = stream.read(_MOST_BYTES + 1).decode().strip()
        except (OSError, ValueError) as error:
            self._note(path, f"cannot be read: {_reason(error)}")
            return stand_in
        if not text or len(text) > _MOST_BYTES:
            self._note(path, "is an empty file" if not text else "is too big a file")
            return stand_in
        if mode & (stat.S_IRGRP | stat.S_IROTH):
            self.warnings.append(f"{spell(path)}: other users can read this file")
        return text

    def _note(self, path: KeyPath, message: str) -> None:
        self.findings.append(Finding(path, message))


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError):
        return error.strerror or "it is not a file"
    utf8 = isinstance(error, UnicodeError)
    return "it is not UTF-8 text" if utf8 else "it is not a file name"


def _holds_secret(path: KeyPath) -> bool:
    match path:
        case ("keys", int()) | ("admin",) | ("providers", _, "tokens", int()):
            return True
    return False
