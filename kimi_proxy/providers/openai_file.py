"""Files as Moonshot takes them (sheet §3, §4): documents uploaded and read there, their
text put before the message as a system message; pictures by their data.
"""

import base64
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from kimi_proxy.chat import ChatRequest, File
from kimi_proxy.errors import FileLost, GatewayError, UpstreamRejected
from kimi_proxy.providers.base import Lease, Uploaded
from kimi_proxy.providers.openai_answer import object_of
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply

_SPACE = "file-extract"
_BY_URL = frozenset({"image_url", "input_image"})
_DOCUMENTS = frozenset({"file", "file_url", "input_file"})

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Request:
    """A call to the upstream; `path` below its base address."""

    path: str
    method: str = "GET"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Reader:
    """Has files read upstream: `send` makes a call with the account's key, `refused`
    says what a refusal means."""

    send: Callable[[Request, Scope], Reply]
    refused: Callable[[Reply], GatewayError]

    def upload(self, file: File, scope: Scope) -> Uploaded:
        """Upload a document to be read; raises `UpstreamRejected` if it cannot be."""
        boundary = uuid.uuid4().hex
        head = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        form = _form(file, boundary)
        reply = self.send(Request("/files", "POST", head, form), scope)
        if reply.status != 200:
            raise self.refused(reply)
        document = object_of(reply.body)
        if document.get("status") == "error" or not document.get("id"):
            raise UpstreamRejected(
                "the upstream cannot read the file", param=file.param
            )
        return Uploaded(str(document["id"]))

    def text(self, uploaded: Uploaded, scope: Scope) -> str:
        """What was read; raises `FileLost` when the file is not there any more."""
        reply = self.send(Request(f"/files/{uploaded.id}/content"), scope)
        if reply.status == 404:
            raise FileLost("the upstream has lost an uploaded file")
        if reply.status != 200:
            raise self.refused(reply)
        return _read(reply.body)


def _form(file: File, boundary: str) -> bytes:
    name = file.name.replace("\\", "_").replace('"', "_")
    head = (
        f'--{boundary}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n'
        f'file-extract\r\n--{boundary}\r\nContent-Disposition: form-data; name="file";'
        f' filename="{name}"\r\nContent-Type: {file.media_type}\r\n\r\n'
    )
    return b"".join((head.encode(), file.data, f"\r\n--{boundary}--\r\n".encode()))


def _read(body: bytes) -> str:
    """In practice a JSON text with the content in it, else the content itself."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    content = document.get("content") if isinstance(document, dict) else None
    return content if isinstance(content, str) else body.decode("utf-8", "replace")


def put_in(body: Wire, request: ChatRequest, lease: Lease, reader: Reader) -> None:
    """Put the request's files into `body`, as the upstream takes them."""
    if not any(message.files for message in request.messages):
        return
    documents = [f for m in request.messages for f in m.files if f.kind == "file"]
    scope = lease.scope
    there = lease.files.ensure(documents, reader.upload, space=_SPACE, scope=scope)
    texts = {
        file.digest: reader.text(uploaded, scope)
        for file, uploaded in zip(documents, there, strict=True)
    }
    written: list[Any] = []
    for wire, message in zip(body["messages"], request.messages, strict=True):
        written += _messages(wire, message.files, texts) if message.files else [wire]
    body["messages"] = written


def _messages(
    wire: Wire, files: tuple[File, ...], texts: Mapping[str, str]
) -> Iterator[Wire]:
    """The texts of a message's documents, then the message without them.

    A tool's result has them within: nothing may stand between it and its call.
    """
    told = [f"{f.name}:\n{texts[f.digest]}" for f in files if f.kind == "file"]
    rest, parts = list(files), []
    for part in wire["content"]:
        kind = part.get("type")
        if kind in _BY_URL:
            parts.append(_picture(part, rest.pop(0)))
        elif kind in _DOCUMENTS:
            rest.pop(0)
        else:
            parts.append(part)
    if wire["role"] == "tool":
        within = [{"type": "text", "text": text} for text in told]
        yield {**wire, "content": [*within, *parts]}
        return
    yield from ({"role": "system", "content": text} for text in told)
    names = ", ".join(file.name for file in files)
    yield {**wire, "content": parts or [{"type": "text", "text": names}]}


def _picture(part: Wire, file: File) -> Wire:
    """As the client sent it if that was by its data; addresses are not followed."""
    told = part.get("image_url")
    url = told.get("url") if isinstance(told, Mapping) else told
    if part["type"] == "image_url" and str(url).strip()[:5].lower() == "data:":
        return part
    data = base64.b64encode(file.data).decode()
    more = told if isinstance(told, Mapping) else {}
    url = f"data:{file.media_type};base64,{data}"
    return {"type": "image_url", "image_url": {**more, "url": url}}
