"""Says in words that a model can act on where a value breaks its JSON Schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema.exceptions import ValidationError
    from jsonschema.protocols import Validator

_MOST = 3
_MOST_CHARACTERS = 300


def problem(schema: Mapping[str, Any], value: Any) -> str | None:
    """At most three violations, each with its path; None when the value is right.

    The dialect is the schema's `$schema`, else Draft 2020-12. Formats are notes, not
    rules, as the standard has it. Raises `ValueError` if the schema itself is wrong,
    or refers to one that is not in it: nothing is ever fetched.
    """
    # The library comes in with the first check, here and below: it costs a worker
    # time to start and memory, and most workers never see a schema.
    from referencing.exceptions import Unresolvable  # noqa: PLC0415 (see above)

    try:
        errors = list(islice(_validator(schema).iter_errors(value), _MOST + 1))
    except Unresolvable as exc:
        raise ValueError(f"the JSON Schema lacks what it refers to: {exc.ref}") from exc
    except re.error as exc:
        raise ValueError(f"the JSON Schema has a pattern that fails: {exc}") from exc
    except RecursionError as exc:
        text = "the JSON Schema or the value is too deep, or the schema has no end"
        raise ValueError(text) from exc
    except ArithmeticError as exc:
        raise ValueError(f"a number is beyond the JSON Schema: {exc}") from exc
    told = [_told(error) for error in errors[:_MOST]]
    if len(errors) > _MOST:
        told.append("and more")
    return "; ".join(told) or None


def _validator(schema: Mapping[str, Any]) -> Validator:
    from jsonschema import Draft202012Validator, SchemaError  # noqa: PLC0415 (problem)
    from jsonschema.validators import validator_for  # noqa: PLC0415 (problem)
    from referencing import Registry  # noqa: PLC0415 (problem)

    whole = dict(schema)
    known = validator_for(whole, default=Draft202012Validator)
    try:
        known.check_schema(whole)
    except SchemaError as exc:
        text = _short(exc.message)
        raise ValueError(f"not a valid JSON Schema: {exc.json_path}: {text}") from exc
    # An empty registry knows no address and has no way to fetch one.
    return known(whole, registry=Registry())


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
