"""Every status that a failure can have, drawn from the tree of errors."""

from collections.abc import Iterator
from http import HTTPStatus

from kimi_proxy.errors import GatewayError
from kimi_proxy.reference import chat_shape, messages_shape
from kimi_proxy.reference.shape import Json, Schemas

# Nobody is left to read the one; the other belongs to no operation that there is.
_NEVER = {499, HTTPStatus.METHOD_NOT_ALLOWED}
_RETRIED = {408, 409, 429, *range(500, 600)}
_RETRY = ("retry-after", "retry-after-ms", "x-should-retry")
ALWAYS = ("x-request-id", "request-id")
RATES = (
    "x-ratelimit-limit-requests",
    "x-ratelimit-remaining-requests",
    "x-ratelimit-reset-requests",
)


def statuses() -> frozenset[int]:
    """All statuses of errors that an operation can end with."""
    return frozenset({kind.status for kind in _kinds(GatewayError)} - _NEVER)


def answers(schemas: Schemas, headers: Json) -> Json:
    """`components.responses`: each status in each dialect, and where it may be both."""
    ours = schemas.add(chat_shape.Error)
    theirs = schemas.add(messages_shape.AnthropicError)
    either = {"anyOf": [ours, theirs]}
    dialects = {"Error": ours, "AnthropicError": theirs, "EitherError": either}
    return {
        f"{dialect}{status}": _answer(status, schema, headers)
        for dialect, schema in dialects.items()
        for status in sorted(statuses())
    }


def references(found: frozenset[int], dialect: str) -> Json:
    """An operation's failures, by status."""
    return {
        str(status): {"$ref": f"#/components/responses/{dialect}{status}"}
        for status in sorted(found)
    }


def _answer(status: int, schema: Json, headers: Json) -> Json:
    codes = {kind.code for kind in _kinds(GatewayError) if kind.status == status}
    named = ", ".join(f"`{code}`" for code in sorted(codes - {None}, key=str))
    phrase = HTTPStatus(status).phrase
    kept = [*ALWAYS]
    kept += _RETRY if status in _RETRIED else ()
    kept += RATES if status == HTTPStatus.TOO_MANY_REQUESTS else ()
    return {
        "description": f"{phrase}: {named}" if named else phrase,
        "headers": {name: headers[name] for name in kept},
        "content": {"application/json": {"schema": schema}},
    }


def _kinds(kind: type[GatewayError]) -> Iterator[type[GatewayError]]:
    """It and all narrower ones of the tree; what grew elsewhere is for other eyes."""
    if kind.__module__ == GatewayError.__module__:
        yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds(narrower)
