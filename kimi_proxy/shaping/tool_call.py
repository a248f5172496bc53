"""Tool calling for upstreams that have none: described in words, read from the answer.

Text before a call is passed on at once; a call only when it is whole and its arguments
satisfy the tool's schema. Calls that are wrong are sent back once.
"""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from kimi_proxy.chat import ChatRequest, Message, ToolChoice
from kimi_proxy.errors import InvalidAnswer
from kimi_proxy.events import Event, Finished, TextDelta, ToolCallDelta
from kimi_proxy.shaping import schema_check, tool_prompt
from kimi_proxy.shaping.ask import Ask, closing, followed_up, instructed
from kimi_proxy.shaping.tool_parser import Broken, Called, Piece, Said, ToolParser


class _Calls:
    """The calls made so far, over both tries; says what is wrong with one."""

    def __init__(self, request: ChatRequest) -> None:
        self._tools = {tool.name: tool for tool in request.tools}
        self._choice = request.tool_choice
        self._most = None if request.parallel_tool_calls else 1
        self._made: list[tuple[str, Any]] = []

    @property
    def any(self) -> bool:
        return bool(self._made)

    @property
    def enough(self) -> bool:
        """Whether no other one may be made."""
        return self._most is not None and len(self._made) >= self._most

    def parser(self) -> ToolParser:
        schemas = {name: tool.parameters for name, tool in self._tools.items()}
        return ToolParser(self._tools, schemas)

    def make(self, call: Called, *, once: bool) -> Iterator[Event]:
        """Pass a right call on; `once`: not if the very same was made already.

        Raises `ValueError` that says what is wrong.
        """
        value = self._checked(call)
        if self.enough or (once and (call.name, value) in self._made):
            return
        index = len(self._made)
        self._made.append((call.name, value))
        yield ToolCallDelta(index, f"call_{uuid.uuid4().hex[:24]}", call.name, "")
        yield ToolCallDelta(index, None, None, call.arguments)

    def _checked(self, call: Called) -> Any:
        if self._choice.mode == "none":
            raise ValueError("no tool may be called now")
        if self._choice.name not in (None, call.name):
            raise ValueError(f"only {self._choice.name} may be called now")
        value = json.loads(call.arguments)  # the parser lets nothing else through
        try:
            problem = schema_check.problem(self._tools[call.name].parameters, value)
        except ValueError:
            problem = None  # by a schema that is wrong nothing can be checked
        if problem is not None:
            raise ValueError(problem)
        return value


class _Reading:
    """One answer as it is read: what it says, calls, and gets wrong.

    Without `aloud` its words are kept in `unsaid`, and calls made before are no news.
    """

    def __init__(self, calls: _Calls, *, aloud: bool) -> None:
        self._calls = calls
        self._parser = calls.parser()
        self._aloud = aloud
        self._written: list[str] = []
        self._unsaid: list[str] = []
        self.spoke = False
        self.end = Finished("stop")
        self.wrong: list[Broken] = []

    @property
    def text(self) -> str:
        """The answer as the model wrote it."""
        return "".join(self._written)

    @property
    def unsaid(self) -> str:
        return "".join(self._unsaid)

    def pass_on(self, events: Iterator[Event]) -> Iterator[Event]:
        """The events but the end, with calls in place of their text."""
        for event in events:
            match event:
                case TextDelta(text):
                    self._written.append(text)
                    yield from self._read(self._parser.feed(text))
                case Finished():
                    yield from self._read(self._parser.finish())
                    self.end = event
                case _:
                    yield event

    def _read(self, pieces: list[Piece]) -> Iterator[Event]:
        for piece in pieces:
            match piece:
                case Said(text):
                    yield from self._say(text)
                case Called():
                    yield from self._call(piece)
                case Broken():
                    self.wrong.append(piece)

    def _say(self, text: str) -> Iterator[Event]:
        if not self._aloud:
            self._unsaid.append(text)
        elif text:
            self.spoke = True
            yield TextDelta(text)

    def _call(self, call: Called) -> Iterator[Event]:
        try:
            yield from self._calls.make(call, once=not self._aloud)
        except ValueError as exc:
            text = tool_prompt.call_text(call.name, call.arguments)
            self.wrong.append(Broken(text, str(exc)))


def calling_tools(ask: Ask) -> Ask:
    """Obey `request.tools`; raises `InvalidAnswer` when a correction fails too."""

    def asked(request: ChatRequest) -> Iterator[Event]:
        calls = _Calls(request)
        first = reading = _Reading(calls, aloud=True)
        question = _in_words(request)
        with closing(ask(question)) as events:
            yield from first.pass_on(events)
        if why := _fault(request, first, calls):
            words = _correction(request, first, why)
            question = followed_up(question, first.text, first.end, words)
            reading = _Reading(calls, aloud=False)
            with closing(ask(question)) as events:
                yield from reading.pass_on(events)
            yield from _settled(request, first, reading, calls)
        called = calls.any and reading.end.reason == "stop"
        yield replace(reading.end, reason="tool_calls") if called else reading.end

    return asked


def _fault(request: ChatRequest, reading: _Reading, calls: _Calls) -> str | None:
    """What an answer got wrong, in words; None for one that can stand."""
    if reading.end.reason == "content_filter" or calls.enough:
        return None
    if reading.wrong:
        return "; ".join(wrong.why for wrong in reading.wrong)
    if request.tool_choice.mode == "required" and not calls.any:
        return "it calls no tool, and one has to be called now"
    return None


def _settled(
    request: ChatRequest, first: _Reading, second: _Reading, calls: _Calls
) -> Iterator[Event]:
    """The words of a corrected answer where they stand for a call, else nothing."""
    cut_off = second.end.reason in {"length", "content_filter"}
    why = None if cut_off else _fault(request, second, calls)
    if why is not None:
        raise InvalidAnswer(f"the model's answer is wrong even when corrected: {why}")
    words = second.unsaid
    if calls.any or cut_off:
        return
    if not words.strip():
        raise InvalidAnswer("the model's tool call was wrong, and it made no other")
    yield TextDelta(f"\n\n{words.lstrip()}" if first.spoke else words)


def _correction(request: ChatRequest, reading: _Reading, why: str) -> str:
    choice = request.tool_choice
    if choice.mode == "none":
        return tool_prompt.reminder(request.tools, choice, parallel=True)
    written = "\n".join(wrong.text for wrong in reading.wrong) or reading.text
    tools = [t for t in request.tools if choice.name in (None, t.name)]
    return tool_prompt.correction(written, why, tools)


def _in_words(request: ChatRequest) -> ChatRequest:
    """The request with tools, calls and results written out."""
    plain = replace(
        request,
        tools=(),
        tool_choice=ToolChoice(),
        messages=tuple(_spelled(request)),
    )
    words = _directions(request)
    return instructed(plain, words) if words else plain


def _directions(request: ChatRequest) -> str:
    tools, choice = request.tools, request.tool_choice
    parallel = request.parallel_tool_calls
    if request.follows is not None and request.follows.knows_tools:
        return tool_prompt.reminder(tools, choice, parallel)
    if request.keeps and choice.name is not None:
        # A later turn of this chat may call the others, and will only be reminded.
        rule = tool_prompt.reminder(tools, choice, parallel)
        whole = tool_prompt.instructions(tools, ToolChoice("required"), parallel)
        return f"{whole}\n{rule}"
    if choice.mode != "none" or request.keeps:
        return tool_prompt.instructions(tools, choice, parallel)
    history = (*request.past, *request.messages)
    speaks_of_tools = any(m.tool_calls or m.role == "tool" for m in history)
    return tool_prompt.reminder(tools, choice, parallel) if speaks_of_tools else ""


def _spelled(request: ChatRequest) -> Iterator[Message]:
    """The messages with calls and results as text."""
    names: dict[str, str] = {}
    for message in request.past:
        _note_calls(message, names)
    results: list[Message] = []
    for message in request.messages:
        if message.role == "tool":
            results.append(message)
            continue
        yield from _told_results(results, names)
        results.clear()
        _note_calls(message, names)
        yield _with_calls(message)
    yield from _told_results(results, names)


def _note_calls(message: Message, names: dict[str, str]) -> None:
    """The names of calls by their ids, the latest last: some clients use an id anew in
    each turn."""
    for call in message.tool_calls:
        names.pop(call.id, None)
        names[call.id] = call.name


def _told_results(results: list[Message], names: dict[str, str]) -> Iterator[Message]:
    """Results in a row as one message: they answer one turn, and directions come before
    the last message.

    They stand in the order of the calls, which the model made without any id. It stays
    a tool's message: nothing in it is a question of the user's, nor an address for the
    link reader.
    """
    if not results:
        return
    places = {call_id: place for place, call_id in enumerate(names)}
    last = len(places)
    told = sorted(results, key=lambda m: places.get(m.tool_call_id or "", last))
    yield replace(
        told[0],
        text="\n".join(_told_result(message, names) for message in told),
        name=None,
        tool_call_id=None,
        attachments=tuple(a for m in told for a in m.attachments),
        files=tuple(f for m in told for f in m.files),
    )


def _told_result(message: Message, names: dict[str, str]) -> str:
    call_id = message.tool_call_id or ""
    name = message.name or names.get(call_id, "")
    return tool_prompt.result_text(name, call_id, message.text)


def _with_calls(message: Message) -> Message:
    if not message.tool_calls:
        return message
    calls = [tool_prompt.call_text(c.name, c.arguments) for c in message.tool_calls]
    text = "\n".join(filter(None, [message.text, *calls]))
    return replace(message, text=text, tool_calls=())
