"""Names of tools as Moonshot takes them (sheet §3): 3 to 64 letters, digits, `_` and
`-`, the first a letter or `_`. Others go up under a name of ours and come back as their
own.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any

_PLAIN = re.compile(r"[a-zA-Z_][a-zA-Z0-9_-]{2,63}")
_OTHER = re.compile(r"[^a-zA-Z0-9_-]")
_LONGEST = 64
_DIGITS = 8

Wire = dict[str, Any]


def plain(name: str) -> str:
    """The same plain name for the same name, and for no other one."""
    if _PLAIN.fullmatch(name):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    readable = _OTHER.sub("_", name)[: _LONGEST - _DIGITS - 2]
    return f"_{readable}-{digest}"


def write_plainly(body: Wire) -> dict[str, str]:
    """Put plain names into `body`; what they stand for, if any had to be changed."""
    names: dict[str, str] = {}

    def changed(name: Any) -> Any:
        if not isinstance(name, str) or name == plain(name):
            return name
        names[plain(name)] = name
        return plain(name)

    for field in ("tools", "messages"):
        found = body.get(field)
        if isinstance(found, list):
            body[field] = [_WRITERS[field](item, changed) for item in found]
    choice = body.get("tool_choice")
    if isinstance(choice, Mapping):
        body["tool_choice"] = _function(choice, changed)
    return names


Change = Callable[[Any], Any]


def _function(holder: Any, changed: Change) -> Any:
    """A tool, a call or a choice, whose name is within `function`."""
    if not isinstance(holder, Mapping) or holder.get("type") != "function":
        return holder
    function = holder.get("function")
    if not isinstance(function, Mapping) or "name" not in function:
        return holder
    return {**holder, "function": {**function, "name": changed(function["name"])}}


def _message(message: Any, changed: Change) -> Any:
    """The calls of a message; a tool's result may name its tool, too."""
    if not isinstance(message, Mapping):
        return message
    changes: Wire = {}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        changes["tool_calls"] = [_function(call, changed) for call in calls]
    if message.get("role") == "tool" and "name" in message:
        changes["name"] = changed(message["name"])
    return {**message, **changes} if changes else message


_WRITERS: Mapping[str, Callable[[Any, Change], Any]] = {
    "tools": _function,
    "messages": _message,
}
