"""An answer that is compressed although nobody asked for it is read all the same."""

import gzip
import zlib
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.content_coding import decoded
from kimi_proxy.errors import UpstreamCut, UpstreamGarbled
from kimi_proxy.upstream import Reply, Upstream
from tests.upstream.server import Server, scope

TEXT = "data: 你好, {} \n\n".encode() * 99


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def in_two_members(data: bytes) -> bytes:
    return gzip.compress(data[:40]) + gzip.compress(data[40:])


CODINGS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "none": ("identity", bytes),
    "gzip": ("gzip", gzip.compress),
    "old-name": ("X-GZIP", gzip.compress),
    "members": ("gzip", in_two_members),
    "zlib": ("deflate", zlib.compress),
    "raw": ("deflate", raw_deflate),
    "twice": ("deflate, gzip", lambda data: gzip.compress(zlib.compress(data))),
}


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def asked(server: Server, upstream: Upstream, *coded: object, **more: int) -> Reply:
    server.coded = coded  # type: ignore[assignment]  # status, coding and data
    return upstream.request(
        "GET", f"{server.origin}/coded", headers={}, scope=scope(), **more
    )


@pytest.mark.parametrize("size", [1, 7, 100_000])
@pytest.mark.parametrize("name", CODINGS)
def test_every_coding_is_undone_however_it_is_cut(name: str, size: int) -> None:
    coding, encode = CODINGS[name]
    assert b"".join(decoded(pieces(encode(TEXT), size), coding)) == TEXT


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=2000), st.sampled_from(sorted(CODINGS)))
def test_any_bytes_come_back(data: bytes, name: str) -> None:
    coding, encode = CODINGS[name]
    assert b"".join(decoded(pieces(encode(data), 99), coding)) == data


def test_what_is_written_is_read_before_the_end() -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"one") + packer.flush(zlib.Z_SYNC_FLUSH)

    def blocks() -> Iterator[bytes]:
        yield first
        raise AssertionError("one block is enough")

    assert next(decoded(blocks(), "gzip")) == b"one"


@pytest.mark.parametrize("name", ["gzip", "zlib", "raw"])
def test_a_compressed_answer_that_is_cut_is_no_whole_one(name: str) -> None:
    coding, encode = CODINGS[name]
    data = encode(TEXT)
    for end in range(1, len(data)):
        with pytest.raises(UpstreamCut):
            list(decoded(iter([data[:end]]), coding))


def test_what_grows_beyond_measure_comes_in_blocks() -> None:
    bomb = gzip.compress(bytes(1 << 24))
    sizes = [len(block) for block in decoded(iter([bomb]), "gzip")]
    assert max(sizes) <= 65_536 and sum(sizes) == 1 << 24


@pytest.mark.parametrize(
    ("coding", "data"), [("gzip", b"not compressed"), ("br", b"x"), ("zstd", b"x")]
)
def test_what_cannot_be_undone_is_garbled(coding: str, data: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        list(decoded(iter([data]), coding))


@pytest.mark.parametrize("name", CODINGS)
def test_an_answer_is_read_whatever_it_came_in(
    server: Server, upstream: Upstream, name: str
) -> None:
    coding, encode = CODINGS[name]
    for _ in range(2):
        assert asked(server, upstream, 200, coding, encode(TEXT)).body == TEXT
    assert upstream._pools[server.origin].num_connections == 1


def test_the_limit_is_that_of_what_comes_out(
    server: Server, upstream: Upstream
) -> None:
    bomb = gzip.compress(bytes(1 << 24))
    with pytest.raises(UpstreamGarbled, match="exceeds 1000 bytes"):
        asked(server, upstream, 200, "gzip", bomb, limit=1000)


@pytest.mark.parametrize("data", [b"odd", b"", gzip.compress(bytes(1 << 20))])
def test_of_a_refusal_that_cannot_be_read_the_status_is_left(
    server: Server, upstream: Upstream, data: bytes
) -> None:
    for coding in ("br", "gzip"):
        reply = asked(server, upstream, 403, coding, data, limit=1000)
        assert (reply.status, reply.body) == (403, b"")


def test_a_body_may_be_had_as_it_came(server: Server, upstream: Upstream) -> None:
    server.coded = (200, "gzip", gzip.compress(TEXT))
    exchange = upstream.open("GET", f"{server.origin}/coded", headers={}, scope=scope())
    assert gzip.decompress(b"".join(exchange.blocks(raw=True))) == TEXT
