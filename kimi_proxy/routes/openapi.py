"""What the API is: as a document for programs, and on a page for people.

The page is made of files of our own and a viewer from the npm registry, all of which
come from here: it opens without any other network (docs/dependencies.md).
"""

import gzip
import hashlib
from collections.abc import Iterator
from pathlib import Path

from flask import Blueprint, Response, current_app, request, send_file

from kimi_proxy.errors import NotFound

_FILES = Path(__file__).parents[1] / "static" / "docs"
_VIEWER = "openapi-explorer-2.4.820.min.js"
# Its name has its version, so it never changes; it is kept packed.
_KINDS = {
    "docs.css": "text/css",
    "docs.js": "text/javascript",
    _VIEWER: "text/javascript",
}
_YEAR = "public, max-age=31536000, immutable"
_BLOCK = 1 << 16
# The viewer's components have styles of their own within the page, but no scripts.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


class _Document:
    """The document as bytes, made when it is asked for the first time."""

    def __init__(self) -> None:
        self._made: tuple[bytes, str] | None = None

    def get(self, prefix: str) -> tuple[bytes, str]:
        """The bytes, and what tells whether they changed."""
        if self._made is None:
            # A tenth of a second, which a worker that nobody asks never spends.
            from kimi_proxy.reference.document import (  # noqa: PLC0415 (see above)
                written,
            )

            data = written(prefix)
            self._made = data, hashlib.sha256(data).hexdigest()[:32]
        return self._made


def page() -> Response:
    """The page."""
    response = _sent("index.html", "text/html")
    response.headers["Content-Security-Policy"] = _POLICY
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def part(name: str) -> Response:
    """A file that the page names."""
    kind = _KINDS.get(name)
    if kind is None:
        raise NotFound(f"there is no {request.method} {request.path[:200]}")
    return _packed(name, kind) if name == _VIEWER else _sent(name, kind)


def _packed(name: str, kind: str) -> Response:
    """A file that is kept compressed, for clients that take it so and for others."""
    file = _FILES / f"{name}.gz"
    if request.accept_encodings.quality("gzip"):
        response = _sent(file.name, kind)
        response.headers["Content-Encoding"] = "gzip"
    else:
        response = current_app.response_class(_blocks(file), mimetype=kind)
        response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = _YEAR
    response.vary.add("Accept-Encoding")
    return response


def _blocks(file: Path) -> Iterator[bytes]:
    with gzip.open(file) as unpacked:
        while block := unpacked.read(_BLOCK):
            yield block


def _sent(name: str, kind: str) -> Response:
    """A file from the disk; clients may keep it as long as they ask whether it changed.

    Read as it is sent: no worker holds it in memory.
    """
    response = send_file(_FILES / name, mimetype=kind)
    response.direct_passthrough = False  # else the request's record never ends
    response.headers.remove("Content-Disposition")  # it is no file to keep
    response.headers["Cache-Control"] = "no-cache"
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def blueprint(prefix: str) -> Blueprint:
    """These endpoints need no key: they tell what the project's pages tell."""
    openapi = Blueprint("openapi", __name__)
    made = _Document()

    def document() -> Response:
        data, tag = made.get(prefix)
        response = current_app.response_class(data, mimetype="application/json")
        response.headers["Cache-Control"] = "no-cache"
        response.set_etag(tag)
        response.make_conditional(request)
        return response

    openapi.add_url_rule("/openapi.json", view_func=document)
    openapi.add_url_rule("/docs", view_func=page)
    openapi.add_url_rule("/docs/<name>", view_func=part)
    return openapi
