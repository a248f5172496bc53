"""The tools of a Responses request: what the model is told, and what calls are called.

Upstreams know functions only. A custom tool, whose input is free text, becomes a
function with one string; the local shell a function with a command; the tools of a
namespace get its name before theirs. Calls are told to the client in its own words.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from kimi_proxy.chat import Tool, ToolChoice
from kimi_proxy.dialects.openai_tools import chosen, function_of, is_search
from kimi_proxy.errors import InvalidRequest, Unsupported

Kind = Literal["function", "custom", "local_shell"]

SHELL = "local_shell"
_INPUT = "input"
# The service would run these itself. They widen what an answer may be made of; without
# them there is one all the same.
_DISPENSABLE = frozenset({"image_generation", "tool_search"})
_FREE_TEXT = "The whole input of the tool as plain text, not wrapped in JSON or quotes."
_SHELL_TOOL = Tool(
    SHELL,
    "Runs a command on the user's machine and returns its output.",
    {
        "type": "object",
        "properties": {
            "command": {
                "type": "array",
                "items": {"type": "string"},
                "description": "The program and its arguments.",
            },
            "working_directory": {"type": "string"},
            "timeout_ms": {"type": "integer"},
        },
        "required": ["command"],
    },
)


@dataclass(frozen=True, slots=True)
class Name:
    """What the client calls a tool, and of which kind it is there."""

    kind: Kind
    name: str
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class Tools:
    """What a request says of tools.

    `names` has those that the client calls otherwise than the model does. `search`:
    the web search is among them. `ignored` are types of tools that are left out,
    and what a search is not kept to.
    """

    functions: tuple[Tool, ...] = ()
    choice: ToolChoice = field(default_factory=ToolChoice)
    search: bool = False
    names: Mapping[str, Name] = field(default_factory=dict, hash=False)
    ignored: tuple[str, ...] = ()

    def named(self, name: str) -> Name:
        """What the client calls the model's tool."""
        return self.names.get(name) or Name("function", name)


def tools_of(
    listed: list[dict[str, Any]] | None, choice: str | Mapping[str, Any] | None
) -> Tools:
    """Raises `InvalidRequest` naming the field, `Unsupported` for a tool that only
    OpenAI's own service has."""
    found: dict[str, Tool] = {}
    names: dict[str, Name] = {}
    ignored: list[str] = []
    search = False
    for index, item in enumerate(listed or ()):
        path = f"tools[{index}]"
        kind = item.get("type", "function")
        if is_search(item):
            search = True
            ignored += ["tools.web_search.filters"] if item.get("filters") else []
        elif isinstance(kind, str) and kind in _DISPENSABLE:
            ignored.append(f"tools.{kind}")
        else:
            for tool, name in _told(item, kind, path):
                if tool.name in found:
                    message = f"two tools are called {tool.name!r}"
                    raise InvalidRequest(message, param=path)
                found[tool.name] = tool
                if name is not None:
                    names[tool.name] = name
    functions, wanted = _chosen(tuple(found.values()), choice, search)
    return Tools(functions, wanted, search, names, tuple(ignored))


def _told(
    item: dict[str, Any], kind: Any, path: str
) -> Iterator[tuple[Tool, Name | None]]:
    """The functions that a tool becomes, with what the client calls them."""
    match kind:
        case "function":
            yield function_of(item, path), None
        case "custom":
            tool = _custom(item, path)
            yield tool, Name("custom", tool.name)
        case "local_shell":
            yield _SHELL_TOOL, Name("local_shell", SHELL)
        case "namespace":
            yield from _spaced(item, path)
        case str():
            message = f"tools of type {kind[:40]!r} are not supported"
            raise Unsupported(message, param=f"{path}.type")
        case _:
            raise InvalidRequest("must be a string", param=f"{path}.type")


def _custom(item: dict[str, Any], path: str) -> Tool:
    """A tool of free text; its grammar can only be described to the model."""
    inner = item.get("custom", item)
    if not isinstance(inner, dict):
        raise InvalidRequest("must be an object", param=f"{path}.custom")
    plain = {k: inner.get(k) for k in ("name", "description")}
    tool = function_of({k: v for k, v in plain.items() if v is not None}, path)
    form = inner.get("format")
    words = [tool.description, _grammar(form) if isinstance(form, dict) else ""]
    text = {"type": "string", "description": _FREE_TEXT}
    schema = {"type": "object", "properties": {_INPUT: text}, "required": [_INPUT]}
    return Tool(tool.name, "\n\n".join(filter(None, words)), schema)


def _grammar(form: Mapping[str, Any]) -> str:
    told = form.get("grammar", form)
    definition = told.get("definition") if isinstance(told, dict) else None
    if form.get("type") != "grammar" or not isinstance(definition, str):
        return ""
    return f"The input has to follow this {told.get('syntax')} grammar:\n{definition}"


def _spaced(item: dict[str, Any], path: str) -> Iterator[tuple[Tool, Name | None]]:
    space, inner = item.get("name"), item.get("tools")
    if not isinstance(space, str) or not isinstance(inner, list):
        raise InvalidRequest("a namespace needs `name` and `tools`", param=path)
    for index, each in enumerate(inner):
        place = f"{path}.tools[{index}]"
        if not isinstance(each, dict):
            raise InvalidRequest("must be an object", param=place)
        kind = each.get("type", "function")
        if kind not in ("function", "custom"):
            message = "a namespace may hold functions and custom tools only"
            raise Unsupported(message, param=f"{place}.type")
        tool = function_of(each, place) if kind == "function" else _custom(each, place)
        named = Name(kind, tool.name, space)
        whole = spaced(space, tool.name)
        described = function_of({"name": whole}, place)
        yield (
            Tool(described.name, tool.description, tool.parameters, tool.strict),
            named,
        )


def spaced(space: str | None, name: str) -> str:
    """What the model calls a tool of a namespace."""
    return name if space is None else f"{space}__{name}"


def _chosen(
    functions: tuple[Tool, ...], choice: str | Mapping[str, Any] | None, search: bool
) -> tuple[tuple[Tool, ...], ToolChoice]:
    if not isinstance(choice, Mapping):
        if choice == "required" and search and not functions:
            return functions, ToolChoice()  # the search is on: there is no other tool
        return chosen(functions, choice)
    kind = choice.get("type")
    if kind == "custom":
        return chosen(functions, {"type": "function", "name": choice.get("name")})
    if kind == "local_shell":
        return chosen(functions, {"type": "function", "name": SHELL})
    if is_search(choice) and search:
        return functions, ToolChoice()
    if kind in ("function", "allowed_tools"):
        return chosen(functions, choice)
    if isinstance(kind, str):
        message = f"a choice of type {kind[:40]!r} is not supported"
        raise Unsupported(message, param="tool_choice.type")
    raise InvalidRequest("must be a string", param="tool_choice.type")


def free_text(arguments: str) -> str:
    """What a custom tool was called with; a model that wrote the text itself is not
    held to the wrapping."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    text = value.get(_INPUT) if isinstance(value, dict) else None
    return text if isinstance(text, str) else arguments


def wrapped(text: str) -> str:
    """The arguments of the function that stands for a custom tool."""
    return json.dumps({_INPUT: text}, ensure_ascii=False)


def action_of(arguments: str) -> dict[str, Any]:
    """What the local shell is to do, as the client reads it."""
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        value = None
    given = value if isinstance(value, dict) else {}
    command = given.get("command")
    words = command if isinstance(command, list) else [command or arguments]
    action = {"type": "exec", "command": [str(word) for word in words], "env": {}}
    for name in ("working_directory", "timeout_ms"):
        if given.get(name) is not None:
            action[name] = given[name]
    return action


def action_text(action: Mapping[str, Any]) -> str:
    """The arguments of the function that stands for the local shell."""
    names = ("command", "working_directory", "timeout_ms")
    told = {name: action[name] for name in names if action.get(name) is not None}
    return json.dumps(told, ensure_ascii=False)
