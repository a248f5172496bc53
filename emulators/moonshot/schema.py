"""JSON schemas in Moonshot's flavour: every property typed, nothing by reference."""

from collections.abc import Iterator
from typing import Any

# Schemas that stand in place of a type.
_CHOICES = ("anyOf", "oneOf", "allOf")


def trouble_with(schema: Any, path: str = "") -> str:
    """Return what is wrong with a schema and where, or nothing."""
    return next(_troubles(schema, path), "")


def _troubles(schema: Any, path: str) -> Iterator[str]:
    where = f"At path '{path}': "
    if not isinstance(schema, dict):
        yield f"{where}the schema must be an object"
        return
    if "$ref" in schema:
        yield f"{where}$ref is not resolved"
        return
    choices = [(f"{key}[{n}]", s) for key in _CHOICES for n, s in _listed(schema, key)]
    if path and not choices and "type" not in schema:
        yield f"{where}type is not defined"
    nested = [(f"properties.{k}", v) for k, v in _object(schema, "properties").items()]
    if isinstance(schema.get("items"), dict):
        nested.append(("items", schema["items"]))
    for name, inner in [*choices, *nested]:
        yield from _troubles(inner, f"{path}.{name}" if path else name)


def _object(schema: dict[str, Any], key: str) -> dict[str, Any]:
    value = schema.get(key)
    return value if isinstance(value, dict) else {}


def _listed(schema: dict[str, Any], key: str) -> list[tuple[int, Any]]:
    value = schema.get(key)
    return list(enumerate(value)) if isinstance(value, list) else []
