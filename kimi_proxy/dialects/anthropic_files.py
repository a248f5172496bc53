"""Files as Anthropic's clients know them (their SDKs' `beta.files`)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any


def described(
    *, id: str, name: str, media_type: str, size: int, created: float, expires: float
) -> dict[str, Any]:
    """A file; times are epoch seconds, told as RFC 3339 has them."""
    return {
        "id": id,
        "type": "file",
        "filename": name,
        "mime_type": media_type,
        "size_bytes": size,
        "created_at": _told(created),
        "expires_at": _told(expires),
        "downloadable": True,
    }


def deleted(id: str) -> dict[str, Any]:
    """What is said of a file that is gone."""
    return {"id": id, "type": "file_deleted"}


def page(files: Sequence[dict[str, Any]], *, more: bool) -> dict[str, Any]:
    """A part of a listing; clients go on from `next_page`, old ones from `last_id`."""
    last = files[-1]["id"] if files else None
    return {
        "data": files,
        "has_more": more,
        "first_id": files[0]["id"] if files else None,
        "last_id": last,
        "next_page": last if more else None,
    }


def _told(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
