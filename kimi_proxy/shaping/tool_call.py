"""Tool calling for upstreams that have none: described in words, read from the answer.

Text before a call is passed on at once; a call only when it is whole and its arguments
satisfy the tool's schema. A call that is wrong is sent back once.
"""

import uuid
from collections.abc import Iterator
from dataclasses import replace

import orjson

from kimi_proxy.chat import ChatRequest, Message, ToolChoice
from kimi_proxy.errors import InvalidAnswer
from kimi_proxy.events import Event, Finished, TextDelta, ToolCallDelta
from kimi_proxy.shaping import schema_check, tool_prompt
from kimi_proxy.shaping.ask import Ask, closing, followed_up, instructed
from kimi_proxy.shaping.tool_parser import Broken, Called, Piece, Said, ToolParser


class _Reading:
    """One answer as it is read: what it says, calls, and gets wrong."""

    def __init__(self, request: ChatRequest, index: int, *, says: bool) -> None:
        self._tools = {tool.name: tool for tool in request.tools}
        self._choice = request.tool_choice
        self._most = None if request.parallel_tool_calls else 1
        self._parser = ToolParser(
            self._tools, {tool.name: tool.parameters for tool in request.tools}
        )
        self._says = says
        self._pieces: list[str] = []
        self.index = index
        self.end: Finished | None = None
        self.wrong: Broken | None = None

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    def pass_on(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events, with calls in place of their text, up to the first wrong one."""
        for event in events:
            match event:
                case TextDelta(text):
                    self._pieces.append(text)
                    yield from self._read(self._parser.feed(text))
                case Finished():
                    yield from self._read(self._parser.finish())
                    self.end = event
                case _:
                    yield event

    def _read(self, pieces: list[Piece]) -> Iterator[Event]:
        for piece in pieces:
            if self.wrong is not None:
                return
            match piece:
                case Said(text):
                    if self._says and text:
                        yield TextDelta(text)
                case Called(name, arguments):
                    yield from self._call(name, arguments)
                case Broken():
                    self.wrong = piece

    def _call(self, name: str, arguments: str) -> Iterator[Event]:
        if self._most is not None and self.index >= self._most:
            return
        why = self._problem(name, arguments)
        if why is not None:
            self.wrong = Broken(tool_prompt.call_text(name, arguments), why)
            return
        index, self.index = self.index, self.index + 1
        yield ToolCallDelta(index, f"call_{uuid.uuid4().hex[:24]}", name, "")
        yield ToolCallDelta(index, None, None, arguments)

    def _problem(self, name: str, arguments: str) -> str | None:
        if self._choice.mode == "none":
            return "no tool may be called now"
        if self._choice.name not in (None, name):
            return f"only {self._choice.name} may be called now"
        try:
            schema = self._tools[name].parameters
            return schema_check.problem(schema, orjson.loads(arguments))
        except ValueError:
            return None  # a schema beyond our checker's means is the client's to check

    def lacks_call(self) -> bool:
        return self._choice.mode == "required" and self.index == 0


def calling_tools(ask: Ask) -> Ask:
    """Obey `request.tools`; raises `InvalidAnswer` when a correction fails too."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        question = _in_words(request)
        reading = _Reading(request, 0, says=True)
        with closing(ask(question)) as events:
            yield from reading.pass_on(events)
        if reading.wrong is not None or reading.lacks_call():
            words = _correction(request, reading)
            end = reading.end or Finished("stop")
            question = followed_up(question, reading.text, end, words)
            forbidden = request.tool_choice.mode == "none"
            reading = _Reading(request, reading.index, says=forbidden)
            with closing(ask(question)) as events:
                yield from reading.pass_on(events)
            _require_right(reading)
        end = reading.end or Finished("stop")
        called = reading.index > 0 and end.reason == "stop"
        yield replace(end, reason="tool_calls") if called else end

    return asked


def _require_right(reading: _Reading) -> None:
    if reading.wrong is not None:
        raise InvalidAnswer(f"the model's tool call is wrong: {reading.wrong.why}")
    if reading.lacks_call():
        raise InvalidAnswer("the model called no tool though one was required")


def _correction(request: ChatRequest, reading: _Reading) -> str:
    wrong = reading.wrong or Broken("", "a tool has to be called")
    return tool_prompt.correction(wrong.text, wrong.why, request.tools)


def _in_words(request: ChatRequest) -> ChatRequest:
    """The request with tools, calls and results written out."""
    names = {call.id: call.name for m in request.messages for call in m.tool_calls}
    plain = replace(
        request,
        tools=(),
        tool_choice=ToolChoice(),
        messages=tuple(_spelled(m, names) for m in request.messages),
    )
    if request.tool_choice.mode == "none":
        return plain
    write = tool_prompt.reminder if request.follows else tool_prompt.instructions
    words = write(request.tools, request.tool_choice, request.parallel_tool_calls)
    return instructed(plain, words)


def _spelled(message: Message, names: dict[str, str]) -> Message:
    if message.role == "tool":
        call_id = message.tool_call_id or ""
        name = message.name or names.get(call_id, "")
        told = tool_prompt.result_text(name, call_id, message.text)
        return replace(message, role="user", text=told, name=None, tool_call_id=None)
    if not message.tool_calls:
        return message
    calls = [tool_prompt.call_text(c.name, c.arguments) for c in message.tool_calls]
    text = "\n".join(filter(None, [message.text, *calls]))
    return replace(message, text=text, tool_calls=())
