"""What is attached in a message, decoded: in every spelling, at a bounded price."""

import base64
import tracemalloc
from collections.abc import Callable
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.dialects.openai_request import parse
from kimi_proxy.errors import InvalidRequest
from kimi_proxy.remote.file_name import clean

MEGABYTE = 2**20


def given_as(url: str) -> bytes:
    part = {"type": "image_url", "image_url": url}
    message = {"role": "user", "content": [part]}
    request = parse({"model": "m", "messages": [message]})
    (attached,) = request.messages[0].attachments
    assert attached.data is not None
    return attached.data


def plain(data: bytes) -> str:
    return base64.b64encode(data).decode()


def in_lines(data: bytes) -> str:
    packed = plain(data)
    return "\r\n ".join(packed[at : at + 7] for at in range(0, len(packed), 7))


SPELLINGS: dict[str, Callable[[bytes], str]] = {
    "plain": plain,
    "unpadded": lambda data: plain(data).rstrip("="),
    "in lines": in_lines,
    "of URLs": lambda data: base64.urlsafe_b64encode(data).decode(),
    "percent-encoded": lambda data: quote_from_bytes(plain(data).encode(), safe=""),
}


@pytest.mark.parametrize("spelling", SPELLINGS.values(), ids=SPELLINGS)
@settings(deadline=None)
@given(data=st.binary(min_size=1, max_size=300))
def test_base64_is_understood_in_every_spelling(
    spelling: Callable[[bytes], str], data: bytes
) -> None:
    written = spelling(data)
    assert given_as(written) == data
    assert given_as(f"data:image/png;base64,{written}") == data


@pytest.mark.parametrize("text", ["!!!", "A", "AA=A", "AAAA====AAAA", "é", "A%"])
def test_what_is_no_base64_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest, match="base64") as caught:
        given_as(text)
    assert caught.value.param == "messages[0].content[0].image_url"


@settings(deadline=None)
@given(st.binary(max_size=20), st.integers(65_530, 65_540))
def test_an_escape_is_whole_wherever_it_falls(tail: bytes, at: int) -> None:
    data = b"a" * at + b"%" + tail + b"z"
    assert given_as("data:," + quote_from_bytes(data, safe="")) == data
    assert given_as("data:," + "a" * at + "%41%zz%") == b"a" * at + b"A%zz%"


@pytest.mark.parametrize(
    "url",
    [
        "data:," + "%41" * MEGABYTE,
        "data:image/png;base64," + "A A A A " * (MEGABYTE // 4),
        "data:" + ";" * MEGABYTE + ",A",
    ],
    ids=["escapes", "blanks", "options"],
)
def test_no_spelling_takes_many_times_its_size_in_memory(url: str) -> None:
    tracemalloc.start()
    try:
        given_as(url)
    except InvalidRequest as exc:
        assert "too long" in exc.message
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 6 * len(url)


@pytest.mark.parametrize("sign", ["/", "\\", "a", "\x00", "月"])
def test_a_name_as_long_as_its_request_is_cut_before_it_is_read(sign: str) -> None:
    tracemalloc.start()
    try:
        assert clean(sign * MEGABYTE + ".pdf").endswith(("pdf", ".pdf"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MEGABYTE
