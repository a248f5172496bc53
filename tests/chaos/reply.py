"""An answer of the gateway, read the way a strict client reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, headers (lower case) and the body as far as it came.

    `broken` says that the HTTP framing ended before the body did.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    broken: bool = False

    @property
    def streamed(self) -> bool:
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def frames(self) -> list[Any]:
        """Each `data:` line of a stream, parsed; without the final `[DONE]`."""
        lines = [x[6:] for x in self.body.split(b"\n") if x.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def done(self) -> bool:
        return self.streamed and b"data: [DONE]" in self.body

    @property
    def document(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """The answer's text, empty for an error."""
        if not self.streamed:
            return "".join(
                choice["message"]["content"]
                for choice in self.document.get("choices", ())
            )
        return "".join(
            choice["delta"].get("content") or ""
            for frame in self.frames
            for choice in frame.get("choices", ())
        )

    @property
    def finish_reason(self) -> str | None:
        found = self.frames if self.streamed else [self.document]
        reasons = [c["finish_reason"] for f in found for c in f.get("choices", ())]
        return next((reason for reason in reasons if reason), None)

    @property
    def error(self) -> Mapping[str, Any] | None:
        """The error object, of the body or of the stream's last frame."""
        found = self.frames[-1:] if self.streamed else [self.document]
        return next((f["error"] for f in found if "error" in f), None)

    @property
    def claims_success(self) -> bool:
        """Whether any sign of success is in it."""
        return self.status == 200 and (
            not self.streamed or self.done or self.finish_reason is not None
        )
