"""/v1/files: what clients upload, to name it in requests by its id.

The shapes are those of OpenAI (clients facts §3.4), or Anthropic's for its clients.
"""

from contextlib import ExitStack
from typing import Any

from flask import Blueprint, Response, request, send_file

from kimi_proxy.dialects import anthropic_files
from kimi_proxy.errors import InvalidRequest
from kimi_proxy.file_store import Page, Stored
from kimi_proxy.routes import query
from kimi_proxy.routes.answer import in_json
from kimi_proxy.routes.context import context, key
from kimi_proxy.routes.dialect import ANTHROPIC, spoken
from kimi_proxy.routes.form import Form, read_form
from kimi_proxy.routes.limiting import take_place

_PURPOSES = ("assistants", "batch", "fine-tune", "vision", "user_data", "evals")
_LONGEST_PAGE = 10_000
_ANTHROPIC_PAGE = 20
_ANTHROPIC_PURPOSE = "user_data"  # its clients have no word for it
_LIFE = "expires_after[seconds]"
_ANCHOR = "expires_after[anchor]"
_ANTHROPIC_LIFE = "expires_in_seconds"


def create() -> Response:
    """Store the file of a multipart form."""
    ctx = context()
    with ExitStack() as stack:
        stack.callback(take_place())
        form = stack.enter_context(read_form(ctx.files.upload))
        file = form.files.get("file")
        if file is None:
            raise InvalidRequest(
                "the form has no part `file` with a file name", param="file"
            )
        stored = ctx.files.put(
            key().owner,
            name=file.name,
            media_type=file.media_type,
            purpose=_purpose(form),
            content=file.upload,
            expires_after=_life(form),
        )
        return in_json(_described(stored))


def _purpose(form: Form) -> str:
    usual = _ANTHROPIC_PURPOSE if spoken() is ANTHROPIC else None
    purpose = form.fields.get("purpose", usual)
    if purpose not in _PURPOSES:
        raise InvalidRequest(
            f"`purpose` must be one of {', '.join(_PURPOSES)}", param="purpose"
        )
    return purpose


def _life(form: Form) -> float | None:
    """Seconds until the file expires, None where the client leaves it to us."""
    asked = form.fields.get(_ANTHROPIC_LIFE)
    theirs = None if asked is None else query.whole(_ANTHROPIC_LIFE, asked)
    seconds, anchor = form.fields.get(_LIFE), form.fields.get(_ANCHOR)
    if seconds is None and anchor is None:
        return theirs
    if anchor != "created_at":
        raise InvalidRequest(f"`{_ANCHOR}` must be created_at", param=_ANCHOR)
    return query.whole(_LIFE, seconds or "")


def listing() -> Response:
    """The key's files, the latest first unless the client asks otherwise."""
    page = _page()
    described = [_described(stored) for stored in page.files]
    if spoken() is ANTHROPIC:
        return in_json(anthropic_files.page(described, more=page.more))
    return in_json(
        {
            "object": "list",
            "data": described,
            "has_more": page.more,
            "first_id": page.files[0].id if page.files else None,
            "last_id": page.files[-1].id if page.files else None,
        }
    )


def _page() -> Page:
    asked = request.args
    order = query.order()
    usual = _ANTHROPIC_PAGE if spoken() is ANTHROPIC else _LONGEST_PAGE
    limit = query.limit(usual, _LONGEST_PAGE)
    named = {*asked.getlist("ids"), *asked.getlist("ids[]")}
    page = context().files.list(
        key().owner,
        purpose=asked.get("purpose"),
        limit=_LONGEST_PAGE if named else limit,
        # By OpenAI's word for it, by Anthropic's, and by Anthropic's former one.
        after=asked.get("after", asked.get("page", asked.get("after_id"))),
        order=order,
    )
    if named:
        return Page(tuple(f for f in page.files if f.id in named), more=False)
    return page


def retrieve(file_id: str) -> Response:
    """What is known of one file."""
    return in_json(_described(context().files.get(key().owner, file_id)))


def delete(file_id: str) -> Response:
    """Remove one file."""
    context().files.delete(key().owner, file_id)
    if spoken() is ANTHROPIC:
        return in_json(anthropic_files.deleted(file_id))
    return in_json({"id": file_id, "object": "file", "deleted": True})


def content(file_id: str) -> Response:
    """The bytes as they were uploaded: for saving, never for a page to run."""
    stored = context().files.get(key().owner, file_id)
    response = send_file(
        stored.open(),
        mimetype=stored.media_type,
        as_attachment=True,
        download_name=stored.name,
        conditional=False,
        etag=False,
    )
    response.direct_passthrough = False  # else the request's record never ends
    response.content_length = stored.size
    response.headers["Content-Type"] = stored.media_type  # no charset of our own
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _described(stored: Stored) -> dict[str, Any]:
    if spoken() is ANTHROPIC:
        return anthropic_files.described(
            id=stored.id,
            name=stored.name,
            media_type=stored.media_type,
            size=stored.size,
            created=stored.created,
            expires=stored.expires,
        )
    return {
        "id": stored.id,
        "object": "file",
        "bytes": stored.size,
        "created_at": int(stored.created),
        "expires_at": int(stored.expires),
        "filename": stored.name,
        "purpose": stored.purpose,
        "status": "processed",
        "status_details": None,
    }


def register(blueprint: Blueprint) -> None:
    """Put the endpoints on the blueprint that keys guard."""
    rules: tuple[tuple[str, Any, list[str]], ...] = (
        ("/v1/files", create, ["POST"]),
        ("/v1/files", listing, ["GET"]),
        ("/v1/files/<file_id>", retrieve, ["GET"]),
        ("/v1/files/<file_id>", delete, ["DELETE"]),
        ("/v1/files/<file_id>/content", content, ["GET"]),
    )
    for rule, view, methods in rules:
        name = f"files_{view.__name__}"
        blueprint.add_url_rule(rule, name, view_func=view, methods=methods)
