"""Input items to messages: all that an assistant did between two turns is one message.

So a history that comes as items is the same one that comes as messages.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from kimi_proxy.chat import Message, Need, ToolCall
from kimi_proxy.dialects.openai_parts import attachments_of, text_of
from kimi_proxy.dialects.responses_thought import unseal
from kimi_proxy.dialects.responses_tools import SHELL, action_text, spaced, wrapped
from kimi_proxy.dialects.responses_wire import Item
from kimi_proxy.errors import InvalidRequest, NotFound, Unsupported

# Searches of earlier turns: what they found is in the answer that followed.
_PASSED_OVER = frozenset({"web_search_call"})
_CALLS = frozenset({"function_call", "custom_tool_call", "local_shell_call"})
_RESULTS = frozenset(f"{kind}_output" for kind in _CALLS)
_KNOWN = _PASSED_OVER | _CALLS | _RESULTS | {"message", "reasoning", "item_reference"}


class Recall(Protocol):
    """Where items of earlier responses are found; both raise `NotFound`."""

    def history(self, response_id: str) -> Sequence[Mapping[str, Any]]:
        """All that was said up to the end of a response, as items."""

    def item(self, item_id: str) -> Mapping[str, Any]:
        """One item of an earlier response."""


def require_known(items: object, path: str) -> None:
    """Raise `Unsupported` for an item of a type that is not read here.

    Before its fields are looked at: they may be anything.
    """
    for index, item in enumerate(items if isinstance(items, list) else ()):
        kind = item.get("type") if isinstance(item, dict) else None
        if isinstance(kind, str) and kind not in _KNOWN:
            raise Unsupported(
                f"items of type {kind[:40]!r} are not supported",
                param=f"{path}[{index}].type",
            )


def resolved(items: Any, recall: Recall) -> Any:
    """The items, those that are named by their ids in full; raises `NotFound`."""
    if not isinstance(items, list):
        return items
    return [_recalled(item, recall, at) for at, item in enumerate(items)]


def _recalled(item: Any, recall: Recall, at: int) -> Any:
    if not _refers(item):
        return item
    try:
        return recall.item(item["id"])
    except NotFound as exc:
        raise NotFound(exc.message, param=f"input[{at}].id") from exc


def _refers(item: object) -> bool:
    """Whether it names another item; such a one may have no type."""
    if not isinstance(item, dict) or not isinstance(item.get("id"), str):
        return False
    kind = item.get("type")
    return kind == "item_reference" or (kind is None and item.get("role") is None)


class Turns:
    """Messages, made of items that are added in order; raises `InvalidRequest`."""

    def __init__(self, needs: list[Need]) -> None:
        self._needs = needs
        self._messages: list[Message] = []
        self._thought: list[str] = []
        self._open = False  # whether the last message is the assistant's and goes on

    def messages(self) -> tuple[Message, ...]:
        return tuple(self._messages)

    def add(self, item: Item, path: str) -> None:
        kind = item.type or "message"
        if kind in _PASSED_OVER:
            return
        if kind == "reasoning":
            self._thought.append(_thought(item))
        elif kind in _CALLS:
            self._assist(Message("assistant", "", tool_calls=(_call(item, path),)))
        elif item.role == "assistant":
            self._assist(self._said(item, path))
        else:
            result = kind in _RESULTS
            self._turn(_result(item, path, self._needs) if result else None, item, path)

    def _turn(self, result: Message | None, item: Item, path: str) -> None:
        self._messages.append(result or self._said(item, path))
        self._open = False
        self._thought = []

    def _assist(self, message: Message) -> None:
        thought, self._thought = "\n\n".join(filter(None, self._thought)), []
        message = replace(message, reasoning=thought)
        if not self._open:
            self._messages.append(message)
            self._open = True
            return
        last = self._messages[-1]
        self._messages[-1] = replace(
            last,
            text="\n".join(filter(None, (last.text, message.text))),
            tool_calls=last.tool_calls + message.tool_calls,
            attachments=last.attachments + message.attachments,
            reasoning="\n\n".join(filter(None, (last.reasoning, thought))),
        )

    def _said(self, item: Item, path: str) -> Message:
        if item.role is None:
            raise InvalidRequest("a message needs `role`", param=f"{path}.role")
        place = f"{path}.content"
        if item.content is None:
            raise InvalidRequest("must not be null", param=place)
        return Message(
            "system" if item.role == "developer" else item.role,
            text_of(item.content, place, self._needs),
            attachments=tuple(attachments_of(item.content, place, self._needs)),
        )


def _thought(item: Item) -> str:
    """What was thought, from whichever form the client has kept."""
    parts = item.content if isinstance(item.content, list) else item.summary
    texts = (part.text for part in parts or item.summary or ())
    return unseal(item.encrypted_content) or "\n\n".join(filter(None, texts))


def _call(item: Item, path: str) -> ToolCall:
    if item.type == "local_shell_call":
        return ToolCall(
            item.call_id or item.id or "", SHELL, action_text(item.action or {})
        )
    called = item.input if item.type == "custom_tool_call" else item.arguments
    for name, value in (("name", item.name), ("call_id", item.call_id)):
        if value is None:
            raise InvalidRequest(f"a call needs `{name}`", param=f"{path}.{name}")
    arguments = called or ""
    if item.type == "custom_tool_call":
        arguments = wrapped(arguments)
    return ToolCall(
        item.call_id or "", spaced(item.namespace, item.name or ""), arguments
    )


def _result(item: Item, path: str, needs: list[Need]) -> Message:
    call_id = item.call_id or (item.id if item.type == f"{SHELL}_call_output" else None)
    if call_id is None:
        raise InvalidRequest("a result needs `call_id`", param=f"{path}.call_id")
    place = f"{path}.output"
    return Message(
        "tool",
        text_of(item.output, place, needs),
        tool_call_id=call_id,
        attachments=tuple(attachments_of(item.output, place, needs)),
    )
