"""Server-sent events: the same events however the bytes were split."""

import itertools
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kimi_proxy import sse
from kimi_proxy.errors import UpstreamCut, UpstreamGarbled
from kimi_proxy.sse import ServerEvent, events

# A busy machine is slow, which is no fault of the code.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

Outcome = tuple[list[ServerEvent], str | None, bytes]


def outcome(blocks: list[bytes], limit: int = 8 * 1024 * 1024) -> Outcome:
    """All a reader tells: the events, the failure, and the unfinished rest."""
    reader = events(blocks, limit)
    seen: list[ServerEvent] = []
    try:
        seen.extend(reader)
    except UpstreamGarbled as exc:
        return seen, exc.message, b""
    return seen, None, reader.unfinished


def told(body: bytes) -> list[tuple[str, str]]:
    return [(event.event, event.data) for event in outcome([body])[0]]


def splits(body: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    pairs = itertools.pairwise(places)
    return [body[start:end] for start, end in pairs]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"data: a\n\n", [("message", "a")]),
        (b"data:a\n\n", [("message", "a")]),
        (b"data:  a\n\n", [("message", " a")]),
        (b"event: cmpl\ndata: a\n\n", [("cmpl", "a")]),
        (b"data: a\nevent: cmpl\n\n", [("cmpl", "a")]),
        (b"data: a\ndata: b\n\n", [("message", "a\nb")]),
        (b"event: cmpl\r\ndata: a\r\ndata: b\r\n\r\n", [("cmpl", "a\nb")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [("message", "a"), ("message", "b")]),
        (b"data: a\r\rdata: b\r\r", [("message", "a"), ("message", "b")]),
        (b"data: a\n\r\ndata: b\r\n\n", [("message", "a"), ("message", "b")]),
        (b"data: a\n\n\n\n\ndata: b\n\n\n", [("message", "a"), ("message", "b")]),
        (b"\n\n\ndata: a\n\n", [("message", "a")]),
        (b": ping\n\n:\n\ndata: a\n: x\n\n", [("message", "a")]),
        (b"\xef\xbb\xbfdata: a\n\n", [("message", "a")]),
        (b"id: 7\nretry: 5\nfoo: x\ndata: a\n\n", [("message", "a")]),
        (b"event: lonely\n\ndata: a\n\n", [("message", "a")]),
        (b"data\n\n", [("message", "")]),
        (b"data: a: b\n\n", [("message", "a: b")]),
        ("data: 你好 🌍\n\n".encode(), [("message", "你好 🌍")]),
        ("data: a\u2028b\x0bc\x85\n\n".encode(), [("message", "a\u2028b\x0bc\x85")]),
        (b"", []),
    ],
)
def test_the_format_is_understood(body: bytes, expected: list[tuple[str, str]]) -> None:
    assert told(body) == expected
    bytewise = outcome([body[i : i + 1] for i in range(len(body))])
    assert bytewise == outcome([body])


@pytest.mark.parametrize("body", [b"data: b", b"data: b\n", b"da", b"data: b\r\n"])
def test_an_unfinished_event_is_not_delivered_but_reported(body: bytes) -> None:
    seen, failure, rest = outcome([b"data: a\n\n", body])
    assert seen == [ServerEvent("message", "a")]
    assert failure is None
    assert rest == body.strip()


@pytest.mark.parametrize("body", [b"", b"\n", b"data: a\n\n", b"data: a\r\n\r\n\r\n"])
def test_a_whole_stream_leaves_nothing(body: bytes) -> None:
    assert outcome([body])[2] == b""


def test_an_event_is_delivered_before_the_next_block_is_asked_for() -> None:
    asked: list[int] = []

    def blocks() -> Iterator[bytes]:
        for number, block in enumerate([b"data: a\r\n\r", b"\ndata: b\n\n"]):
            asked.append(number)
            yield block

    reader = events(blocks())
    assert next(reader).data == "a"
    assert asked == [0]
    assert next(reader).data == "b"


def test_an_event_at_the_limit_passes_and_one_byte_more_does_not() -> None:
    ok, over = b"data: " + b"x" * 94, b"data: " + b"x" * 95
    assert outcome([ok + b"\n\n"], limit=100)[1] is None
    for blocks in ([b"data: a\n\n" + over + b"\n\n"], [b"data: a\n\n", over]):
        seen, failure, _ = outcome(blocks, limit=100)
        assert seen == [ServerEvent("message", "a")]
        assert failure is not None and "exceeds 100 bytes" in failure


def test_many_events_together_may_exceed_the_limit() -> None:
    assert len(outcome([b"data: abc\n\n" * 50], limit=20)[0]) == 50


def test_an_endless_event_is_refused_before_it_ends() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b"data: more\n"

    with pytest.raises(UpstreamGarbled):
        next(events(endless(), limit=1000))


def test_an_event_of_countless_lines_is_refused() -> None:
    body = b"data:\n" * 1_000_000 + b"\n"
    failure = outcome([body])[1]
    assert failure is not None and "too many lines" in failure


def test_a_big_event_in_small_blocks_is_whole() -> None:
    body = b"data: " + b"x" * 2_000_000 + b"\n\n"
    (event,) = outcome([body[i : i + 997] for i in range(0, len(body), 997)])[0]
    assert len(event.data) == 2_000_000


def test_what_is_not_utf_8_is_garbled() -> None:
    assert outcome([b"data: \xff\n\n"])[1] is not None


def test_failure_of_the_blocks_comes_through() -> None:
    def failing() -> Iterator[bytes]:
        yield b"data: a\n\ndata: b"
        raise UpstreamCut("gone")

    reader = events(failing())
    assert next(reader).data == "a"
    with pytest.raises(UpstreamCut):
        next(reader)
    assert reader.unfinished == b"data: b"


class Blocks:
    """Blocks that know whether they were closed."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        yield b"data: a\n\n"
        yield b"data: b\n\n"

    def close(self) -> None:
        self.closed += 1


@pytest.mark.parametrize("read", [0, 1])
def test_closing_closes_the_blocks(read: int) -> None:
    blocks = Blocks()
    reader = events(blocks)
    for _ in range(read):
        next(reader)
    reader.close()
    assert blocks.closed == 1
    assert list(reader) == []


def test_closing_ends_a_generator_of_blocks() -> None:
    ended: list[bool] = []

    def blocks() -> Iterator[bytes]:
        try:
            yield b"data: a\n\n"
        finally:
            ended.append(True)

    reader = events(blocks())
    next(reader)
    reader.close()
    assert ended == [True]


def reference(body: bytes) -> list[tuple[str, str]]:
    """The standard's algorithm on the whole text, written without regard to cost."""
    text = body.removeprefix(b"\xef\xbb\xbf").decode()
    found, data, name = [], "", ""
    for line in re.split("\r\n|\r|\n", text)[:-1]:
        if not line:
            if data:
                found.append((name or "message", data.removesuffix("\n")))
            data, name = "", ""
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "data":
            data += value + "\n"
        elif field == "event":
            name = value
    return found


ends = st.sampled_from(["\n", "\r", "\r\n"])
fields = st.sampled_from(["data: ", "data:", "event: ", ": ", "id:", "data", "x: "])
values = st.text(st.sampled_from("ab :{}é你🌍\u2028"), max_size=5)
lines = st.builds("{}{}{}".format, fields, values, ends) | ends
streams = st.lists(lines, max_size=14).map("".join).map(str.encode)
starts = st.sampled_from([b"", b"\xef\xbb\xbf", b"\xef\xbb"])
cut_places = st.lists(st.integers(0, 500), max_size=30)


@PATIENT
@given(streams)
def test_the_events_are_those_of_the_standard(body: bytes) -> None:
    assert told(body) == reference(body)


@PATIENT
@given(st.builds(bytes.__add__, starts, streams | st.binary(max_size=60)), cut_places)
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"data: a\r\n\r\ndata: b\n\n", [8, 10])
@example(b"event: cmpl\r\ndata: a\r\n\r\n", [12])
def test_any_split_gives_the_same_outcome(body: bytes, cuts: list[int]) -> None:
    assert outcome(splits(body, cuts)) == outcome([body])


@PATIENT
@given(streams, cut_places, st.integers(1, 40))
def test_the_limit_does_not_depend_on_the_split(
    body: bytes, cuts: list[int], limit: int
) -> None:
    assert outcome(splits(body, cuts), limit)[:2] == outcome([body], limit)[:2]


def test_the_default_limit_is_eight_mebibytes() -> None:
    assert sse.events.__defaults__ == (8 * 1024 * 1024,)
