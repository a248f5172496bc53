"""Multipart bodies, read byte for byte."""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from emulators.http_server import Request


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a form; `filename` None is a plain field."""

    name: str
    content: bytes = field(repr=False)
    filename: str | None = None
    content_type: str = ""

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode()

    @property
    def digest(self) -> str:
        """The SHA-256 of the content, in hex."""
        return hashlib.sha256(self.content).hexdigest()


class Form:
    """The parts of a multipart body, in their order."""

    def __init__(self, parts: tuple[Part, ...]) -> None:
        self.parts = parts

    def __contains__(self, name: str) -> bool:
        """Whether a field is there, also as `name[]`."""
        return bool(self.all(name))

    def all(self, name: str) -> list[Part]:
        """Return the parts of a field, also those called `name[]`."""
        return [part for part in self.parts if part.name in (name, f"{name}[]")]

    def file(self, name: str) -> Part:
        """Return the first part of a field; raises KeyError."""
        for part in self.all(name):
            return part
        raise KeyError(name)

    def get(self, name: str, default: str = "") -> str:
        """Return a field's text."""
        found = self.all(name)
        return found[0].text if found else default

    def described(self) -> list[dict[str, Any]]:
        """Return the parts for the log: texts of fields, digests of files."""
        return [
            {"name": part.name, "text": part.text}
            if part.filename is None
            else {
                "name": part.name,
                "filename": part.filename,
                "type": part.content_type,
                "size": len(part.content),
                "sha256": part.digest,
            }
            for part in self.parts
        ]


def parse_form(request: Request) -> Form:
    """Return a multipart/form-data body; raises ValueError for anything else."""
    header = request.headers.get("content-type") or ""
    boundary = re.search(r'boundary="?([^";]+)"?', header)
    if request.content_type != "multipart/form-data" or boundary is None:
        raise ValueError("expected multipart/form-data with a boundary")
    mark = b"--" + boundary[1].encode()
    pieces = (b"\r\n" + request.body).split(b"\r\n" + mark)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("the multipart body does not end with its boundary")
    return Form(tuple(_part(piece) for piece in pieces[1:-1]))


def _part(piece: bytes) -> Part:
    head, found, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not found:
        raise ValueError("a part of the multipart body has no head")
    headers = dict(line.lower().split(":", 1) for line in _lines(head, "content-type:"))
    (disposition,) = _lines(head, "content-disposition:")
    return Part(
        name=_attribute(disposition, "name") or "",
        content=content,
        filename=_attribute(disposition, "filename"),
        content_type=headers.get("content-type", "").strip(),
    )


def _lines(head: bytes, start: str) -> list[str]:
    lines = head.decode().split("\r\n")
    found = [line for line in lines if line.lower().startswith(start)]
    if not found and start == "content-disposition:":
        raise ValueError("a part of the multipart body has no content-disposition")
    return found[:1]


def _attribute(disposition: str, name: str) -> str | None:
    found = re.search(rf'[; ]{name}="((?:[^"\\]|\\.)*)"', disposition)
    return re.sub(r"\\(.)", r"\1", found[1]) if found else None
