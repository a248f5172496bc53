"""Models of JSON as the document's schemas."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

Json = dict[str, Any]

_HERE = "#/$defs/"
_THERE = "#/components/schemas/"
_SCALARS = {"string", "integer", "number", "boolean"}


class Told(BaseModel):
    """Something that is answered. More fields may come: relayed answers have them.

    A field with a default may be missing.
    """

    model_config = ConfigDict(extra="allow")


class Schemas:
    """Gathers `components.schemas`."""

    def __init__(self) -> None:
        self.gathered: Json = {}

    def add(self, model: type[BaseModel], name: str = "", prefix: str = "") -> Json:
        """A reference to the model's schema.

        What it is made of goes in with it, as `prefix` and the name of its class.
        """
        schema = model.model_json_schema()
        for inner, made in schema.pop("$defs", {}).items():
            self.gathered[_named(inner, prefix)] = _cleaned(made, prefix)
        if "$ref" in schema:  # it holds itself
            return {"$ref": _moved(schema["$ref"], prefix)}
        told = name or model.__name__
        self.gathered[told] = _cleaned(schema, prefix)
        return {"$ref": f"{_THERE}{told}"}


def _named(inner: str, prefix: str) -> str:
    return prefix + inner.lstrip("_").removeprefix(prefix)


def _moved(reference: str, prefix: str) -> str:
    return _THERE + _named(reference.removeprefix(_HERE), prefix)


def _cleaned(node: Any, prefix: str) -> Any:
    """The same without what says nothing: titles, and that what is missing is null."""
    if isinstance(node, list):
        return [_cleaned(each, prefix) for each in node]
    if not isinstance(node, Mapping):
        return node
    cleaned = {}
    for word, value in node.items():
        if word == "$ref":
            cleaned[word] = _moved(value, prefix)
        elif word == "description" and isinstance(value, str):
            cleaned[word] = " ".join(value.split())
        elif not _is_noise(word, value):
            cleaned[word] = _cleaned(value, prefix)
    return _narrowed(cleaned)


def _narrowed(schema: Json) -> Json:
    """`anyOf` a scalar or null as a list of both types, which takes viewers a line."""
    options: list[Json] = schema.get("anyOf", [])
    if len(options) != 2 or options[1] != {"type": "null"}:
        return schema
    plain = options[0]
    if plain.get("type") not in _SCALARS or plain.keys() & {"enum", "const"}:
        return schema
    rest = {word: value for word, value in schema.items() if word != "anyOf"}
    return {**plain, **rest, "type": [plain["type"], "null"]}


def _is_noise(word: str, value: object) -> bool:
    titled = word == "title" and isinstance(value, str)
    return titled or (word == "default" and value is None)
