"""An answer that says no: status, body of any kind, headers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refusing answer; `text` is sent instead of the JSON `document` when given."""

    status: int
    document: Any = None
    text: str | None = None
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """Return the bytes of the body."""
        if self.text is not None:
            return self.text.encode()
        return json.dumps(self.document, ensure_ascii=False).encode()


class Refused(Exception):
    """A call ends with this refusal."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.body().decode())
        self.refusal = refusal


def refuse(
    status: int,
    message: str,
    error_type: str = "invalid_request_error",
    code: str | None = None,
    param: str | None = None,
    *,
    headers: Mapping[str, str] | None = None,
) -> Refusal:
    """Return a refusal in OpenAI's shape (clients sheet §3.1)."""
    error = {"message": message, "type": error_type, "param": param, "code": code}
    return Refusal(status, {"error": error}, headers=headers or {})
