"""The recorded streams mean what they say, and each oddity is really in its bytes."""

from collections.abc import Iterator

import pytest

from emulators.openai import OpenAIEmulator, Recording
from emulators.openai.odd_stream import broken_streams, odd_streams
from tests.emulators.openai_client import Api
from tests.emulators.test_openai_answer import read

ODD, BROKEN = odd_streams(), broken_streams()


@pytest.fixture(scope="module")
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Api:
    return Api(emulator, emulator.world.keys.named("alice").secret)


@pytest.mark.parametrize("name", ODD)
def test_an_odd_stream_arrives_as_it_is_and_means_its_documents(
    emulator: OpenAIEmulator, api: Api, name: str
) -> None:
    stream = ODD[name]
    emulator.answer = stream.recording(pieces=(7, 1, 13))
    body = api.stream().body
    assert body == stream.body
    documents = [item for item in read(body) if item != "[DONE]"]
    assert documents == list(stream.documents)
    assert ("[DONE]" in read(body)) == (not name.endswith("no_done"))


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_arrives_as_it_is(
    emulator: OpenAIEmulator, api: Api, name: str
) -> None:
    emulator.answer = Recording(BROKEN[name])
    reply = api.stream()
    assert reply.body == BROKEN[name] and not reply.broken
    assert b'"finish_reason":"stop"' not in reply.body


def test_an_odd_stream_may_be_cut_before_its_end(
    emulator: OpenAIEmulator, api: Api
) -> None:
    stream = ODD["plain-as_usual"]
    emulator.answer = stream.recording(cut_at=len(stream.body) - 1)
    reply = api.stream()
    assert reply.broken and reply.body == stream.body[:-1]


def test_every_oddity_is_there() -> None:
    assert b"\r\n" in ODD["plain-crlf"].body
    assert b"\n" not in ODD["plain-cr"].body
    assert b"data:{" in ODD["plain-tight"].body
    assert ODD["plain-bom"].body.startswith(b"\xef\xbb\xbf")
    assert ODD["plain-multi_line"].body.count(b"data: ") > 20
    assert b"retry: 3000" in ODD["plain-fields"].body
    everything = ODD["parallel_calls-everything"].body
    assert all(part in everything for part in (b"\r\n", b"data:{\r\n", b"id:3", b": "))
