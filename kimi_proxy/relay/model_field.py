"""Where a body says which model it wants, found without taking the body apart.

What is found decides what the client's key has to allow. So it must be what any other
reader would find, too: a body that names a model twice is refused.
"""

import re
from collections.abc import Iterator
from typing import Any

import orjson

from kimi_proxy.errors import InvalidRequest
from kimi_proxy.relay.body import Content, ModelField

_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = re.compile(rb'"model"\s*+:\s*+(%b)?' % _STRING, re.DOTALL)
_TOKEN = re.compile(rb"(%b)(\s*+:\s*+)?|([\[{])|[\]}]" % _STRING, re.DOTALL)
_MOST_TOKENS = 500_000
_MOST_PARTS = 1_000
_LONGEST_HEAD = 16_384
_PARAMETER = re.compile(r';\s*([^\s=;"]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;\s]*)')


def in_json(data: bytes, document: Any) -> ModelField | None:
    """The field `model` of a JSON object; `document` is what `data` says.

    None where there is none, or null. Raises `InvalidRequest`.
    """
    model = document.get("model") if isinstance(document, dict) else None
    if model is None:
        return None
    if not isinstance(model, str) or not model:
        raise InvalidRequest("`model` must be the name of a model", param="model")
    found = _PLAIN.finditer(data)
    spans = [match.span(1) for match, _ in zip(found, range(2), strict=False)]
    # Nearly every body holds the word once. In others a message may hold it as well.
    if (
        len(spans) != 1
        or spans[0][0] < 0
        or orjson.loads(data[slice(*spans[0])]) != model
    ):
        spans = list(_at_the_top(data))
    if len(spans) != 1:
        raise InvalidRequest("`model` is named more than once", param="model")
    return ModelField(model, *spans[0], orjson.dumps)


def _at_the_top(data: bytes) -> Iterator[tuple[int, int]]:
    """The values of all keys `model` of the outermost object, texts by their place."""
    depth = 0
    for number, token in enumerate(_TOKEN.finditer(data)):
        if number > _MOST_TOKENS:
            raise InvalidRequest("the body has too many parts to find its `model` in")
        text, colon, opens = token.groups()
        if text is None:
            depth += 1 if opens else -1
        elif depth == 1 and colon and orjson.loads(text) == "model":
            value = _TOKEN.match(data, token.end())
            yield value.span(1) if value and value[1] else (token.end(), token.end())


def in_form(content: Content, boundary: str) -> ModelField | None:
    """The field `model` of a multipart form (RFC 7578). Raises `InvalidRequest`."""
    found = [
        span for name, span in _parts(content, boundary.encode()) if name == "model"
    ]
    if not found:
        return None
    if len(found) > 1:
        raise InvalidRequest("`model` is named more than once", param="model")
    start, end = found[0]
    try:
        model = content[start:end].decode()
    except UnicodeDecodeError:
        model = ""
    if not model or len(model) > 1_000:
        raise InvalidRequest("`model` must be the name of a model", param="model")
    return ModelField(model, start, end, str.encode)


def _parts(content: Content, boundary: bytes) -> Iterator[tuple[str, tuple[int, int]]]:
    """Each part's name, and where its content is."""
    mark = b"\r\n--" + boundary
    at = 0 if content[: len(mark) - 2] == mark[2:] else content.find(mark) + 2
    if at < 2 and content[: len(mark) - 2] != mark[2:]:
        raise _malformed()
    after = at + len(mark) - 2
    for _ in range(_MOST_PARTS):
        if content[after : after + 2] == b"--":
            return
        head = content.find(b"\r\n", after)
        start = content.find(b"\r\n\r\n", head) + 4
        end = _next_mark(content, mark, start - 2)
        if head < 0 or start < 4 or start - head > _LONGEST_HEAD or end < 0:
            raise _malformed()
        yield _name(content[head : start - 4]), (start, max(start, end))
        after = end + len(mark)
    raise InvalidRequest(f"the form has more than {_MOST_PARTS} parts")


def _next_mark(content: Content, mark: bytes, start: int) -> int:
    """Where the next line is that begins with the boundary and with nothing else."""
    at = content.find(mark, start)
    while at >= 0:
        rest = content[at + len(mark) : at + len(mark) + 2]
        if rest in {b"\r\n", b"--"} or rest[:1] in {b" ", b"\t"}:
            return at
        at = content.find(mark, at + 1)
    return at


def _name(head: bytes) -> str:
    """The name of a part; raises `InvalidRequest` for one without."""
    for line in head.decode("utf-8", "replace").split("\r\n"):
        field, _, value = line.partition(":")
        if field.strip().lower() != "content-disposition":
            continue
        told = {key.lower(): text for key, text in _PARAMETER.findall(value)}
        name = told.get("name")
        if name is not None and "name*" not in told:
            return re.sub(r"\\(.)", r"\1", name[1:-1]) if name[:1] == '"' else name
    raise _malformed()


def _malformed() -> InvalidRequest:
    return InvalidRequest("the request body is not whole multipart/form-data")
