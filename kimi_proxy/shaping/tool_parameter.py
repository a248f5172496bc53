"""Arguments written as tags: `<parameter name="city">Oslo</parameter>`."""

import re
from collections.abc import Mapping
from typing import Any

from kimi_proxy.shaping.tape import Tape, Wait
from kimi_proxy.shaping.tool_json import Malformed, parsed, written

_SPACE = re.compile(r"\s*")
_HEAD = re.compile(r"[^<>]*")
_NAME = re.compile(r"name\s*=\s*([\"'])(.+?)\1")
_NOT_A_TAG = re.compile(r"[^<]*")
_OPEN, _CLOSE = "<parameter ", "</parameter>"
_LONGEST_HEAD = 256


def read_parameters(tape: Tape, schema: Mapping[str, Any]) -> Wait[str]:
    """All parameters that follow, as the JSON text of an object.

    A tag does not tell a string from a number: `schema` does, else the value counts
    as JSON if it is JSON. Raises `Malformed`.
    """
    found: dict[str, Any] = {}
    while True:
        yield from tape.run(_SPACE)
        place = tape.place()
        if not (yield from tape.literal((_OPEN,))):
            tape.rewind(place)
            return written(found)
        head = yield from tape.run(_HEAD, _LONGEST_HEAD)
        name = _NAME.match(head.strip())
        if name is None or not (yield from tape.literal((">",))):
            raise Malformed(f"a {_OPEN.strip()}> has no name")
        text = yield from _until_closed(tape)
        found[name[2]] = _value(text, _kind(schema, name[2]))


def _until_closed(tape: Tape) -> Wait[str]:
    start = tape.place()
    while (yield from tape.more()):
        if tape.sight(_NOT_A_TAG):
            continue
        place = tape.place()
        if (yield from tape.literal((_CLOSE,))):
            return tape.since(start).removesuffix(_CLOSE)
        tape.rewind(place)
        tape.skip()
    raise Malformed(f"it was cut off before {_CLOSE}")


def _kind(schema: Mapping[str, Any], name: str) -> object:
    properties = schema.get("properties")
    of_one = properties.get(name) if isinstance(properties, Mapping) else None
    return of_one.get("type") if isinstance(of_one, Mapping) else None


def _value(text: str, kind: object) -> object:
    if kind == "string":
        # One line end after the tag and one before it are layout.
        return re.sub(r"\A\r?\n|\r?\n\Z", "", text)
    value = parsed(text.strip())
    return re.sub(r"\A\r?\n|\r?\n\Z", "", text) if isinstance(value, str) else value
