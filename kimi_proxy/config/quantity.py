"""Numbers as the configuration writes them: counts, seconds, sizes in bytes."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

_SIZE = re.compile(r"(\d{1,15})\s*(B|KB|MB|GB|KiB|MiB|GiB)?", re.IGNORECASE)
_UNITS = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
}


def parse_size(value: object) -> object:
    """Turn "64MiB" into 67108864; whole numbers pass as they are.

    Raises PydanticCustomError for a text that is not a size.
    """
    if not isinstance(value, str):
        return _number(value)
    match = _SIZE.fullmatch(value.strip())
    if match is None:
        raise PydanticCustomError("config", "must be a size such as 64MiB")
    return int(match[1]) * _UNITS[(match[2] or "b").lower()]


def _number(value: object) -> object:
    # YAML reads `yes` as true, and pydantic would read true as 1.
    if isinstance(value, bool):
        raise PydanticCustomError("config", "must be a number")
    return value


Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Seconds = Annotated[Real, Field(gt=0)]
Patience = Annotated[Real, Field(ge=0)]
Bytes = Annotated[int, BeforeValidator(parse_size), Field(ge=1024)]
