"""OpenAI's `tools`, `tool_choice` and `response_format`, checked."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from kimi_proxy.chat import JsonFormat, Need, Tool, ToolChoice
from kimi_proxy.dialects.openai_wire import Body, Format
from kimi_proxy.errors import InvalidRequest

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
# The service's own search, in the words of OpenAI's Responses API.
_SEARCHES = re.compile(r"web_search(_preview)?(_\d{4}_\d{2}_\d{2})?")
_BUILT_IN_SEARCH = "$web_search"  # Moonshot's word for it


@dataclass(frozen=True, slots=True)
class Tools:
    """What a request says of tools; `search` when the web search is one of them."""

    functions: tuple[Tool, ...]
    choice: ToolChoice
    search: bool


def tools_of(body: Body, needs: list[Need]) -> Tools:
    """Raises `InvalidRequest` naming the field.

    Tools that are no functions are added to the `needs`.
    """
    others = []
    if body.functions:
        message = "`functions` is not supported: use `tools`"
        others.append(Need(message, "functions"))
    found: dict[str, Tool] = {}
    search = False
    for index, item in enumerate(body.tools or ()):
        path = f"tools[{index}]"
        if is_search(item):
            search = True
            continue
        kind = item.get("type", "function")
        if not isinstance(kind, str):
            raise InvalidRequest("must be a string", param=f"{path}.type")
        if kind != "function":
            message = f"tools of type {kind[:40]!r} are not supported"
            others.append(Need(message, f"{path}.type"))
            continue
        tool = function_of(item, path)
        if tool.name in found:
            raise InvalidRequest(f"two tools are called {tool.name!r}", param=path)
        found[tool.name] = tool
    needs += others
    functions = tuple(found.values())
    if others:  # what may be chosen is for whoever knows them to judge
        return Tools(functions, ToolChoice(), search)
    functions, choice = chosen(functions, body.tool_choice)
    return Tools(functions, choice, search)


def is_search(item: Mapping[str, Any]) -> bool:
    """Whether a tool is the web search, in the words of OpenAI or Moonshot."""
    kind = item.get("type")
    if kind == "builtin_function":
        function = item.get("function")
        return isinstance(function, dict) and function.get("name") == _BUILT_IN_SEARCH
    return isinstance(kind, str) and _SEARCHES.fullmatch(kind) is not None


def function_of(item: Mapping[str, Any], path: str) -> Tool:
    """A function, checked; raises `InvalidRequest` naming the field below `path`."""
    # Responses has the same fields one level up.
    nested = "function" in item
    function = item["function"] if nested else item
    path = f"{path}.function" if nested else path
    if not isinstance(function, dict):
        raise InvalidRequest("must be an object", param=path)
    name, description = function.get("name"), function.get("description")
    parameters = function.get("parameters")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            "must be 1 to 64 letters, digits, dots, dashes or underscores",
            param=f"{path}.name",
        )
    if description is not None and not isinstance(description, str):
        raise InvalidRequest("must be a string", param=f"{path}.description")
    if parameters is not None:
        _require_object_schema(parameters, f"{path}.parameters")
    return Tool(name, description or "", parameters or {}, bool(function.get("strict")))


def _require_object_schema(schema: Any, path: str) -> None:
    """Refuse what no arguments can satisfy; a JSON Schema is not checked further.

    That would cost 9 ms for each tool of each request, and many a schema is wrong in
    a way that harms nobody.
    """
    if not isinstance(schema, dict):
        raise InvalidRequest("must be a JSON Schema", param=path)
    kind = schema.get("type")
    if kind is not None and kind != "object" and "object" not in _listed(kind):
        raise InvalidRequest("must be a JSON Schema of type 'object'", param=path)


def _listed(kind: Any) -> list[Any]:
    return kind if isinstance(kind, list) else []


def chosen(
    tools: tuple[Tool, ...], choice: str | Mapping[str, Any] | None
) -> tuple[tuple[Tool, ...], ToolChoice]:
    """The tools that may be called, and whether; raises `InvalidRequest`."""
    if isinstance(choice, Mapping):
        return _picked(tools, choice)
    match choice:
        case None | "auto":
            return tools, ToolChoice("auto")
        case "none":
            return tools, ToolChoice("none")
        case "required":
            _require(tools, "no tool is given")
            return tools, ToolChoice("required")
    raise InvalidRequest(
        "must be 'none', 'auto', 'required' or name a function", param="tool_choice"
    )


def _picked(
    tools: tuple[Tool, ...], choice: Mapping[str, Any]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    if choice.get("type") == "allowed_tools":
        return _allowed(tools, choice)
    if choice.get("type") != "function":
        raise InvalidRequest("must name a function", param="tool_choice.type")
    name = _named(choice, "tool_choice.function.name")
    _require([t for t in tools if t.name == name], f"no tool is called {name[:64]!r}")
    return tools, ToolChoice("required", name)


def _require(found: Collection[Tool], otherwise: str) -> None:
    if not found:
        raise InvalidRequest(otherwise, param="tool_choice")


def _allowed(
    tools: tuple[Tool, ...], choice: Mapping[str, Any]
) -> tuple[tuple[Tool, ...], ToolChoice]:
    inner = choice.get("allowed_tools", choice)
    listed = inner.get("tools") if isinstance(inner, dict) else None
    path = "tool_choice.allowed_tools.tools"
    if not isinstance(listed, list):
        raise InvalidRequest("must be a list", param=path)
    names = {_named(item, path) for item in listed if isinstance(item, dict)}
    allowed = tuple(tool for tool in tools if tool.name in names)
    _require(allowed, "allows none of the tools that are given")
    mode = inner.get("mode", "auto")
    if mode not in ("auto", "required"):
        path = "tool_choice.allowed_tools.mode"
        raise InvalidRequest("must be 'auto' or 'required'", param=path)
    return allowed, ToolChoice(mode)


def _named(item: Mapping[str, Any], path: str) -> str:
    function = item.get("function", item)
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(name, str):
        raise InvalidRequest("must name a function", param=path)
    return name


def json_format_of(wanted: Format | None, needs: list[Need]) -> JsonFormat | None:
    """None for plain text; raises `InvalidRequest`.

    A format that is not known is added to the `needs`.
    """
    if wanted is None or wanted.type == "text":
        return None
    if wanted.type == "json_object":
        return JsonFormat()
    if wanted.type != "json_schema":
        message = "only 'text', 'json_object' and 'json_schema' are supported"
        needs.append(Need(message, "response_format.type"))
        return None
    described = wanted.json_schema
    if described is None or described.document is None:
        raise InvalidRequest("is required", param="response_format.json_schema.schema")
    return JsonFormat(described.document, described.name)
