"""Moonshot's `$web_search`: the model calls, and gets its own words back (sheet §3).

The search runs on their side; the loop is only handed on. It works where the model does
not think, and is bounded here.
"""

from collections.abc import Callable, Generator, Iterator
from typing import Any

from kimi_proxy.events import (
    CollectedCall,
    Event,
    Finished,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers.openai_model import Listed

NAME = "$web_search"
_ROUNDS = 5
_TOOL = {"type": "builtin_function", "function": {"name": NAME}}
_OPTIONS = "web_search_options"
_FOREIGN = "web_search"  # how OpenAI's own tool for it begins, which is unknown there

Wire = dict[str, Any]
Ask = Callable[[Wire], Iterator[Event]]


def can_search(model: Listed | None) -> bool:
    """Whether the model answers without thinking: one that always does cannot."""
    return model is None or model.thinking != "only"


def asked_in(body: Wire) -> str | None:
    """The field in which a client asked for a search in OpenAI's words, if it did."""
    if body.get(_OPTIONS) is not None:
        return _OPTIONS
    tools = body.get("tools")
    found = any(_is_foreign(t) for t in tools) if isinstance(tools, list) else False
    return "tools" if found else None


def without_foreign(body: Wire) -> None:
    """Take out OpenAI's words for a search."""
    body.pop(_OPTIONS, None)
    tools = body.get("tools")
    if not isinstance(tools, list):
        return
    kept = [t for t in tools if not _is_foreign(t)]
    if kept:
        body["tools"] = kept
    else:
        del body["tools"]


def _is_foreign(tool: Any) -> bool:
    kind = tool.get("type") if isinstance(tool, dict) else None
    return isinstance(kind, str) and kind.startswith(_FOREIGN)


def searching(ask: Ask, body: Wire) -> Generator[Event]:
    """The answer after at most five rounds of searching; counts are added up.

    `ask` yields events only, nothing relayed. Calls of the client's own tools end it.
    """
    body = {**body, "thinking": {"type": "disabled"}}
    body.pop("reasoning_effort", None)
    tools = [*(body.get("tools") or ()), _TOOL]
    spent: Usage | None = None
    for number in range(_ROUNDS + 1):
        last = number == _ROUNDS
        if last:
            tools.remove(_TOOL)
        asked = {k: v for k, v in body.items() if tools or k != "tool_choice"}
        asked.pop("tools", None)
        round_ = _Round()
        yield from round_.told(ask({**asked, **({"tools": tools} if tools else {})}))
        spent = round_.usage if spent is None else spent + (round_.usage or Usage(0, 0))
        if last or not round_.searches:
            break
        body = {**body, "messages": [*body["messages"], *round_.handed_back()]}
    if spent is not None:
        yield spent
    yield Finished(round_.reason)


class _Round:
    """One answer: its words go on at once, searches and counts are held back."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.reason: Any = "stop"
        self._text: list[str] = []
        self._calls: dict[int, CollectedCall] = {}
        self._given: dict[int, int] = {}

    @property
    def searches(self) -> bool:
        """Whether nothing was called but searches: they are to be handed back."""
        return bool(self._calls) and not self._given

    def told(self, events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            match event:
                case ToolCallDelta():
                    yield from self._call(event)
                case Usage():
                    self.usage = event
                case Finished(reason):
                    self.reason = self._honest(reason)
                case Relayed():
                    raise TypeError("a search hands nothing on as it came")
                case TextDelta(text):
                    self._text.append(text)
                    yield event
                case _:
                    yield event

    def _honest(self, reason: Any) -> Any:
        """Calls that the client does not see are not why it ended."""
        return "stop" if reason == "tool_calls" and not self._given else reason

    def _call(self, delta: ToolCallDelta) -> Iterator[ToolCallDelta]:
        index = delta.index
        if delta.name == NAME or index in self._calls:
            known = self._calls.get(index, CollectedCall("", NAME, ""))
            self._calls[index] = CollectedCall(
                known.id or delta.id or "", NAME, known.arguments + delta.arguments
            )
            return
        mine = self._given.setdefault(index, len(self._given))
        yield ToolCallDelta(mine, delta.id, delta.name, delta.arguments)

    def handed_back(self) -> Iterator[Wire]:
        """The assistant's message, and each search's arguments unchanged."""
        calls = [self._calls[index] for index in sorted(self._calls)]
        yield {
            "role": "assistant",
            "content": "".join(self._text) or None,
            "tool_calls": [
                {
                    "id": call.id,
                    "type": "builtin_function",
                    "function": {"name": NAME, "arguments": call.arguments},
                }
                for call in calls
            ],
        }
        for call in calls:
            yield {
                "role": "tool",
                "tool_call_id": call.id,
                "name": NAME,
                "content": call.arguments,
            }
