"""Says in words that a model can act on where a value breaks its JSON Schema."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache, partial
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from kimi_proxy.shaping import schema_pattern

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MOST = 3
_VALUES = frozenset({"const", "enum", "default", "examples"})
_MOST_CHARACTERS = 300
_MOST_KEPT = 128
_LONGEST_KEPT = 32 * 1024  # characters
# Each may lead to two more, and so on: a second of work, for an answer of megabytes.
_MOST_REFERENCES = 50_000
_references: ContextVar[Iterator[int]] = ContextVar("references")


def problem(schema: Mapping[str, Any], value: Any) -> str | None:
    """At most three violations, each with its path; None when the value is right.

    Raises `ValueError`, see `checker`.
    """
    return checker(schema)(value)


def checker(schema: Mapping[str, Any]) -> Callable[[Any], str | None]:
    """`problem` for several values.

    The dialect is the schema's `$schema`, else Draft 2020-12. Formats are notes, not
    rules, as the standard has it. It and what it makes raise `ValueError` if the schema
    itself is wrong, or refers to one that is not in it: nothing is ever fetched.
    """
    with _explained():
        validator = _validator(schema)

    def check(value: Any) -> str | None:
        _references.set(iter(range(_MOST_REFERENCES)))
        with _explained():
            errors = list(islice(validator.iter_errors(value), _MOST + 1))
        told = [_told(error) for error in errors[:_MOST]]
        if len(errors) > _MOST:
            told.append("and more")
        return "; ".join(told) or None

    return check


@contextmanager
def _explained() -> Iterator[None]:
    # The library comes in with the first check, here and below: it costs a worker
    # time to start and memory, and most workers never see a schema.
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 (see above)

    try:
        yield
    except Unresolvable as exc:
        raise ValueError(f"the JSON Schema lacks what it refers to: {exc.ref}") from exc
    except RecursionError as exc:
        text = "the JSON Schema or the value is too deep, or the schema has no end"
        raise ValueError(text) from exc
    except ArithmeticError as exc:
        raise ValueError(f"a number is beyond the JSON Schema: {exc}") from exc
    except (TypeError, AttributeError, LookupError) as exc:
        # What the library stumbles over before it looks: a `$schema` that is no text.
        raise ValueError("not a valid JSON Schema: it cannot be read") from exc


def require_usable(schema: Mapping[str, Any]) -> None:
    """Raises `ValueError` also for what only some values would lead to.

    References count as in a schema that names no address of its own (`$id`).
    """
    problem(schema, None)
    parts = list(_parts(schema))
    addressed = any("$id" in part for part in parts)
    for part in parts:
        reference = part.get("$ref")
        if not addressed and isinstance(reference, str):
            _require_target(schema, parts, reference)
        for pattern in (part.get("pattern"), *_keys(part.get("patternProperties"))):
            if isinstance(pattern, str):
                schema_pattern.require(pattern)


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """The objects in a schema, but for those that are values."""
    waiting = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            waiting += [inner for key, inner in part.items() if key not in _VALUES]
        elif isinstance(part, list):
            waiting += part


def _keys(value: Any) -> Iterable[str]:
    return value if isinstance(value, Mapping) else ()


def _require_target(
    schema: Mapping[str, Any], parts: Iterable[Mapping[str, Any]], reference: str
) -> None:
    document, _, pointer = reference.partition("#")
    found = not document
    if pointer.startswith("/"):
        found = found and _has(schema, unquote(pointer))
    elif pointer:
        anchors = ("$anchor", "$dynamicAnchor")
        found = found and any(pointer == p.get(a) for p in parts for a in anchors)
    if not found:
        raise ValueError(f"the JSON Schema lacks what it refers to: {reference[:200]}")


def _has(place: Any, pointer: str) -> bool:
    """Whether a JSON pointer (RFC 6901) leads anywhere."""
    for written in pointer.split("/")[1:]:
        step = written.replace("~1", "/").replace("~0", "~")
        if isinstance(place, Mapping) and step in place:
            place = place[step]
        elif isinstance(place, list) and step.isdecimal() and int(step) < len(place):
            place = place[int(step)]
        else:
            return False
    return True


def _validator(schema: Mapping[str, Any]) -> Validator:
    """Reading a schema takes milliseconds, and agents send the same ones each time."""
    text = json.dumps(schema)
    return _kept(text) if len(text) <= _LONGEST_KEPT else _read(text)


@lru_cache(_MOST_KEPT)
def _kept(text: str) -> Validator:
    return _read(text)


def _read(text: str) -> Validator:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 (problem)
    from jsonschema.validators import validator_for  # noqa: PLC0415 (problem)
    from referencing import Registry  # noqa: PLC0415 (problem)

    whole = json.loads(text)
    known = validator_for(whole, default=Draft202012Validator)
    try:
        known.check_schema(whole)
    except SchemaError as exc:
        why = _short(exc.message)
        raise ValueError(f"not a valid JSON Schema: {exc.json_path}: {why}") from exc
    if {"patternProperties", "unevaluatedProperties"} <= _keywords(whole):
        raise ValueError(
            "`unevaluatedProperties` beside `patternProperties` cannot be checked"
        )
    # An empty registry knows no address and has no way to fetch one.
    validator: Validator = _bounded(known)(whole, registry=Registry())
    return validator


def _keywords(schema: Mapping[str, Any]) -> set[str]:
    return {key for part in _parts(schema) for key in part}


def _bounded(known: Any) -> Any:
    """The same dialect, with an end to what a schema could make endless: while it is
    checked, nothing else of the worker runs."""
    from jsonschema.validators import extend  # noqa: PLC0415 (problem)

    rules = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": partial(
            _additional_properties, known.VALIDATORS.get("additionalProperties")
        ),
        **{
            name: partial(_reference, known.VALIDATORS.get(name))
            for name in ("$ref", "$dynamicRef", "$recursiveRef")
        },
    }
    extended: Any = extend  # which has no types
    return extended(known, {k: v for k, v in rules.items() if k in known.VALIDATORS})


def _reference(
    known: Any, validator: Any, name: Any, value: Any, schema: Any
) -> Iterator[ValidationError]:
    """The library's own rule, counted."""
    if next(_references.get(), None) is None:
        raise ValueError("the JSON Schema refers to its parts too often")
    yield from known(validator, name, value, schema) or ()


def _pattern(
    validator: Any, pattern: str, value: Any, _: Any
) -> Iterator[ValidationError]:
    from jsonschema.exceptions import ValidationError  # noqa: PLC0415 (problem)

    if validator.is_type(value, "string") and not schema_pattern.found(pattern, value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], value: Any, _: Any
) -> Iterator[ValidationError]:
    if not validator.is_type(value, "object"):
        return
    for pattern, schema in patterns.items():
        for name in value:
            if schema_pattern.found(pattern, name):
                yield from validator.descend(
                    value[name], schema, path=name, schema_path=pattern
                )


def _additional_properties(
    known: Any, validator: Any, rule: Any, value: Any, schema: Mapping[str, Any]
) -> Iterator[ValidationError]:
    """The library's own rule, of what no pattern has named."""
    patterns = schema.get("patternProperties", {})
    if patterns and validator.is_type(value, "object"):
        named = {n for n in value if any(schema_pattern.found(p, n) for p in patterns)}
        value = {name: each for name, each in value.items() if name not in named}
        schema = {k: v for k, v in schema.items() if k != "patternProperties"}
    yield from known(validator, rule, value, schema) or ()


def _told(error: ValidationError) -> str:
    from jsonschema.exceptions import best_match  # noqa: PLC0415 (problem)

    # Of `anyOf` and its like the branch that came nearest says more than "no match".
    nearest = best_match(iter([error])) or error
    return f"{nearest.json_path}: {_short(nearest.message)}"


def _short(text: str) -> str:
    if len(text) <= _MOST_CHARACTERS:
        return text
    # The value, quoted first, is what makes it long; the reason stands at the end.
    half = _MOST_CHARACTERS // 2
    return f"{text[:half]} ... {text[-half:]}"
