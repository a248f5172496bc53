"""The thinking that led to tool calls, kept for clients that do not send it back.

Some models refuse a tool's result without the thinking before its call (Moonshot sheet
§3, DeepSeek's thinking mode), which OpenAI's own dialect has no field for. It is known
again by the calls themselves and by the question before them: ids alone are not unique
(`functions.f:0`).
"""

import hashlib
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any

import orjson

from kimi_proxy.errors import StateUnavailable
from kimi_proxy.events import ChatResult, CollectedCall, Collector, Event
from kimi_proxy.providers.base import Memory
from kimi_proxy.providers.openai_model import Listed

_KEPT_SECONDS = 6 * 3600.0
_LONGEST = 256 * 1024  # characters of one thought
_PLACES = 4096  # thoughts at most; an older one makes room for a new one
# Stands in for thinking that nobody has any more: a model that always thinks would
# refuse the whole conversation, for example one that another upstream began.
_LOST = "(not kept)"

Wire = dict[str, Any]


class Thoughts:
    """One upstream's thinking, in `memory` under its name."""

    def __init__(self, name: str, memory: Memory) -> None:
        self._name = name
        self._memory = memory

    def watch(
        self, messages: Sequence[Any], events: Generator[Event]
    ) -> Iterator[Event]:
        """The events; what was thought before tool calls is kept with the last."""
        said = Collector()
        with closing(events):
            for event in events:
                said.add(event)
                if said.finished:
                    self._keep_of(messages, said.result())
                yield event

    def give_back(self, body: Wire, model: Listed | None) -> None:
        """Put thinking where the client left it out.

        Where it is lost a model that need not think does not, as far as it is needed:
        for the calls since the last question.
        """
        messages = list(body["messages"])
        last = max(
            (i for i, m in enumerate(messages) if _role(m) == "user"), default=-1
        )
        may_rest = model is not None and model.thinking == "both"
        question = _Question()
        for at, message in enumerate(messages):
            if _role(message) == "user":
                question = _Question(message)
            calls = _calls_of(message)
            if not calls or message.get("reasoning_content"):
                continue
            told = message.get("reasoning") or self._find(question.mark(calls))
            if isinstance(told, str) and told:
                messages[at] = {**message, "reasoning_content": told}
            elif not may_rest:
                messages[at] = {**message, "reasoning_content": _LOST}
            elif at > last:
                body["thinking"] = {"type": "disabled"}
        body["messages"] = messages

    def _keep_of(self, messages: Sequence[Any], answer: ChatResult) -> None:
        if answer.tool_calls and answer.reasoning:
            asked = (m for m in reversed(messages) if _role(m) == "user")
            mark = _Question(next(asked, None)).mark(answer.tool_calls)
            self._keep(mark, answer.reasoning)

    def _keep(self, mark: str, thought: str) -> None:
        if len(thought) > _LONGEST:
            return
        try:
            document = {"mark": mark, "thought": thought}
            self._memory.put(self._place(mark), document, ttl=_KEPT_SECONDS)
        except StateUnavailable:
            return  # the answer is good all the same

    def _find(self, mark: str) -> str | None:
        try:
            found = self._memory.get(self._place(mark))
        except StateUnavailable:
            return None
        same = found is not None and found.get("mark") == mark
        return found.get("thought") if found is not None and same else None

    def _place(self, mark: str) -> str:
        return f"thought/{self._name}/{int(mark[:8], 16) % _PLACES}"


def _role(message: Any) -> Any:
    return message.get("role") if isinstance(message, Mapping) else None


def _calls_of(message: Any) -> list[CollectedCall]:
    """The calls of an assistant's message; none of what is malformed."""
    calls = message.get("tool_calls") if _role(message) == "assistant" else None
    found = []
    for call in calls if isinstance(calls, list) else ():
        function = call.get("function") if isinstance(call, Mapping) else None
        if isinstance(function, Mapping):
            name, given = str(function.get("name")), str(function.get("arguments"))
            found.append(CollectedCall(str(call.get("id")), name, given))
    return found


class _Question:
    """The user's message before a call, which may have megabytes of pictures in it."""

    def __init__(self, message: Mapping[str, Any] | None = None) -> None:
        self._message = message or {}
        self._digest = ""

    def mark(self, calls: Iterable[CollectedCall]) -> str:
        """What tells an answer that made these calls from any other, in hex."""
        self._digest = self._digest or _digest(self._message.get("content"))
        said = [[call.id, call.name, _plain(call.arguments)] for call in calls]
        return _digest([self._digest, said])


def _digest(value: Any) -> str:
    facts = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(facts).hexdigest()


def _plain(arguments: str) -> Any:
    """Arguments whatever their spaces: some clients write them anew."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments
