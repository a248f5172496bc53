"""A model that does what it is asked for: calls the tools, fills in the schemas.

It works with whatever a framework sends. Asked natively it reads the body of a chat
completion; behind a web account it reads the gateway's words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Schema = Mapping[str, Any]
_TOOL = re.compile(
    r"^## (\S+)\n(?:(?!## ).*\n)*?JSON Schema of its arguments: (\{.*\})$", re.M
)
_RESULT = re.compile(r'<tool_result name="([^"]*)"')
_ONLY = re.compile(r"Your next answer must call the tool (\S+), and no other")
_MUST = "Your next answer must call at least one of the tools"
_NONE = "Do not call a tool now"
_SCHEMA = re.compile(r"It must satisfy this JSON Schema:\n(\{.*\})")
_ANY_OBJECT = "It must be one JSON object."
# What pydantic-ai and instructor say where they do not ask by a field.
_FRAMEWORKS_OWN = re.compile(
    "a JSON object that's compatible with this schema|match the following json_schema"
)
_ATTACHED = re.compile(r"^\[attached: .*\]\n")
_QUOTED = re.compile(r"'([^']+)'")
_NUMBER = re.compile(r"-?\d+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What is left to do in a chat.

    `words` is the last question, `all_words` the whole chat; `called` are the tools
    whose results came after the question. With `must` a tool has to be called;
    `schema` is that of the JSON that is wanted, `{}` for any object.
    """

    words: str
    all_words: str
    tools: Mapping[str, Schema] = field(default_factory=dict)
    called: Sequence[str] = ()
    must: bool = False
    schema: Schema | None = None


@dataclass(frozen=True, slots=True)
class Said:
    """A text, or the call of a tool: its name and its arguments as JSON."""

    text: str = ""
    call: tuple[str, str] | None = None


def say(asked: Asked) -> Said:
    """Call each tool once, in turn; then answer."""
    left = [name for name in asked.tools if name not in asked.called]
    if left or asked.must:
        name = left[0] if left else list(asked.tools)[-1]
        return Said(call=(name, _filled(asked.tools[name], asked.words)))
    if asked.schema is not None or _FRAMEWORKS_OWN.search(asked.all_words):
        schema = asked.schema or _schema_in(asked.all_words)
        return Said(_filled(schema, asked.words))
    if asked.called:
        return Said(f"These have answered: {', '.join(asked.called)}.")
    return Said(f"You said: {asked.words}")


def read_chat(body: Mapping[str, Any]) -> Asked:
    """What the body of a chat completion asks for."""
    messages = body["messages"]
    last = max(n for n, m in enumerate(messages) if m["role"] == "user")
    choice = body.get("tool_choice", "auto")
    only = choice["function"]["name"] if isinstance(choice, dict) else None
    functions = [tool["function"] for tool in body.get("tools") or ()]
    wanted = body.get("response_format") or {"type": "text"}
    schema = wanted.get("json_schema", {}).get("schema", {})
    return Asked(
        _text(messages[last]),
        "\n".join(map(_text, messages)),
        tools={
            f["name"]: f.get("parameters", {})
            for f in functions
            if only in (None, f["name"]) and choice != "none"
        },
        called=list(_called(messages[last:])),
        must=only is not None or choice == "required",
        schema=None if wanted["type"] == "text" else schema,
    )


def read_prompt(prompt: str) -> Asked:
    """What the words ask for that the gateway puts into a web account's prompt."""
    question = prompt.rpartition("user: ")[2]
    only = _ONLY.search(prompt)
    tools = {name: json.loads(schema) for name, schema in _TOOL.findall(prompt)}
    schema = _SCHEMA.search(prompt)
    wanted = json.loads(schema[1]) if schema else None
    return Asked(
        _ATTACHED.sub("", question.partition("\n\nassistant: ")[0]),
        prompt,
        tools={} if _NONE in prompt else tools,
        called=_RESULT.findall(question),
        must=only is not None or _MUST in prompt,
        schema={} if wanted is None and _ANY_OBJECT in prompt else wanted,
    )


def written(said: Said) -> str:
    """An answer as a model writes it that knows of tools by words only."""
    if said.call is None:
        return said.text
    name, arguments = said.call
    call = f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}'
    return f"<tool_call>\n{call}\n</tool_call>"


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)


def _called(messages: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The tools whose results are among these messages."""
    calls = [call for m in messages for call in m.get("tool_calls") or ()]
    names = {call["id"]: call["function"]["name"] for call in calls}
    for message in messages:
        if message["role"] == "tool":
            yield names[message["tool_call_id"]]


def _schema_in(text: str) -> Schema:
    """A schema in the midst of words, or one of the 'properties' they speak of."""
    decoder = json.JSONDecoder()
    for brace in re.finditer(r"\{", text):
        try:
            found, _ = decoder.raw_decode(text, brace.start())
        except ValueError:
            continue
        if isinstance(found.get("properties"), dict):
            return dict(found)
    return {"properties": {name: {"type": "string"} for name in _QUOTED.findall(text)}}


def _filled(schema: Schema, words: str) -> str:
    """JSON that satisfies the schema, with the numbers and names of the words."""
    filled = _Filling(schema.get("$defs") or schema.get("definitions") or {}, words)
    return json.dumps(filled.value(schema, "value"), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Filling:
    definitions: Mapping[str, Schema]
    words: str

    def value(self, schema: Schema, name: str) -> Any:
        """A value of this schema, which is that of the property `name`."""
        if "$ref" in schema:
            return self.value(self.definitions[schema["$ref"].split("/")[-1]], name)
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return self.value(schema[several][0], name)
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        kind = schema.get("type", "object" if "properties" in schema else "string")
        return self._of_type(kind[0] if isinstance(kind, list) else kind, schema, name)

    def _of_type(self, kind: str, schema: Schema, name: str) -> Any:
        match kind:
            case "object":
                properties = schema.get("properties", {})
                return {key: self.value(one, key) for key, one in properties.items()}
            case "array":
                return [self.value(schema.get("items", {}), name)]
            case "integer" | "number":
                found = _NUMBER.search(self.words)
                return int(found[0]) if found else schema.get("minimum", 1)
            case "boolean":
                return True
            case "null":
                return None
        quoted = _QUOTED.search(self.words)
        return quoted[1] if quoted else f"a made-up {name}"
