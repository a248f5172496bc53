"""Files on the Connect wire: upload, and the wait until they are read (sheet §11)."""

import hashlib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kimi_proxy.chat import File, Message
from kimi_proxy.errors import (
    ContextTooLong,
    GatewayError,
    InvalidRequest,
    PayloadTooLarge,
    UpstreamGarbled,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.providers.base import Credential, Lease, Uploaded
from kimi_proxy.providers.kimi_connect_call import Call, Caller, document
from kimi_proxy.providers.prompt import merge
from kimi_proxy.scope import Scope
from kimi_proxy.upstream import Reply

SPACE: Final = "connect"
LONG_PROMPT: Final = 450_000  # bytes
_SERVICE: Final = "kimi.gateway.file.v1.FileService"
_READY: Final = frozenset({"PROCESS_STATUS_SUCCESS", 3, "3"})
_FAILED: Final = frozenset({"PROCESS_STATUS_FAIL", 4, "4"})
# Clients ask each second, 30 or 120 times; a small file is read sooner than that.
_PAUSES: Final = (0.2, 0.3, 0.5)
_POLLS: Final = 90
_PIECE: Final = 65_536
_PROMPT: Final = "messages"  # where a prompt comes from that goes up as a file
# What a quoted name in a multipart head may not hold, as browsers write it.
_QUOTED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def prepared(
    caller: Caller, messages: Sequence[Message], lease: Lease, longest: int
) -> tuple[str, list[dict[str, Any]]]:
    """The messages as one prompt, and the blocks of their files, which stand before it.

    Uploads the files that the account does not have yet, each once. What makes a
    prompt longer than `longest` bytes becomes one of them.
    """
    prompt = merge(messages)
    files = {file.digest: file for message in messages for file in message.files}
    if len(prompt.encode()) > longest:
        prompt, file = _shortened(messages, longest) or _as_file(prompt)
        files[file.digest] = file
    if not files:
        return prompt, []

    def upload(file: File, scope: Scope) -> Uploaded:
        return _upload(caller, lease.credential, file, scope)

    def settle(file: File, uploaded: Uploaded, scope: Scope) -> None:
        _await_reading(caller, lease.credential, file, uploaded.id, scope)

    there = lease.files.ensure(
        list(files.values()), upload, space=SPACE, scope=lease.scope, settle=settle
    )
    return prompt, [{"message_id": "", "file": {"id": file.id}} for file in there]


def _shortened(messages: Sequence[Message], longest: int) -> tuple[str, File] | None:
    """The prompt with its history in a file; None where that is not what is long.

    What directs the model stays before its eyes: the first directions if there is room
    for them, and what stands with the last message.
    """
    told = [message.role != "system" for message in messages]
    first, last = told.index(True) if any(told) else 0, len(messages) - 1
    while last > first and not told[last - 1]:
        last -= 1
    for begin in (first, 0):
        if begin == last:
            continue
        file = _text_file(merge(messages[begin:last]))
        words = (
            f"The conversation so far is in the attached file {file.name}. Read it to "
            "its end, and go on from there."
        )
        parts = [merge(messages[:begin]), words, merge(messages[last:])]
        prompt = "\n\n".join(filter(None, parts))
        if len(prompt.encode()) <= longest:
            return prompt, file
    return None


def _as_file(prompt: str) -> tuple[str, File]:
    """A prompt that is too long for a message: what to write instead, and the file."""
    file = _text_file(prompt)
    words = (
        f"The whole conversation is in the attached file {file.name}. Read it to its "
        "end and answer its last message, as if it stood here."
    )
    return words, file


def _text_file(text: str) -> File:
    """A file whose name no other text has: by it the chat can be found again."""
    data = text.encode()
    digest = hashlib.sha256(data).hexdigest()
    name = f"prompt-{digest[:16]}.txt"
    return File("file", name, "text/plain", data, digest, _PROMPT)


def _upload(
    caller: Caller, credential: Credential, file: File, scope: Scope
) -> Uploaded:
    boundary = uuid.uuid4().hex
    head, tail = _frame(file, boundary)
    reply = caller.upload(
        credential,
        f"multipart/form-data; boundary={boundary}",
        _pieces(head, file.data, tail),
        len(head) + len(file.data) + len(tail),
        scope,
    )
    if reply.status != 200:
        raise _refusal(caller, reply, file)
    told = document(reply).get("file")
    file_id = told.get("id") if isinstance(told, dict) else None
    if not isinstance(file_id, str) or not file_id:
        raise UpstreamGarbled("Kimi took a file without telling its id")
    return Uploaded(file_id)


def _refusal(caller: Caller, reply: Reply, file: File) -> GatewayError:
    """What a refused upload means; the words for a prompt would mislead here."""
    error = caller.refusal(reply)
    if reply.status == 413 or isinstance(error, ContextTooLong):
        text = f"Kimi takes no file of {len(file.data)} bytes"
        return PayloadTooLarge(text, param=file.param)
    if isinstance(error, UpstreamNotFound):
        text = f"Kimi takes no files at this place any more (status {reply.status})"
        code = error.upstream_code
        return UpstreamUnsupported(text, param=file.param, upstream_code=code)
    if reply.status == 415 or isinstance(error, UpstreamRejected):
        text = f"Kimi takes no file such as {file.name!r} ({file.media_type})"
        return InvalidRequest(f"{text}: {error.message}", param=file.param)
    return error


def _await_reading(
    caller: Caller, credential: Credential, file: File, file_id: str, scope: Scope
) -> None:
    """Ask until Kimi has read the file; raises `InvalidRequest` when it cannot."""
    call = Call(
        _SERVICE,
        "GetFileParseProgress",
        {"file_ids": [file_id]},
        credential,
        scope,
        root="/apiv2-files",
    )
    for poll in range(_POLLS):
        status = _status(caller.ask(call), file_id)
        if status in _READY:
            return
        if status in _FAILED:
            raise InvalidRequest(
                f"Kimi cannot read the file {file.name!r} ({file.media_type})",
                param=file.param,
            )
        scope.pause(_PAUSES[poll] if poll < len(_PAUSES) else 1.0)
    raise UpstreamTimeout(f"Kimi has not read the file within {_POLLS} s")


def _status(answer: Mapping[str, Any], file_id: str) -> str | int | None:
    """How far a file is, by name or by number; None when nothing is told of it."""
    listed = answer.get("progresses")
    for progress in listed if isinstance(listed, list) else ():
        if isinstance(progress, dict) and progress.get("fileId") == file_id:
            status = progress.get("status")
            return status if isinstance(status, str | int) else None
    return None


def _frame(file: File, boundary: str) -> tuple[bytes, bytes]:
    name = file.name.translate(_QUOTED)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: {file.media_type}\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def _pieces(head: bytes, data: bytes, tail: bytes) -> Iterator[bytes]:
    yield head
    for start in range(0, len(data), _PIECE):
        yield data[start : start + _PIECE]
    yield tail
