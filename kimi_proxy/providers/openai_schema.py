"""JSON Schemas as Moonshot takes them: without `$ref`, each property with a `type`.

What cannot be written so (a schema that contains itself) is left as open as it has to
be: any object. Sheet §3.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import orjson

_SUBSCHEMAS = ("items", "additionalProperties", "not", "if", "then", "else", "contains")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties")
_DEFINITIONS = ("$defs", "definitions")
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"),
    (int, "integer"),
    (float, "number"),
    (str, "string"),
    (list, "array"),
    (dict, "object"),
)
_SIGNS = {
    "properties": "object",
    "required": "object",
    "additionalProperties": "object",
    "items": "array",
    "prefixItems": "array",
    "pattern": "string",
    "minLength": "string",
    "maxLength": "string",
    "format": "string",
    "minimum": "number",
    "maximum": "number",
    "multipleOf": "number",
}
_ANY = ("string", "number", "boolean", "object", "array", "null")
_DEEPEST = 64
_MOST = 20_000  # references may fan out without end
_LARGEST = 65_536  # bytes of one that is remembered


def plain(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema that means the same as far as that can be said."""
    return _Writer(schema).write(schema, ())


def remembering(most: int = 512) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """`plain`, which writes the tools that a client sends with each request but once.

    What it returns is not to be changed. 40 tools take 3 ms otherwise.
    """

    @lru_cache(maxsize=most)
    def written(data: bytes) -> dict[str, Any]:
        return plain(orjson.loads(data))

    def remembered(schema: Mapping[str, Any]) -> dict[str, Any]:
        data = orjson.dumps(schema)
        return plain(schema) if len(data) > _LARGEST else written(data)

    return remembered


class _Writer:
    """One schema being written; `seen` are the references on the way to a place."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = _MOST

    def write(
        self, schema: Mapping[str, Any], seen: tuple[str, ...], depth: int = 0
    ) -> dict[str, Any]:
        self._left -= 1
        found = schema
        while isinstance(ref := found.get("$ref"), str):
            if ref in seen:
                return {"type": "object", **_described(found)}
            seen = (*seen, ref)
            rest = {k: v for k, v in found.items() if k != "$ref"}
            found = {**_target(ref, self._root), **rest}
        if depth > _DEEPEST or self._left < 0:
            return {"type": "object", **_described(found)}
        return _typed(
            {
                key: self._value(key, value, seen, depth + 1)
                for key, value in found.items()
                if key not in _DEFINITIONS
            }
        )

    def _value(self, key: str, value: Any, seen: tuple[str, ...], depth: int) -> Any:
        if key in _MAPS and isinstance(value, Mapping):
            return {k: self._inner(v, seen, depth) for k, v in value.items()}
        if key in _LISTS and isinstance(value, list):
            return [self._inner(v, seen, depth) for v in value]
        return self._inner(value, seen, depth) if key in _SUBSCHEMAS else value

    def _inner(self, value: Any, seen: tuple[str, ...], depth: int) -> Any:
        """A schema within, or `true` and `false`, which are ones as well."""
        is_schema = isinstance(value, Mapping)
        return self.write(value, seen, depth) if is_schema else value


def _target(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a reference within the document points at; anything if it points nowhere."""
    place: Any = root
    if ref != "#" and not ref.startswith("#/"):
        return {}
    for step in ref.removeprefix("#").split("/")[1:]:
        name = step.replace("~1", "/").replace("~0", "~")
        place = place.get(name) if isinstance(place, Mapping) else None
    return place if isinstance(place, Mapping) else {}


def _typed(schema: dict[str, Any]) -> dict[str, Any]:
    """With the type that it implies, if it names none and no alternatives."""
    if "type" in schema or any(schema.get(name) for name in _LISTS[:3]):
        return schema
    values = schema.get("enum") or ([schema["const"]] if "const" in schema else [])
    types = list(dict.fromkeys(_type(v) for v in values))
    types = types or [t for key, t in _SIGNS.items() if key in schema][:1]
    return {"type": (types[0] if len(types) == 1 else types or list(_ANY)), **schema}


def _type(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def _described(schema: Mapping[str, Any]) -> dict[str, Any]:
    words = schema.get("description")
    return {"description": words} if isinstance(words, str) else {}
