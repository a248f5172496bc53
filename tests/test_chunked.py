"""The chunked decoder: whole, byte by byte, cut and wrong."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.chunked import ChunkDecoder
from kimi_proxy.errors import UpstreamGarbled


def encoded(chunks: list[bytes], extension: bytes = b"", trailer: bytes = b"") -> bytes:
    body = b"".join(b"%x%b\r\n%b\r\n" % (len(c), extension, c) for c in chunks)
    return body + b"0\r\n" + trailer + b"\r\n"


@settings(deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=8),
    extension=st.sampled_from([b"", b";a=b", b" ;x"]),
    trailer=st.sampled_from([b"", b"A: b\r\n", b"A: b\r\nC: d\r\n"]),
    step=st.integers(1, 50),
)
def test_any_split_gives_the_same_body(
    chunks: list[bytes], extension: bytes, trailer: bytes, step: int
) -> None:
    wire = encoded(chunks, extension, trailer)
    decoder = ChunkDecoder()
    parts = [decoder.feed(wire[i : i + step]) for i in range(0, len(wire), step)]
    assert b"".join(parts) == b"".join(chunks)
    assert decoder.done and decoder.rest == b""


@given(chunks=st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=4))
def test_what_is_cut_is_never_done(chunks: list[bytes]) -> None:
    wire = encoded(chunks)
    for end in range(len(wire)):
        decoder = ChunkDecoder()
        assert b"".join(chunks).startswith(decoder.feed(wire[:end]))
        assert not decoder.done


def test_a_part_of_a_chunk_is_handed_on_at_once() -> None:
    assert ChunkDecoder().feed(b"a\r\nfirst") == b"first"


def test_bytes_after_the_end_belong_to_no_body() -> None:
    decoder = ChunkDecoder()
    assert decoder.feed(b"0\r\n\r\nHTTP/1.1 200") == b""
    assert decoder.done and decoder.rest == b"HTTP/1.1 200"


@pytest.mark.parametrize(
    "wire",
    [
        b"zz\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"2\r\nabc\r\n",
        b"1" * 20_000,
        b"+1\r\n",
    ],
)
def test_wrong_framing_is_an_error(wire: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        ChunkDecoder().feed(wire)
