"""JSON as it is sent to clients."""

import json
from typing import Any

import orjson


def dump(value: object) -> bytes:
    """JSON; half a surrogate pair, which UTF-8 cannot carry, becomes U+FFFD."""
    try:
        return orjson.dumps(value)
    except TypeError:
        return json.dumps(_mended(value), ensure_ascii=False).encode()


def _mended(value: Any) -> Any:
    match value:
        case str():
            pairs = value.encode("utf-16-le", "surrogatepass")
            return pairs.decode("utf-16-le", "replace")
        case dict():
            return {_mended(k): _mended(v) for k, v in value.items()}
        case list() | tuple():
            return [_mended(item) for item in value]
        case _:
            return value
