"""What pydantic says, in words for the user: key paths and fixed messages.

Pydantic's own words are used only where they are this package's (type "config"):
others may repeat the value, and the value may be a secret.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from kimi_proxy.config.interpolation import SECRET_FILES
from kimi_proxy.config.problem import Finding, KeyPath
from kimi_proxy.config.provider_type import PROVIDER_TYPES
from kimi_proxy.config.schema import Settings
from kimi_proxy.config.section import Section

_MESSAGES = {
    "string_type": "must be a text: put it in quotes",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing_size": "is too big a number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "literal_error": "must be one of {expected}",
    "tuple_type": "must be a list",
    "mapping_type": "must be a mapping of keys",
    "dict_type": "must be a mapping of keys",
    "model_type": "must be a mapping of keys",
    "model_attributes_type": "must be a mapping of keys",
}
_FILES = {key: file for file, key in SECRET_FILES.items()}


def findings(error: ValidationError) -> Iterator[Finding]:
    """Yield what is wrong, in the order of the schema."""
    for detail in error.errors(include_url=False, include_input=False):
        yield _finding(detail)


def _finding(detail: ErrorDetails) -> Finding:
    path, context = _path(detail["loc"]), detail.get("ctx", {})
    match detail["type"]:
        case "config":
            return Finding(path, detail["msg"])
        case "missing":
            return Finding(path, _missing(path))
        case "extra_forbidden":
            return _unknown(path)
        case "union_tag_invalid":
            text = f"is not a known type: use one of {_types()}"
            return Finding((*path, "type"), text)
        case "union_tag_not_found":
            return Finding((*path, "type"), f"is required: one of {_types()}")
    message = _MESSAGES.get(detail["type"], "is not valid")
    return Finding(path, message.format(**context))


def _path(location: tuple[int | str, ...]) -> KeyPath:
    """Drop the steps pydantic adds: the provider's type, and the mark of a key."""
    steps = location[:-1] if location[-1:] == ("[key]",) else location
    if steps[:1] == ("providers",) and steps[2:3] and steps[2] in PROVIDER_TYPES:
        return (*steps[:2], *steps[3:])
    return steps


def _missing(path: KeyPath) -> str:
    key = str(path[-1])
    if key in _FILES:
        return f"is required and must not be empty ({key} or {_FILES[key]})"
    return "is required and must not be empty"


def _types() -> str:
    return ", ".join(PROVIDER_TYPES)


def _unknown(path: KeyPath) -> Finding:
    key = str(path[-1])
    # Anything else may be a secret that lost its key: `{name: laptop, kp-4fz…}`.
    if not re.fullmatch(r"[A-Za-z_]{1,24}", key):
        return Finding(path[:-1], "holds a key that is not known")
    return Finding(path, f"is not a known key{_hint(key.lower(), path[:-1])}")


def _hint(key: str, place: KeyPath) -> str:
    # A key of the same section, if any is near, before one that belongs elsewhere.
    beside = dict(_sections()).get(str(place[0]), ()) if len(place) == 1 else ()
    near = difflib.get_close_matches(key, beside, n=1) or difflib.get_close_matches(
        key, _known(Section), n=1
    )
    if not near:
        return ""
    if near[0] != key:
        return f": did you mean {near[0]}?"
    home = next((name for name, keys in _sections() if key in keys), None)
    return f": did you mean {home}.{key}?" if home else " here"


def _sections() -> Iterator[tuple[str, Collection[str]]]:
    """Yield the sections of the top level, each with its keys."""
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield name, field.annotation.model_fields


def _known(section: type[Section]) -> set[str]:
    """Return the names of all keys of all sections."""
    names = set(section.model_fields) | set(SECRET_FILES)
    return names.union(*map(_known, section.__subclasses__()))
