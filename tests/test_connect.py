"""Connect envelopes: whole, cut anywhere, huge, compressed, broken."""

import gzip
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.connect import Frame, FrameDecoder, encode
from kimi_proxy.errors import UpstreamCut, UpstreamGarbled


def envelope(flags: int, payload: bytes) -> bytes:
    return struct.pack(">BI", flags, len(payload)) + payload


def decoded(data: bytes, *, limit: int = 1 << 24) -> list[Frame]:
    decoder = FrameDecoder(limit)
    frames = decoder.feed(data)
    decoder.finish()
    return frames


# The common frames, byte for byte (connect sheet §4).
COMMON = [
    (b"\0\0\0\0\x10" + b'{"heartbeat":{}}', Frame(0, b'{"heartbeat":{}}')),
    (b"\0\0\0\0\x0b" + b'{"done":{}}', Frame(0, b'{"done":{}}')),
    (b"\x02\0\0\0\x02{}", Frame(2, b"{}")),
    (b"\0\0\0\0\0", Frame(0, b"")),
]


@pytest.mark.parametrize(("data", "frame"), COMMON)
def test_the_sheets_frames_are_read(data: bytes, frame: Frame) -> None:
    assert decoded(data) == [frame]


def test_a_request_is_one_envelope_with_flag_zero() -> None:
    body = b"x" * 295
    assert encode(body) == b"\0\0\0\x01\x27" + body


@pytest.mark.parametrize("size", [0, 1, 0x7A, 0x7B, 0x7B7B, 255, 256, 65_535, 70_000])
def test_any_length_byte_may_come_a_brace_too(size: int) -> None:
    payload = b"{" * size
    assert decoded(encode(payload) + encode(b"{}")) == [
        Frame(0, payload),
        Frame(0, b"{}"),
    ]


def test_cut_at_every_byte_the_frames_are_the_same() -> None:
    data = b"".join(sample for sample, _ in COMMON)
    for cut in range(len(data) + 1):
        decoder = FrameDecoder()
        frames = decoder.feed(data[:cut]) + decoder.feed(data[cut:])
        decoder.finish()
        assert frames == [frame for _, frame in COMMON]


@given(
    payloads=st.lists(st.binary(max_size=300), max_size=12),
    flags=st.sampled_from([0, 2]),
    sizes=st.lists(st.integers(1, 50), min_size=1, max_size=20),
)
def test_pieces_never_change_what_is_read(
    payloads: list[bytes], flags: int, sizes: list[int]
) -> None:
    data = b"".join(envelope(flags, payload) for payload in payloads)
    decoder, frames, turn = FrameDecoder(), [], 0
    while data:
        size = sizes[turn % len(sizes)]
        frames += decoder.feed(data[:size])
        data, turn = data[size:], turn + 1
    decoder.finish()
    assert frames == [Frame(flags, payload) for payload in payloads]


@given(
    payloads=st.lists(st.binary(max_size=30), min_size=1, max_size=5), data=st.data()
)
def test_a_stream_that_ends_inside_a_frame_is_cut(
    payloads: list[bytes], data: st.DataObject
) -> None:
    whole = b"".join(map(encode, payloads))
    ends = {0}
    for payload in payloads:
        ends.add(max(ends) + 5 + len(payload))
    cut = data.draw(st.sampled_from(sorted(set(range(len(whole))) - ends)))
    decoder = FrameDecoder()
    decoder.feed(whole[:cut])
    with pytest.raises(UpstreamCut):
        decoder.finish()


def test_ten_megabytes_in_small_pieces_take_linear_time() -> None:
    # Were each piece to copy what is there already, this would move 25 GB.
    payload = bytes(10 * 1024 * 1024)
    data, decoder, frames = encode(payload), FrameDecoder(), []
    for start in range(0, len(data), 2048):
        frames += decoder.feed(data[start : start + 2048])
    assert frames == [Frame(0, payload)]


def test_many_frames_in_one_piece_take_linear_time() -> None:
    # Were each frame to move the rest of the buffer, this would move 160 GB.
    assert len(decoded(encode(b"{}") * 200_000)) == 200_000


def test_a_frame_over_the_limit_is_refused_by_its_header_alone() -> None:
    with pytest.raises(UpstreamGarbled, match="exceeds"):
        FrameDecoder(limit=100).feed(struct.pack(">BI", 0, 101))


def test_a_frame_at_the_limit_passes() -> None:
    assert decoded(encode(bytes(100)), limit=100) == [Frame(0, bytes(100))]


def test_frames_before_a_broken_one_are_not_lost() -> None:
    decoder = FrameDecoder(limit=100)
    assert decoder.feed(encode(b"{}") + envelope(0, bytes(101))) == [Frame(0, b"{}")]
    with pytest.raises(UpstreamGarbled):
        decoder.feed(b"")
    with pytest.raises(UpstreamGarbled):
        decoder.finish()


def test_a_compressed_frame_is_inflated() -> None:
    data = envelope(1, gzip.compress(b'{"done":{}}')) + envelope(3, gzip.compress(b""))
    frames = decoded(data)
    assert [frame.payload for frame in frames] == [b'{"done":{}}', b""]
    assert [frame.end for frame in frames] == [False, True]


@pytest.mark.parametrize(
    "payload",
    [
        b"not gzip",
        gzip.compress(b"x" * 50)[:-4],
        gzip.compress(b"x") + b"tail",
        gzip.compress(bytes(1_000_000)),
    ],
    ids=["other", "cut", "tail", "bomb"],
)
def test_a_bad_compressed_frame_is_refused(payload: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        FrameDecoder(limit=10_000).feed(envelope(1, payload))


def test_a_grpc_web_trailer_is_skipped() -> None:
    assert decoded(envelope(0x80, b"grpc-status:0") + encode(b"{}")) == [
        Frame(0, b"{}")
    ]


@pytest.mark.parametrize("data", [b'{"error":{}}', b"HTTP/1.1 200", b"\x04\0\0\0\0"])
def test_what_is_no_envelope_is_refused(data: bytes) -> None:
    with pytest.raises(UpstreamGarbled, match="flags"):
        FrameDecoder().feed(data)


def test_a_frame_shows_no_payload_in_its_repr() -> None:
    assert "private" not in repr(Frame(0, b"private words"))
