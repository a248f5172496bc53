"""Files on the legacy wire: pre-sign, put, register, parse (legacy sheet §7)."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from kimi_proxy.chat import File, Message
from kimi_proxy.errors import (
    ContextTooLong,
    InvalidRequest,
    PayloadTooLarge,
    StorageFull,
    UpstreamBlocked,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamMoved,
    UpstreamNotFound,
    UpstreamTimeout,
    UpstreamUnsupported,
)
from kimi_proxy.providers.base import Credential, Lease, Uploaded
from kimi_proxy.providers.kimi_legacy_call import Call, Caller
from kimi_proxy.scope import Scope

SPACE: Final = "legacy"
_REGISTERED: Final = frozenset({"initialized", "parsed"})
_FAILED: Final = frozenset({"failed", "fail", "error", "parse_failed"})
_PAUSE: Final = 0.4  # seconds between two looks; the sheet advises 0.3 to 0.5
_LOOKS: Final = 75  # 30 s
_PARSE_MS: Final = 120_000
_PIECE: Final = 65_536
# What the service says of a full account is not known; these words would be in it.
_FULL: Final = re.compile(r"\b(storage|quota)\b", re.I)


def referred(
    caller: Caller, messages: Sequence[Message], chat_id: str, lease: Lease
) -> dict[str, Any]:
    """What a completion says of the messages' files: `refs` and `refs_file` (sheet §4).

    Uploads those that the account does not have yet, each once; a document is
    registered with the chat, which has to exist.
    """
    files = {file.digest: file for message in messages for file in message.files}

    def upload(file: File, scope: Scope) -> Uploaded:
        return _Upload(caller, lease.credential, file, chat_id, scope).run()

    there = []
    if files:
        there = lease.files.ensure(
            list(files.values()), upload, space=SPACE, scope=lease.scope
        )
    return {
        "refs": [file.id for file in there],
        "refs_file": [_described(file) for file in there],
    }


def _described(file: Uploaded) -> dict[str, Any]:
    return {
        "detail": file.details,
        "done": True,
        "file": {},
        "file_info": file.details,
        "id": file.id,
        "name": file.details.get("name"),
        "parse_status": "success",
        "size": file.details.get("size"),
        "upload_progress": 100,
        "upload_status": "success",
    }


class _Upload:
    """One file on its way into an account."""

    def __init__(
        self,
        caller: Caller,
        credential: Credential,
        file: File,
        chat_id: str,
        scope: Scope,
    ) -> None:
        self._caller = caller
        self._credential = credential
        self._file = file
        self._chat_id = chat_id
        self._scope = scope

    def run(self) -> Uploaded:
        signed = self._pre_sign()
        self._put(_text(signed, "url"))
        body = self._registration(signed)
        detail = self._register(body)
        if detail["status"] != "parsed":
            self._parse(detail["id"])
            detail = self._ask("/api/file", body)
            self._require_readable(detail)
        return Uploaded(_text(detail, "id"), detail)

    def _pre_sign(self) -> Mapping[str, Any]:
        body = {"action": self._file.kind, "name": self._file.name}
        return self._ask("/api/pre-sign-url", body)

    def _put(self, url: str) -> None:
        """Give the bytes to the host that the service named; no token goes there."""
        file, scope = self._file, self._scope
        try:
            reply = self._caller.put(
                url, file.media_type, self._pieces(), len(file.data), scope
            )
        except (UpstreamBlocked, UpstreamMoved) as exc:
            # Another host's doing: it says nothing of the account or of the service.
            text = "Kimi's file store answers with a redirect or a web page"
            raise UpstreamFailed(text) from exc
        if reply.status == 413:
            raise self._too_large()
        if not 200 <= reply.status < 300:
            raise UpstreamFailed(
                f"Kimi's file store refuses a file (status {reply.status})"
            )

    def _registration(self, signed: Mapping[str, Any]) -> Mapping[str, Any]:
        name = self._file.name
        if self._file.kind == "image":
            return {"type": "image", "file_id": _text(signed, "file_id"), "name": name}
        return {
            "type": "file",
            "name": name,
            "object_name": _text(signed, "object_name"),
            "file_id": "",
            "chat_id": self._chat_id,
        }

    def _register(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(_LOOKS):
            detail = self._ask("/api/file", body)
            self._require_readable(detail)
            if detail.get("status") in _REGISTERED:
                _text(detail, "id")
                return detail
            self._scope.pause(_PAUSE)
        raise UpstreamTimeout("Kimi has not registered a file within 30 s")

    def _parse(self, file_id: str) -> None:
        """Let the file be read; what the progress events say is not known (§7)."""
        body = {"ids": [file_id], "timeout": _PARSE_MS}
        self._caller.run(self._call("/api/file/parse_process", body))

    def _require_readable(self, detail: Mapping[str, Any]) -> None:
        if str(detail.get("status")).lower() in _FAILED:
            raise InvalidRequest(
                f"Kimi cannot read the file {self._file.name!r} "
                f"({self._file.media_type})",
                param=self._file.param,
            )

    def _ask(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            return self._caller.ask(self._call(path, body))
        except ContextTooLong as exc:  # no prompt has been sent yet
            raise self._too_large() from exc
        except UpstreamNotFound as exc:
            if not exc.is_bare:
                raise
            text = "Kimi takes no files at this place any more (status 404)"
            raise UpstreamUnsupported(text, upstream_code=exc.upstream_code) from exc
        except UpstreamFailed as exc:
            if _FULL.search(exc.message):
                raise StorageFull(
                    exc.message, param=self._file.param, upstream_code=exc.upstream_code
                ) from exc
            raise

    def _call(self, path: str, body: Mapping[str, Any]) -> Call:
        return Call("POST", path, self._credential, self._scope, body)

    def _pieces(self) -> Iterator[bytes]:
        data = self._file.data
        return (data[at : at + _PIECE] for at in range(0, len(data), _PIECE))

    def _too_large(self) -> PayloadTooLarge:
        return PayloadTooLarge(
            f"Kimi takes no file of {len(self._file.data)} bytes",
            param=self._file.param,
        )


def _text(answer: Mapping[str, Any], name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise UpstreamGarbled(f"Kimi's answer about a file has no {name}")
    return value
