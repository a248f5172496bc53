"""OpenAI's content parts: the words of a message, and what is attached to it."""

import re
from collections.abc import Iterator
from typing import Literal

from kimi_proxy.chat import Attachment, Need
from kimi_proxy.dialects.encoded import from_base64, unquoted
from kimi_proxy.dialects.openai_wire import Address, Part
from kimi_proxy.errors import InvalidRequest

_Kind = Literal["image", "file"]
_TEXTS = frozenset({"text", "input_text", "output_text"})
_IMAGES = frozenset({"image_url", "input_image"})
_FILES = frozenset({"file", "file_url", "input_file"})
_WEB = re.compile("https?:", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]{0,31}:")
_LONGEST_HEAD = 1000  # characters of a data URL before its data


def text_of(content: str | list[Part] | None, path: str, needs: list[Need]) -> str:
    """The text parts, joined in order; raises `InvalidRequest`.

    Parts of a type that is not known are added to the `needs`.
    """
    if content is None or isinstance(content, str):
        return content or ""
    texts = []
    for index, part in enumerate(content):
        place = f"{path}[{index}]"
        if part.type in _TEXTS:
            if part.text is None:
                raise InvalidRequest("a text part needs `text`", param=place)
            texts.append(part.text)
        elif part.type == "refusal":
            texts.append(part.refusal or part.text or "")
        elif part.type not in _IMAGES | _FILES:
            kind = repr(part.type[:40])
            needs.append(Need(f"content parts of type {kind} are not supported", place))
    return "\n".join(texts)


def attachments_of(
    content: str | list[Part] | None, path: str, needs: list[Need]
) -> Iterator[Attachment]:
    """The images and files of a message, in order; raises `InvalidRequest`.

    URLs that only an upstream may understand are added to the `needs`.
    """
    for index, part in enumerate(content if isinstance(content, list) else ()):
        if part.type not in _IMAGES | _FILES:
            continue
        read = _image if part.type in _IMAGES else _file
        attachment = read(part, f"{path}[{index}]")
        if attachment.url and not _WEB.match(attachment.url):
            message = "only http, https and data URLs are understood"
            needs.append(Need(message, attachment.param))
        yield attachment


def _image(part: Part, path: str) -> Attachment:
    if part.file_id is not None:
        return Attachment("image", f"{path}.file_id", file_id=part.file_id)
    if part.image_url is None:
        raise InvalidRequest("an image part needs `image_url`", param=path)
    return _linked("image", part.image_url, f"{path}.image_url", part.filename)


def _file(part: Part, path: str) -> Attachment:
    if part.file_url is not None:
        return _linked("file", part.file_url, f"{path}.file_url", part.filename)
    place, found = path, part.file
    if found is not None:
        place = f"{path}.file"
    file_id = found.file_id if found else part.file_id
    data = found.file_data if found else part.file_data
    name = found.filename if found else part.filename
    if data is not None:
        return _given("file", data, f"{place}.file_data", name)
    if file_id is not None:
        return Attachment("file", f"{place}.file_id", file_id=file_id, name=name)
    raise InvalidRequest(
        "a file part needs `file_id`, `file_data` or `file_url`", param=path
    )


def _linked(
    kind: _Kind, address: str | Address, path: str, name: str | None
) -> Attachment:
    if isinstance(address, Address):
        path, address = f"{path}.url", address.url
    return _given(kind, address, path, name)


def _given(kind: _Kind, value: str, path: str, name: str | None) -> Attachment:
    """A URL to fetch, a data URL, or base64 without any header."""
    value = value.strip()
    scheme = _SCHEME.match(value)
    if scheme is None:
        return Attachment(kind, path, data=from_base64(value, path), name=name)
    if scheme.group().lower() != "data:":
        return Attachment(kind, path, url=value, name=name)
    media_type, data = _data_url(value, path)
    return Attachment(kind, path, data=data, media_type=media_type, name=name)


def _data_url(value: str, path: str) -> tuple[str | None, bytes]:
    head, comma, body = value[len("data:") :].partition(",")
    if not comma:
        raise InvalidRequest("the data URL has no comma before its data", param=path)
    if len(head) > _LONGEST_HEAD:
        raise InvalidRequest("what precedes the data is too long", param=path)
    media_type, *options = (part.strip().lower() for part in head.split(";"))
    coded = "base64" in options
    data = from_base64(body, path) if coded else unquoted(body)
    return media_type or None, data
