"""The model's name is found, and replaced, and nothing else of a body is touched."""

import json
import os
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.sansio.multipart import Epilogue, Field, File, MultipartDecoder

from kimi_proxy.errors import InvalidRequest
from kimi_proxy.relay.body import BodySpool, RelayBody
from kimi_proxy.relay.model_field import in_form, in_json

BOUNDARY = "made-up-boundary"


def json_body(data: bytes) -> RelayBody:
    return RelayBody(data, in_json(data, orjson.loads(data)))


def form(*parts: tuple[str, bytes], end: str = "--") -> bytes:
    body = b"".join(
        f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    return body + f"--{BOUNDARY}{end}\r\n".encode()


def field(name: str, value: bytes) -> tuple[str, bytes]:
    return f'Content-Disposition: form-data; name="{name}"', value


def file(content: bytes, name: str = "file") -> tuple[str, bytes]:
    head = f'Content-Disposition: form-data; name="{name}"; filename="a.mp3"\r\n'
    return head + "Content-Type: audio/mpeg", content


def whole(body: RelayBody) -> bytes:
    data = b"".join(body.blocks())
    assert len(data) == body.size
    assert b"".join(body.blocks()) == data, "it can be sent again"
    return data


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b'{"model":"p/m"}', b'{"model":"up"}'),
        (b' {\n "input" : 1.50e3, "model"\t:\r\n"p/m" } ',) * 2,
        (b'{"a":{"model":"p/m"},"model":"p/m"}', b'{"a":{"model":"p/m"},"model":"up"}'),
        (b'{"a":[{"model":"x"}],"model":"p/m","b":12345678901234567890123}',) * 2,
        (b'{"text":"say \\"model\\": \\"x\\"","model":"p/m"}',) * 2,
        (b'{"mod\\u0065l":"p\\/m"}', b'{"mod\\u0065l":"up"}'),
        (b'{"x":"model","model":"p/m","y":"\\\\"}',) * 2,
    ],
)
def test_only_the_value_of_the_outermost_model_is_replaced(
    before: bytes, after: bytes
) -> None:
    body = json_body(before)
    assert body.field is not None and body.field.model == "p/m"
    if before == after:
        at = before.rindex(b'"p/m"')
        after = before[:at] + b'"up"' + before[at + 5 :]
    assert whole(body.naming("up")) == after
    assert whole(body) == before
    assert body.naming("p/m") is body


@pytest.mark.parametrize(
    "data", [b'{"input":"x"}', b'{"model":null}', b'{"a":{"model":"x"}}', b"[1]"]
)
def test_a_body_without_a_model_stays_as_it_is(data: bytes) -> None:
    body = json_body(data)
    assert body.field is None
    assert whole(body.naming("up")) == data


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":null,"model":"b"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"model":7}',
        b'{"model":""}',
        b'{"model":{"a":"b"}}',
    ],
)
def test_a_body_that_names_its_model_twice_or_oddly_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        json_body(data)
    assert caught.value.param == "model"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("model"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["model", "a", '"']), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=5), VALUES, max_size=4),
    st.text(min_size=1),
    st.booleans(),
    st.sampled_from([None, 1]),
)
def test_any_json_means_the_same_but_for_its_model(
    rest: dict[str, Any], model: str, plain: bool, indent: int | None
) -> None:
    document = {**rest, "model": model}
    try:
        data = json.dumps(document, ensure_ascii=plain, indent=indent).encode()
        parsed = orjson.loads(data)
    except (UnicodeEncodeError, orjson.JSONDecodeError):
        return  # lone surrogates and numbers beyond orjson are refused before
    body = RelayBody(data, in_json(data, parsed))
    assert orjson.loads(whole(body.naming("ü/p"))) == {**parsed, "model": "ü/p"}


def test_a_body_full_of_other_models_is_refused_and_not_searched_for_ever() -> None:
    data = b'{"a":[' + b'{"model":"x"},' * 300_000 + b'1],"model":"p/m"}'
    with pytest.raises(InvalidRequest):
        json_body(data)


def test_of_a_form_only_the_model_is_replaced() -> None:
    sound = (
        bytes(range(256)) + f"\r\n--{BOUNDARY}-not\r\n\r\nmodel".encode() + b"\r\n--"
    )
    parts = (field("language", b"en"), file(sound), field("model", b"p/w-1"))
    data = form(*parts)
    body = RelayBody(data, in_form(data, BOUNDARY))
    assert body.field is not None and body.field.model == "p/w-1"
    renamed = (*parts[:2], field("model", "wörter-2".encode()))
    assert whole(body.naming("wörter-2")) == form(*renamed)
    assert whole(body) == data


@pytest.mark.parametrize(
    "head",
    [
        "Content-Disposition: form-data; name=model",
        'content-type: text/plain\r\ncontent-disposition:form-data;name="model"',
        'Content-Disposition: form-data; filename="; name=\\"file\\""; name="model"',
    ],
)
def test_a_form_s_model_is_found_however_its_part_is_headed(head: str) -> None:
    data = b"a preamble\r\n" + form((head, b"p/m"), file(b""))
    found = in_form(data, BOUNDARY)
    assert found is not None and found.model == "p/m"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no form",
        form(file(b"x"), end=""),
        form(file(b"x"))[:-30],
        form(("Content-Type: text/plain", b"x")),
        form(("Content-Disposition: form-data; filename=a", b"x")),
        form(("Content-Disposition: form-data; name*=utf-8''model; name=a", b"x")),
        form(field("model", b"a"), field("model", b"b")),
        form(field("model", b"")),
        form(field("model", b"\xff")),
        form(*[field("a", b"")] * 1_001),
    ],
)
def test_a_form_that_is_not_whole_or_not_plain_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidRequest):
        in_form(data, BOUNDARY)


NOISE = st.binary(max_size=60) | st.sampled_from(
    [b"\r\n", b"--", f"\r\n--{BOUNDARY}x\r\n\r\n".encode(), b'name="model"', b""]
)


@given(st.lists(NOISE, max_size=4), NOISE, st.text("abc/.-ü", min_size=1), st.data())
def test_any_form_means_the_same_but_for_its_model(
    fields: list[bytes], content: bytes, model: str, data: st.DataObject
) -> None:
    parts = [field(f"f{at}", value) for at, value in enumerate(fields)]
    parts.append(file(content))
    at = data.draw(st.integers(0, len(parts)))
    before = form(*parts[:at], field("model", model.encode()), *parts[at:])
    body = RelayBody(before, in_form(before, BOUNDARY))
    assert body.field is not None and body.field.model == model
    after = form(*parts[:at], field("model", b"up"), *parts[at:])
    assert whole(body.naming("up")) == after
    assert len(parsed(after)) == len(parts) + 1, "another reader finds as many"


def parsed(data: bytes) -> list[str]:
    """The names of the parts, as werkzeug reads them."""
    decoder = MultipartDecoder(BOUNDARY.encode())
    decoder.receive_data(data)
    decoder.receive_data(None)
    names = []
    while not isinstance(event := decoder.next_event(), Epilogue):
        if isinstance(event, Field | File):
            names.append(event.name)
    return names


@pytest.mark.parametrize("size", [0, 1_000, 3_000_000])
def test_a_large_body_waits_in_a_file_and_is_read_from_there(size: int) -> None:
    sound = os.urandom(size)
    data = form(field("model", b"p/m"), file(sound))
    spool = BodySpool()
    for at in range(0, len(data), 65_536):
        spool.write(data[at : at + 65_536])
    content = spool.content()
    body = RelayBody(content, in_form(content, BOUNDARY))
    assert whole(body.naming("up")) == form(field("model", b"up"), file(sound))
    assert isinstance(content, bytes) == (size < 1_000_000)
    spool.close()
