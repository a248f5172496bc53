"""A chat request, judged as Moonshot judges it (sheet §3)."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulators.moonshot.model import MoonshotModel
from emulators.moonshot.schema import trouble_with
from emulators.moonshot.thinking import thinks
from emulators.openai.message_check import check_calls, check_tool_results
from emulators.openai.refusal import Refused
from emulators.openai.request_check import Invalid, stop_words

JSON = Mapping[str, Any]
ROLES = ("system", "user", "assistant", "tool")
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9\-_]{2,63}")
MOST_TOOLS, MOST_STOPS, LONGEST_STOP, LONGEST_ID = 128, 5, 32, 64
WEB_SEARCH = "$web_search"
# Judges the url of an image or a video; returns what is wrong with it, or nothing.
MediaCheck = Callable[[str, str], str]


class RequestCheck:
    """One request being judged; every method raises Refused."""

    def __init__(
        self, body: JSON, model: MoonshotModel, invalid: Invalid, media: MediaCheck
    ) -> None:
        self._body = body
        self._model = model
        self._invalid = invalid
        self._media = media

    def run(self) -> None:
        """Judge everything but thinking."""
        self._stops()
        self._messages()
        self._partial()
        self._tools()
        self._format()

    def _need(self, right: object, message: str) -> None:
        if not right:
            raise Refused(self._invalid(message, None, None))

    def _stops(self) -> None:
        stops = stop_words(self._body.get("stop"))
        self._need(len(stops) <= MOST_STOPS, f"at most {MOST_STOPS} stop sequences")
        long = [s for s in stops if len(s.encode()) > LONGEST_STOP]
        self._need(not long, f"a stop sequence has at most {LONGEST_STOP} bytes")

    def _messages(self) -> None:
        messages = self._body["messages"]
        self._need(isinstance(messages, list) and messages, "messages is empty")
        for index, one in enumerate(messages):
            self._need(isinstance(one, dict), f"message {index} is no object")
            self._need(one.get("role") in ROLES, f"invalid role: {one.get('role')}")
            self._message(index, one)
        check_tool_results(messages, self._invalid)

    def _message(self, index: int, one: JSON) -> None:
        content, role = one.get("content"), one["role"]
        if role == "system" and "tools" in one:
            fits = self._model.id == "kimi-k3" and "content" not in one
            self._need(fits, "tools in a message are not supported")
            self._tool_list(one["tools"])
            return
        if content is None and role == "assistant" and one.get("tool_calls"):
            self._calls(one["tool_calls"])
            return
        empty = f"message at position {index} with role '{role}' must not be empty"
        self._need(content, empty)
        if isinstance(content, list):
            for part in content:
                self._part(part, empty)
        else:
            self._need(isinstance(content, str), "content must be text or parts")
        if one.get("tool_calls") is not None:
            self._calls(one["tool_calls"])

    def _part(self, part: Any, empty: str) -> None:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind == "text":
            self._need(part.get("text"), empty)
            return
        self._need(kind in ("image_url", "video_url"), f"unknown part type: {kind}")
        seen = self._model.images if kind == "image_url" else self._model.video
        self._need(seen, f"{kind} is not supported by model {self._model.id}")
        value = part.get(kind)
        url = value.get("url") if isinstance(value, dict) else value
        self._need(isinstance(url, str), f"{kind} has no url")
        trouble = self._media(str(kind), str(url))
        self._need(not trouble, trouble)

    def _calls(self, calls: Any) -> None:
        check_calls(calls, "tool_calls", self._invalid)
        long = [call["id"] for call in calls if len(call["id"]) > LONGEST_ID]
        self._need(not long, f"tool call id is longer than {LONGEST_ID}")

    def _partial(self) -> None:
        *earlier, last = self._body["messages"]
        told = [one for one in (*earlier, last) if one.get("partial")]
        if not told:
            return
        right = told == [last] and last["role"] == "assistant"
        self._need(right, "partial is only for the last, an assistant's message")
        kind = (self._body.get("response_format") or {}).get("type")
        self._need(kind != "json_object", "partial does not go with json_object")

    def _tools(self) -> None:
        tools = self._body.get("tools")
        if tools is not None:
            self._tool_list(tools)
        if self._body.get("tool_choice") == "required":
            fits = self._model.tool_required
            self._need(fits, "tool_choice 'required' is not supported by this model")

    def _tool_list(self, tools: Any) -> None:
        self._need(isinstance(tools, list), "tools must be an array")
        self._need(len(tools) <= MOST_TOOLS, f"at most {MOST_TOOLS} tools")
        names = [self._tool(tool) for tool in tools]
        for name in names:
            self._need(names.count(name) == 1, f"function name {name} is duplicated")

    def _tool(self, tool: Any) -> str:
        function = tool.get("function") if isinstance(tool, dict) else None
        self._need(isinstance(function, dict), "a tool needs a function")
        assert isinstance(function, dict)
        name = str(function.get("name"))
        if tool.get("type") == "builtin_function":
            self._need(name == WEB_SEARCH, f"unknown builtin function {name}")
            off = not thinks(self._body, self._model)
            self._need(off, f"{WEB_SEARCH} is not supported while thinking")
            return name
        self._need(tool.get("type") == "function", "unknown type of a tool")
        fits = TOOL_NAME.fullmatch(name)
        self._need(fits, f"function name is invalid, must match regex: {name}")
        self._schema("tools.function.parameters", function.get("parameters"))
        return name

    def _format(self) -> None:
        wanted = self._body.get("response_format") or {}
        if wanted.get("type") == "json_schema":
            schema = wanted["json_schema"].get("schema")
            self._schema("response_format.json_schema.schema", schema)

    def _schema(self, what: str, schema: Any) -> None:
        trouble = "" if schema is None else trouble_with(schema)
        message = f"{what} is not a valid moonshot flavored json schema, details: "
        self._need(not trouble, f"{message}<{trouble}>")


def last_results(messages: Sequence[JSON]) -> list[JSON]:
    """Return the tool messages after the last question, oldest first."""
    found: list[JSON] = []
    for one in reversed(messages):
        if one["role"] == "user":
            break
        if one["role"] == "tool":
            found.insert(0, one)
    return found
