"""YAML read into plain values, with the line of every key path.

Only plain data is built: no tags, no objects. Duplicate keys are refused, anchors
and merges work, and one wrong place does not hide the next.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kimi_proxy.config.problem import Finding, KeyPath

_TAG = "tag:yaml.org,2002:"
_SCALARS = {_TAG + kind for kind in ("null", "bool", "int", "float")}
_TEXTS = {_TAG + kind for kind in ("str", "timestamp", "value")}
_MERGE = _TAG + "merge"
_MOST_VALUES = 20_000
_DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Document:
    """A file's value, the 1-based line of each key path, and what is wrong with it."""

    value: Any = field(repr=False)
    lines: Mapping[KeyPath, int]
    findings: tuple[Finding, ...] = ()

    def line(self, path: KeyPath) -> int | None:
        """Return the line of a path, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return self.lines[path[:end]]
        return None


class _BrokenError(Exception):
    """The file as a whole cannot be read."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(line, message)
        self.line = line
        self.message = message


def read(data: bytes) -> Document:
    """Read one YAML document; what is wrong with it is in its findings."""
    try:
        return _Builder().document(_root(data))
    except _BrokenError as error:
        return Document({}, {(): error.line}, (Finding((), error.message),))


def _root(data: bytes) -> yaml.MappingNode:
    node = _compose(_decode(data))
    if node is None or node.tag == _TAG + "null":
        raise _BrokenError(1, "is empty: write one with `kimi-proxy init`")
    if not isinstance(node, yaml.MappingNode):
        raise _BrokenError(_line(node), "must be a mapping of keys at its top level")
    return node


def _decode(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise _BrokenError(line, "is not UTF-8 text") from None


def _compose(text: str) -> yaml.Node | None:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        raise _unreadable(error, text) from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        message = "holds a character that YAML does not allow"
        raise _BrokenError(line, message) from None
    except RecursionError:
        raise _BrokenError(1, "is nested too deeply") from None


def _unreadable(error: yaml.MarkedYAMLError, text: str) -> _BrokenError:
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    problem = re.sub(r"'.+?'|\".+?\"", _harmless, error.problem or "not understood")
    hint = ""
    if "${" in "".join(text.splitlines()[line - 1 : line]):
        hint = ' (inside { } or [ ] write it in quotes: "${NAME}")'
    return _BrokenError(line, f"is not valid YAML: {problem}{hint}")


def _harmless(quoted: re.Match[str]) -> str:
    # A longer word in the parser's message is out of the file: maybe a secret.
    known = re.fullmatch(r".{1,2}|<[a-z ]+>", quoted[0][1:-1])
    return quoted[0] if known else "…"


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


class _Builder:
    """Walks the nodes once; `_open` holds the nodes it is inside of."""

    def __init__(self) -> None:
        self._lines: dict[KeyPath, int] = {}
        self._findings: list[Finding] = []
        self._open: set[int] = set()
        self._scalars = yaml.constructor.SafeConstructor()

    def document(self, node: yaml.MappingNode) -> Document:
        value = self._value(node, (), _line(node))
        return Document(value, self._lines, tuple(dict.fromkeys(self._findings)))

    def _value(self, node: yaml.Node, path: KeyPath, line: int) -> Any:
        self._lines[path] = line
        if len(self._lines) > _MOST_VALUES or len(path) > _DEEPEST:
            # Aliases of aliases multiply: a small file may hold more than memory does.
            raise _BrokenError(1, "holds too many values, or nests them too deeply")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        if id(node) in self._open:
            return self._refuse(path, "refers to itself")
        self._open.add(id(node))
        try:
            return self._collection(node, path)
        finally:
            self._open.discard(id(node))

    def _collection(self, node: yaml.Node, path: KeyPath) -> Any:
        if node.tag == _TAG + "map":
            return {
                key: self._value(item, (*path, key), line)
                for key, (item, line) in self._entries(node, path).items()
            }
        if node.tag == _TAG + "seq":
            return [
                self._value(item, (*path, index), _line(item))
                for index, item in enumerate(node.value)
            ]
        return self._refuse(path, "has a YAML tag that is not allowed here")

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        if node.tag in _TEXTS:
            return node.value
        try:
            if node.tag in _SCALARS:
                return self._scalars.construct_object(node)
        except (ValueError, LookupError):
            return self._refuse(path, "is not what its YAML tag says")
        return self._refuse(path, "has a YAML tag that is not allowed here")

    def _refuse(self, path: KeyPath, message: str, line: int | None = None) -> None:
        self._findings.append(Finding(path, message, line))

    def _entries(
        self, node: yaml.Node, path: KeyPath
    ) -> dict[str, tuple[yaml.Node, int]]:
        """Return a mapping's own entries, and under them those it merges in."""
        own: dict[str, tuple[yaml.Node, int]] = {}
        merged: dict[str, tuple[yaml.Node, int]] = {}
        for key, item in node.value:
            if key.tag == _MERGE:
                for source in self._sources(item, path):
                    merged = self._entries(source, path) | merged
            elif not isinstance(key, yaml.ScalarNode):
                self._refuse(path, "a key must be a plain word", _line(key))
            elif key.value in own:
                message = f"is given twice, first on line {own[key.value][1]}"
                self._refuse((*path, key.value), message, _line(key))
            else:
                own[key.value] = (item, _line(key))
        return merged | own

    def _sources(self, item: yaml.Node, path: KeyPath) -> Iterator[yaml.Node]:
        """Yield the mappings a `<<` names; the earlier of a list has precedence."""
        for source in item.value if isinstance(item, yaml.SequenceNode) else [item]:
            if not isinstance(source, yaml.MappingNode) or id(source) in self._open:
                self._refuse(path, "<< must name another mapping")
                continue
            self._open.add(id(source))
            yield source
            self._open.discard(id(source))
