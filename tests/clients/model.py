"""The models behind the emulated upstreams, told what to do by what they are asked.

| in the question | what is said |
| --- | --- |
| `weather of A and B, then C` | calls of `get_weather` in steps, then their results |
| `as an object` | `OBJECT` as JSON, if the request speaks of its fields |
| `count slowly` | numbers, for half a minute |
| pictures or files | how many there are |
| anything else | it, once more |

One model, on two wires: a web account's reads and writes text alone, also for tools.
"""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emulators import kimi_connect, openai

OBJECT = {"city": "Oslo", "degrees": 5}
COUNT = "".join(f"{number} " for number in range(600))
THOUGHT = "I look at the question first."
_WEATHER = re.compile(r"weather of ([\w, ]+)")
_RESULT = re.compile(r"<tool_result [^>]*>\n(.*?)\n</tool_result>", re.S)
_TOOL = re.compile(r"^## (\w+)\n", re.M)
Call = tuple[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Question:
    """What a model sees: all words, its tools, their results, how much is attached."""

    words: str
    tools: Collection[str]
    results: Sequence[str]
    attached: int


@dataclass(frozen=True, slots=True)
class Said:
    """What it says: words, then calls of tools."""

    text: str = ""
    calls: Sequence[Call] = ()
    delay: float = 0.0


def answer(question: Question) -> Said:
    """The table above."""
    if found := _WEATHER.search(question.words):
        return _next_step(found[1], question)
    if "as an object" in question.words:
        return _as_object(question)
    if "count slowly" in question.words:
        return Said(COUNT, delay=0.05)
    if question.attached:
        return Said(f"I see {question.attached}.")
    return Said(f"You said: {question.words}")


def _next_step(asked: str, question: Question) -> Said:
    """The first step whose results are not all there."""
    if "get_weather" not in question.tools:
        return Said("I know of no tools.")
    needed = 0
    for step in asked.split(", then "):
        cities = step.split(" and ")
        needed += len(cities)
        if len(question.results) < needed:
            calls = [("get_weather", {"city": city}) for city in cities]
            return Said("I look it up. ", calls)
    return Said(f"Done: {', '.join(question.results)}.")


def _as_object(question: Question) -> Said:
    """By a tool where there is one for it, as the AI SDK asks of Anthropic's models."""
    if "json" in question.tools:
        return Said(calls=[("json", OBJECT)])
    return Said(json.dumps(OBJECT) if "degrees" in question.words else "Which?")


def web(prompt: str, request: Mapping[str, Any]) -> kimi_connect.Answer:
    """A web account's: one prompt, files as blocks, calls and objects within text."""
    blocks = request["message"]["blocks"]
    attached = sum("file" in block for block in blocks)
    tools = _TOOL.findall(prompt)
    said = answer(Question(prompt, tools, _RESULT.findall(prompt), attached))
    text = said.text
    if text.startswith("{"):
        text = f"Here you are:\n```json\n{text}\n```"
    for name, arguments in said.calls:
        call = json.dumps({"name": name, "arguments": arguments})
        text += f"\n<tool_call>\n{call}\n</tool_call>"
    return kimi_connect.Answer(text, thinking=THOUGHT, delay=said.delay)


def api(request: Mapping[str, Any]) -> openai.Answer:
    """An OpenAI-compatible upstream's: messages with parts, real calls."""
    messages = request["messages"]
    parts = [part for message in messages for part in _parts(message)]
    asked = [_text(message) for message in messages if message["role"] == "user"]
    # What the answer shall be like stands beside the messages here.
    words = asked[-1] + json.dumps(request.get("response_format", ""))
    results = [_text(message) for message in messages if message["role"] == "tool"]
    attached = sum(part["type"] in {"image_url", "file"} for part in parts)
    tools = [tool["function"]["name"] for tool in request.get("tools") or ()]
    said = answer(Question(words, tools, results, attached))
    if said.text.startswith("You said"):
        return openai.Answer(f"You said: {asked[-1]}")
    calls = [openai.ToolCall(name, json.dumps(given)) for name, given in said.calls]
    choice = openai.Choice(said.text, tools=tuple(calls), reasoning=THOUGHT)
    return openai.Answer(choice, delay=said.delay)


def _parts(message: Mapping[str, Any]) -> list[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else []


def _text(message: Mapping[str, Any]) -> str:
    if isinstance(message.get("content"), str):
        return str(message["content"])
    return "".join(part.get("text", "") for part in _parts(message))
