"""One request on its way through an emulator, and the means to answer it."""

import json
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from emulators.audit import AuditLog
from emulators.fault import Fault, Faults
from emulators.http_server import Handler, Request
from emulators.stream import Shape, StreamWriter


@dataclass(frozen=True, slots=True)
class Identity:
    """Who sent a request, for the log and for faults bound to an account."""

    account: str | None = None
    token_kind: str | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path such as `/api/chat/{id}`, and who answers it.

    `name` is how the log and faults call it (default: the last literal segment).
    """

    method: str
    path: str
    handler: "Callable[[Exchange], None]"
    name: str = ""

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the path's parameters when this route serves the request."""
        if method != self.method:
            return None
        found = _pattern(self.path).fullmatch(path)
        return found.groupdict() if found else None

    @property
    def title(self) -> str:
        """The route's name."""
        literal = [part for part in self.path.split("/") if part and part[0] != "{"]
        return self.name or literal[-1]


@cache
def _pattern(path: str) -> re.Pattern[str]:
    """Compile a route's path once; placeholders match one segment."""
    return re.compile(re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(path)))


class Exchange:
    """One request and the means to answer it."""

    def __init__(
        self,
        handler: Handler,
        request: Request,
        *,
        log: AuditLog,
        faults: Faults,
        identity: Identity,
        route: str,
        entry_id: int,
        headers: Mapping[str, str],
    ) -> None:
        self.request = request
        self.identity = identity
        self.route = route
        self.connection = handler.link
        self._log = log
        self._faults = faults
        self._handler = handler
        self._entry = entry_id
        self._headers = headers

    def note(self, **changes: Any) -> None:
        """Complete this request's audit entry (fields of `Entry`)."""
        self._log.update(self._entry, **changes)

    def fault(self, *names: str) -> Fault | None:
        """Take the next planned fault of these names that hits this request."""
        return self._faults.take(names, self.identity.account, self.route)

    def json(
        self, value: Any, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with a JSON document."""
        body = json.dumps(value, ensure_ascii=False).encode()
        self.answer(status, body, "application/json", headers)

    def answer(
        self,
        status: int,
        body: bytes,
        content_type: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Answer with a body of known length."""
        self.note(status=status, outcome="answered", sent=len(body))
        fields = {"Content-Type": content_type, "Content-Length": str(len(body))}
        self._head(status, {**fields, **(headers or {})}, body)

    def stream(
        self,
        content_type: str,
        shape: Shape | None = None,
        status: int = 200,
        headers: Mapping[str, str] | None = None,
    ) -> StreamWriter:
        """Send the head of a streamed answer and return the writer of its body."""
        shape = shape or Shape()
        self.note(status=status, outcome="open", opened_at=time.monotonic())
        if shape.chunked:
            fields = {"Transfer-Encoding": "chunked"}
        else:
            fields = {"Connection": "close"}
        fields["Content-Type"] = content_type
        self._head(status, {**fields, **(headers or {})}, b"")
        self._handler.writer = StreamWriter(self.connection, shape, self.note)
        return self._handler.writer

    def pause(self, seconds: float) -> bool:
        """Wait before answering; False, at once, when the peer has left."""
        if self.connection.pause(seconds):
            return True
        self._aborted()
        return False

    def hang(self) -> None:
        """Answer nothing until the peer leaves or the emulator stops."""
        self.note(outcome="hanging", opened_at=time.monotonic())
        while self.connection.pause(3600):
            pass
        self._aborted()

    def cut(self, rst: bool = True) -> None:
        """Close the connection without an answer."""
        self.note(outcome="cut", closed_at=time.monotonic())
        self._handler.close_connection = True
        self.connection.cut(rst)

    def _aborted(self) -> None:
        gone = self.connection.gone_at
        self.note(outcome="aborted", aborted_at=gone, closed_at=gone)
        self._handler.close_connection = True

    def _head(self, status: int, fields: Mapping[str, str], body: bytes) -> None:
        handler = self._handler
        handler.answered = True
        fields = {**self._headers, **fields}
        if "Server" in fields:
            handler.send_response_only(status)
            handler.send_header("Date", handler.date_time_string())
        else:
            handler.send_response(status)
        for name, value in fields.items():
            handler.send_header(name, value)
        try:
            handler.end_headers()
            handler.wfile.write(body)
        except OSError:
            self.connection.lost()
            self._aborted()
