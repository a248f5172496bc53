"""What the query says of a listing: how much, in which order."""

from typing import Literal

from flask import request

from kimi_proxy.errors import InvalidRequest

_MOST_DIGITS = 11


def whole(name: str, text: str, most: int | None = None) -> int:
    """A whole number from 1; raises `InvalidRequest` naming the field."""
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    value = int(text) if is_number else 0
    if value < 1 or (most is not None and value > most):
        upto = "" if most is None else f" to {most}"
        raise InvalidRequest(
            f"`{name}` must be a whole number from 1{upto}", param=name
        )
    return value


def limit(usual: int, most: int) -> int:
    """At most how many; raises `InvalidRequest`."""
    return whole("limit", request.args.get("limit", f"{usual}"), most)


def order() -> Literal["asc", "desc"]:
    """By age; the latest first unless asked otherwise. Raises `InvalidRequest`."""
    match request.args.get("order", "desc"):
        case "asc":
            return "asc"
        case "desc":
            return "desc"
    raise InvalidRequest("`order` must be asc or desc", param="order")
