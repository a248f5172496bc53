"""A request of a client that speaks another dialect, in the words of OpenAI's.

What the client's own JSON would have said, so that all else treats both alike: a
message for each of the request's, a content part for each of its attachments.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from kimi_proxy.chat import Attachment, ChatRequest, JsonFormat, Message, Tool

_UNKNOWN = "application/octet-stream"

Wire = dict[str, Any]


def written(request: ChatRequest, *, thoughts: bool) -> Wire:
    """The body without model, sampling and effort; with `thoughts` it has the
    thinking of earlier turns."""
    body: Wire = {"messages": [_message(m, thoughts) for m in request.messages]}
    if request.user is not None:
        body["user"] = request.user
    if request.json_format is not None:
        body["response_format"] = _format(request.json_format)
    if request.search:
        body["web_search_options"] = {}
    if not request.tools:
        return body
    body["tools"] = [_tool(tool) for tool in request.tools]
    choice = request.tool_choice
    if choice.name is not None:
        named = {"type": "function", "function": {"name": choice.name}}
        body["tool_choice"] = named
    elif choice.mode != "auto":
        body["tool_choice"] = choice.mode
    if not request.parallel_tool_calls:
        body["parallel_tool_calls"] = False
    return body


def _message(message: Message, thoughts: bool) -> Wire:
    wire: Wire = {"role": message.role, "content": _content(message)}
    if message.name is not None:
        wire["name"] = message.name
    if message.tool_call_id is not None:
        wire["tool_call_id"] = message.tool_call_id
    if message.reasoning and thoughts:
        wire["reasoning_content"] = message.reasoning
    if message.tool_calls:
        wire["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.tool_calls
        ]
    return wire


def _content(message: Message) -> str | list[Wire]:
    if not message.attachments:
        return message.text
    return list(_parts(message))


def _parts(message: Message) -> Iterator[Wire]:
    if message.text:
        yield {"type": "text", "text": message.text}
    for attachment in message.attachments:
        yield _part(attachment)


def put_stored(body: Wire, request: ChatRequest) -> None:
    """Put the files that the gateway has in place of their ids in the client's body."""
    stored = {
        attachment.file_id: attachment
        for message in request.messages
        for attachment in message.attachments
        if attachment.file_id is not None and attachment.data is not None
    }
    if stored:
        body["messages"] = [_with_stored(m, stored) for m in body["messages"]]


def _with_stored(message: Wire, stored: Mapping[str, Attachment]) -> Wire:
    content = message.get("content")
    if not isinstance(content, list):
        return message
    named = [(part, stored.get(_file_id(part))) for part in content]
    return {**message, "content": [_part(a) if a else part for part, a in named]}


def _file_id(part: Wire) -> str:
    holder = part.get("file") or part
    return str(holder.get("file_id"))


def _part(attachment: Attachment) -> Wire:
    return _file(attachment) if attachment.kind == "file" else _image(attachment)


def _image(image: Attachment) -> Wire:
    if image.data is None and image.file_id is not None:
        return {"type": "image_url", "file_id": image.file_id}
    return {"type": "image_url", "image_url": {"url": image.url or _data_url(image)}}


def _file(file: Attachment) -> Wire:
    if file.url is not None:
        return {"type": "file_url", "file_url": {"url": file.url}}
    if file.data is None and file.file_id is not None:
        return {"type": "file", "file": {"file_id": file.file_id}}
    said = {"file_data": _data_url(file)}
    if file.name is not None:
        said["filename"] = file.name
    return {"type": "file", "file": said}


def _data_url(attachment: Attachment) -> str:
    data = base64.b64encode(attachment.data or b"").decode()
    return f"data:{attachment.media_type or _UNKNOWN};base64,{data}"


def _tool(tool: Tool) -> Wire:
    function: Wire = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = tool.parameters
    if tool.strict:
        function["strict"] = True
    return {"type": "function", "function": function}


def _format(wanted: JsonFormat) -> Wire:
    if wanted.schema is None:
        return {"type": "json_object"}
    named = {"name": wanted.name or "answer", "schema": wanted.schema}
    return {"type": "json_schema", "json_schema": named}
