"""Puts tools into words: what the model has to read to call them in its text.

Calls are written as `tool_parser` reads them, and in the history just as the model
is told to write them, since it follows what it sees more than what it is told.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kimi_proxy.chat import Tool, ToolChoice

_HEAD = """\
# Tools

The tools below can be called from your answer: whoever runs them reads it. There is
no other way to call them, and a tool of any other name does not exist here.
"""
_FORMAT = """\
## How to call a tool

Write exactly this, on lines of its own, outside of any code block:

{example}

- "name" is the name of a tool above. "arguments" is one JSON object which satisfies
  the JSON Schema of that tool: all required properties, the right types, no others
  where it forbids them. It is valid JSON: double quotes, line ends in strings as \\n.
- {count}
- Before a call you may say in a sentence what you do. After the last </tool_call>
  stop: the result is given to you in the next message, as <tool_result>. Never write
  a result yourself, and never say that you called a tool without such a block."""
_ONE = "Make at most one call in an answer."
_MANY = (
    "For several calls write several blocks, one after the other. Only calls that do"
    " not need each other's results go into one answer."
)
_AUTO = "Call a tool only if it helps; otherwise just answer."
_REQUIRED = "Your next answer must call at least one of the tools."
_NAMED = "Your next answer must call the tool {name}, and no other."
_NONE = "Do not call a tool now: answer in plain text, without any <tool_call> block."
_REMINDER = (
    "(Tools: {names}. To call one, write a <tool_call> block with JSON of"
    ' "name" and "arguments", as described above. {count} {rule})'
)
_CORRECTION = """\
The tool call in your last answer could not be carried out: {why}. You wrote:

<answer>
{text}
</answer>

Write the call again, complete and correct, and nothing else. The form is:

{example}

The tools are: {names}."""
_MOST_QUOTED = 2000
# Any tag of ours, in whatever a tool gave or was given; also Kimi's own tokens.
_TAG = re.compile(r"<(?=\s*/?\s*(?:tool_|function_call|invoke)|\|)", re.I)


def instructions(tools: Iterable[Tool], choice: ToolChoice, parallel: bool) -> str:
    """The whole description: every tool, the form of a call, and what is asked for.

    With the choice "none" the model is told of the tools, as the history may speak
    of them, but not how to call one.
    """
    offered = _offered(tools, choice)
    parts = [_HEAD, *(_described(tool) for tool in offered)]
    if choice.mode != "none":
        example = call_text("tool_name", '{"parameter": "value"}')
        parts.append(_FORMAT.format(example=example, count=_count(parallel)))
    return "\n".join([*parts, "", _rule(choice)])


def reminder(tools: Iterable[Tool], choice: ToolChoice, parallel: bool) -> str:
    """The same in a line, for a later turn of a chat that has the instructions."""
    if choice.mode == "none":
        return f"({_NONE})"
    names = ", ".join(tool.name for tool in _offered(tools, choice))
    count = _ONE if not parallel else ""
    text = _REMINDER.format(names=names, count=count, rule=_rule(choice))
    return text.replace("  ", " ")


def call_text(name: str, arguments: str) -> str:
    """A call as it stands in the history; `arguments` is JSON text.

    A tag inside one of its strings is written with an escape, so that it ends nothing.
    """
    quoted = json.dumps(name, ensure_ascii=False)
    body = f'{{"name": {quoted}, "arguments": {_valid(arguments)}}}'
    escaped = _TAG.sub(r"\\u003c", body)
    return f"<tool_call>\n{escaped}\n</tool_call>"


def result_text(name: str, call_id: str, content: str) -> str:
    """A tool's result as it stands in the history.

    No tag in the content can end the result or look like a call: its `<` is written
    as `&lt;`. All other text, other tags too, stays as it is.
    """
    head = f'name="{_attribute(name)}" id="{_attribute(call_id)}"'
    return f"<tool_result {head}>\n{_harmless(content)}\n</tool_result>"


def correction(broken_text: str, why: str, tools: Iterable[Tool]) -> str:
    """What to answer to a broken call, so that the model writes it again."""
    text = broken_text
    if len(text) > _MOST_QUOTED:
        half = _MOST_QUOTED // 2
        text = f"{text[:half]}\n[...]\n{text[-half:]}"
    return _CORRECTION.format(
        why=_harmless(why),
        text=text.replace("</answer", "&lt;/answer"),
        example=call_text("tool_name", '{"parameter": "value"}'),
        names=", ".join(tool.name for tool in tools),
    )


def _offered(tools: Iterable[Tool], choice: ToolChoice) -> Iterator[Tool]:
    for tool in tools:
        if choice.name is None or choice.name == tool.name:
            yield tool


def _described(tool: Tool) -> str:
    lines = [f"## {tool.name}"]
    lines += [tool.description.strip()] if tool.description.strip() else []
    lines += [f"JSON Schema of its arguments: {_compact(tool.parameters)}", ""]
    return "\n".join(lines)


def _compact(schema: Mapping[str, Any]) -> str:
    whole = schema or {"type": "object", "properties": {}}
    return json.dumps(whole, ensure_ascii=False, separators=(",", ":"))


def _count(parallel: bool) -> str:
    return _MANY if parallel else _ONE


def _rule(choice: ToolChoice) -> str:
    if choice.mode == "none":
        return _NONE
    if choice.name is not None:
        return _NAMED.format(name=choice.name)
    return _REQUIRED if choice.mode == "required" else _AUTO


def _valid(arguments: str) -> str:
    """Valid JSON as it is; the client's text that is none becomes a JSON string."""
    try:
        json.loads(arguments)
    except (ValueError, RecursionError):
        if not arguments.strip():
            return "{}"
        return json.dumps(arguments, ensure_ascii=False)
    return arguments.strip()


def _harmless(text: str) -> str:
    return _TAG.sub("&lt;", text)


def _attribute(text: str) -> str:
    kept = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return " ".join(kept.split())
