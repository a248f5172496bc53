"""Anthropic's `tools` and `tool_choice`, checked."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_proxy.chat import Tool, ToolChoice
from kimi_proxy.dialects.anthropic_wire import Choice
from kimi_proxy.errors import InvalidRequest, Unsupported

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,128}")
# Anthropic's own search stands for that of whoever answers.
_SEARCH = re.compile(r"web_search(_\d{8})?")
_SEARCH_NAME = "web_search"
_SEARCH_LIMITS = ("allowed_domains", "blocked_domains")


@dataclass(frozen=True, slots=True)
class Tools:
    """What a request says of tools; `search` when the web search is one of them.

    `ignored` are the limits of a search that nobody can keep to.
    """

    functions: tuple[Tool, ...]
    choice: ToolChoice
    parallel: bool
    search: bool
    ignored: tuple[str, ...] = ()


def tools_of(given: Sequence[Mapping[str, Any]], choice: Choice | None) -> Tools:
    """Raises `InvalidRequest` or `Unsupported` naming the field."""
    found: dict[str, Tool] = {}
    search, ignored = False, list[str]()
    for index, item in enumerate(given):
        path = f"tools.{index}"
        if _is_search(item):
            search = True
            limits = (name for name in _SEARCH_LIMITS if item.get(name))
            ignored += [f"tools.web_search.{name}" for name in limits]
            continue
        tool = _function(item, path)
        if tool.name in found:
            raise InvalidRequest(f"two tools are called {tool.name!r}", param=path)
        found[tool.name] = tool
    return Tools(
        functions=tuple(found.values()),
        choice=_chosen(found, choice, search),
        parallel=choice is None or not choice.disable_parallel_tool_use,
        search=search,
        ignored=tuple(ignored),
    )


def _is_search(item: Mapping[str, Any]) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and _SEARCH.fullmatch(kind) is not None


def _function(item: Mapping[str, Any], path: str) -> Tool:
    kind = item.get("type")
    if kind not in (None, "custom"):
        raise Unsupported(
            f"tools of type {str(kind)[:40]!r} are not supported: they run on "
            "Anthropic's servers, or only its models were taught them",
            param=f"{path}.type",
        )
    name, description = item.get("name"), item.get("description")
    schema = item.get("input_schema")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidRequest(
            "must be 1 to 128 letters, digits, dots, dashes or underscores",
            param=f"{path}.name",
        )
    if description is not None and not isinstance(description, str):
        raise InvalidRequest("must be a string", param=f"{path}.description")
    if not isinstance(schema, dict) or schema.get("type", "object") != "object":
        raise InvalidRequest(
            "must be a JSON Schema of type 'object'", param=f"{path}.input_schema"
        )
    return Tool(name, description or "", schema, item.get("strict") is True)


def _chosen(
    tools: Mapping[str, Tool], choice: Choice | None, search: bool
) -> ToolChoice:
    """A search cannot be made a must: whoever searches decides by the question."""
    if choice is None or choice.type == "auto":
        return ToolChoice("auto")
    if choice.type == "none":
        return ToolChoice("none")
    if choice.type == "any":
        if not tools and not search:
            raise InvalidRequest("no tool is given", param="tool_choice")
        return ToolChoice("auto" if search else "required")
    if choice.name is None:
        raise InvalidRequest("Field required", param="tool_choice.name")
    if choice.name == _SEARCH_NAME and search and _SEARCH_NAME not in tools:
        return ToolChoice("auto")
    if choice.name not in tools:
        message = f"no tool is called {choice.name[:64]!r}"
        raise InvalidRequest(message, param="tool_choice.name")
    return ToolChoice("required", choice.name)
