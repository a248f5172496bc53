"""Anthropic's content blocks: what a turn says, attaches, calls and answers."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from kimi_proxy.chat import Attachment, Message, ToolCall
from kimi_proxy.dialects.anthropic_wire import Block, Source, Turn
from kimi_proxy.dialects.encoded import from_base64
from kimi_proxy.dialects.json_text import dump
from kimi_proxy.errors import InvalidRequest, Unsupported

_Kind = Literal["image", "file"]
_WEB = re.compile("https?://", re.IGNORECASE)
# What Anthropic's own service did in an earlier answer, sealed for itself: the words
# that came of it stand beside it.
_SEALED = frozenset({"redacted_thinking", "server_tool_use", "mcp_tool_use"})
_SEALED_RESULT = "_tool_result"
# Claude Code's accounts with Anthropic, other in every request of some versions: no
# directions, and a history would never be the same with it.
_BILLING = "x-anthropic-billing-header:"
_FAILED = "The tool reported an error:\n"


@dataclass(slots=True)
class _Said:
    """What has been read of a turn."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[ToolCall] = field(default_factory=list)
    results: list[Message] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)


def messages_of(turn: Turn, path: str) -> Iterator[Message]:
    """A turn's messages: one for each tool's result, then one for all the rest.

    Raises `InvalidRequest` or `Unsupported` naming the block.
    """
    said = _read(turn.content, f"{path}.content")
    if said.calls and turn.role != "assistant":
        message = "only the assistant uses tools: nobody would read this `tool_use`"
        raise InvalidRequest(message, param=f"{path}.content")
    yield from said.results
    # Pieces of an answer go on where they were cut; those of a question are several.
    text = ("" if turn.role == "assistant" else "\n").join(said.texts)
    rest = Message(
        role=turn.role,
        text=text,
        tool_calls=tuple(said.calls),
        attachments=tuple(said.attachments),
        reasoning="".join(said.thoughts),
    )
    blank = not (text.strip() or rest.tool_calls or rest.attachments)
    # An answer of nothing but thinking is no turn; upstreams refuse an empty one.
    if not blank or (turn.role != "assistant" and not said.results):
        yield rest


def text_of(content: str | list[Block] | None, path: str) -> str:
    """The text of directions; raises for blocks that are no text."""
    if content is None or isinstance(content, str):
        return content or ""
    for index, block in enumerate(content):
        if block.type != "text":
            raise InvalidRequest("only text is understood", param=f"{path}.{index}")
    texts = _read(content, path).texts
    return "\n".join(text for text in texts if not text.startswith(_BILLING))


def _read(content: str | list[Block], path: str) -> _Said:
    said = _Said()
    if isinstance(content, str):
        said.texts.append(content)
        return said
    for index, block in enumerate(content):
        _note(said, block, f"{path}.{index}")
    return said


def _note(said: _Said, block: Block, path: str) -> None:
    match block.type:
        case "text":
            said.texts.append(_required(block.text, f"{path}.text"))
        case "thinking":
            said.thoughts.append(block.thinking or "")
        case "image":
            said.attachments.append(_attachment("image", block, path))
        case "document":
            _note_document(said, block, path)
        case "search_result":
            said.texts.append(_found(block, path))
        case "tool_use":
            said.calls.append(_call(block, path))
        case "tool_result":
            said.results.append(_result(block, path))
        case "tool_reference":
            said.texts.append(_required(block.tool_name, f"{path}.tool_name"))
        case kind if kind in _SEALED or kind.endswith(_SEALED_RESULT):
            return
        case kind:
            message = f"content blocks of type {kind[:40]!r} are not supported"
            raise Unsupported(message, param=path)


def _required(text: str | None, path: str) -> str:
    if text is None:
        raise InvalidRequest("Field required", param=path)
    return text


def _call(block: Block, path: str) -> ToolCall:
    return ToolCall(
        _required(block.id, f"{path}.id"),
        _required(block.name, f"{path}.name"),
        dump(block.input or {}).decode(),
    )


def _result(block: Block, path: str) -> Message:
    call_id = _required(block.tool_use_id, f"{path}.tool_use_id")
    if isinstance(block.content, dict):
        raise InvalidRequest("must be text or blocks", param=f"{path}.content")
    said = _inner(block.content, f"{path}.content")
    text = "\n".join(said.texts)
    return Message(
        role="tool",
        text=f"{_FAILED}{text}" if block.is_error else text,
        tool_call_id=call_id,
        attachments=tuple(said.attachments),
    )


def _inner(content: str | list[Block] | None, path: str) -> _Said:
    """What a block holds; raises for what only a turn may hold."""
    said = _read(content or "", path)
    if said.calls or said.results:
        raise InvalidRequest("holds a block that belongs to a turn", param=path)
    return said


def _note_document(said: _Said, block: Block, path: str) -> None:
    """Text becomes part of the turn, everything else a file beside it."""
    source = _source(block, path)
    if source.type == "text":
        data = _required(source.data, f"{path}.source.data")
        said.texts.append(_document(block, data))
    elif source.type == "content":
        inner = _inner(source.content, f"{path}.source.content")
        said.texts.append(_document(block, "\n".join(inner.texts)))
        said.attachments += inner.attachments
    else:
        said.attachments.append(_attachment("file", block, path))
        if block.context:
            said.texts.append(_document(block, ""))


def _document(block: Block, text: str) -> str:
    told = {"title": block.title, "context": block.context}
    return _tagged("document", told, text)


def _found(block: Block, path: str) -> str:
    if not isinstance(block.source, str) or not isinstance(block.content, list):
        raise InvalidRequest("needs `source` and `content`", param=path)
    text = text_of(block.content, f"{path}.content")
    return _tagged("search_result", {"title": block.title, "url": block.source}, text)


def _tagged(tag: str, told: dict[str, str | None], text: str) -> str:
    facts = "".join(
        f' {name}="{value.replace(chr(34), "&quot;")}"'
        for name, value in told.items()
        if value
    )
    return f"<{tag}{facts}>\n{text}\n</{tag}>"


def _source(block: Block, path: str) -> Source:
    if not isinstance(block.source, Source):
        raise InvalidRequest("must be an object", param=f"{path}.source")
    return block.source


def _attachment(kind: _Kind, block: Block, path: str) -> Attachment:
    source, place = _source(block, path), f"{path}.source"
    match source.type:
        case "base64":
            place = f"{place}.data"
            data = from_base64(_required(source.data, place), place)
            return Attachment(
                kind, place, data=data, media_type=source.media_type, name=block.title
            )
        case "url":
            place = f"{place}.url"
            url = _required(source.url, place)
            if not _WEB.match(url):
                message = "only http and https URLs are understood"
                raise InvalidRequest(message, param=place)
            return Attachment(kind, place, url=url, name=block.title)
        case "file":
            place = f"{place}.file_id"
            file_id = _required(source.file_id, place)
            return Attachment(kind, place, file_id=file_id, name=block.title)
    message = f"sources of type {source.type[:40]!r} are not supported"
    raise Unsupported(message, param=f"{place}.type")
