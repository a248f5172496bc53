"""Odd but legal streams keep their meaning through the gateway; broken ones are errors.

Whole in this process, event for event, and once more under gunicorn with the official
client, which has to raise for whatever is no answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import orjson
import pytest

from emulators.openai import OpenAIEmulator, Recording
from emulators.openai.odd_stream import OddStream, broken_streams, odd_streams
from tests.gateway_process import running
from tests.http.conftest import serving
from tests.http.openai_house import House, chunks, house, upstream

ODD, BROKEN = odd_streams(), broken_streams()
MODEL = "up/gpt-4o"
HI: list[Any] = [{"role": "user", "content": "hi"}]
Factory = pytest.TempPathFactory


@dataclass(frozen=True, slots=True)
class Stage:
    emulator: OpenAIEmulator
    house: House
    sdk: openai.OpenAI


@pytest.fixture(scope="module")
def stage(tmp_path_factory: Factory) -> Iterator[Stage]:
    with (
        OpenAIEmulator() as emulator,
        house(tmp_path_factory.mktemp("odd"), {"up": _section(emulator)}) as gateway,
        serving(gateway.app) as port,
        _sdk(port) as sdk,
    ):
        yield Stage(emulator, gateway, sdk)


@pytest.fixture
def on_gunicorn(tmp_path: Path) -> Iterator[Stage]:
    with OpenAIEmulator() as emulator:
        config = {"providers": {"up": _section(emulator)}}
        with running(tmp_path, config) as process:
            with _sdk(process.port) as sdk:
                yield Stage(emulator, House(), sdk)


def _section(emulator: OpenAIEmulator) -> dict[str, Any]:
    # A stream that is broken on purpose is nothing against the key.
    pool = {"failure_threshold": 1000}
    return upstream(emulator.base_url, {"k": emulator.add_key("k")}, pool=pool)


def _sdk(port: int) -> openai.OpenAI:
    base_url = f"http://127.0.0.1:{port}/v1"
    return openai.OpenAI(base_url=base_url, api_key="kp-made-up", max_retries=0)


def counts_asked(stream: OddStream) -> dict[str, Any]:
    """A chunk of nothing but token counts comes only to who asked for it."""
    counts = any(not d["choices"] and d.get("usage") for d in stream.documents)
    return {"stream_options": {"include_usage": True}} if counts else {}


@pytest.mark.parametrize("pieces", [(), (1,), (7, 1, 13)], ids=str)
@pytest.mark.parametrize("name", ODD)
def test_an_odd_stream_comes_out_event_for_event(
    stage: Stage, name: str, pieces: tuple[int, ...]
) -> None:
    stream = ODD[name]
    stage.emulator.answer = stream.recording(pieces=pieces)
    answer = stage.house.ask(MODEL, stream=True, **counts_asked(stream))
    assert answer.status_code == 200
    assert chunks(answer) == list(stream.documents)


def deltas(stream: OddStream) -> Iterator[dict[str, Any]]:
    for document in stream.documents:
        for choice in document["choices"]:
            if choice["index"] == 0:
                yield choice["delta"]


def text_in(stream: OddStream) -> str:
    return "".join(
        delta.get("content") or delta.get("refusal") or "" for delta in deltas(stream)
    )


def calls_in(stream: OddStream) -> list[tuple[str, Any]]:
    found: dict[int, list[str]] = {}
    for delta in deltas(stream):
        for piece in delta.get("tool_calls") or ():
            call = found.setdefault(piece["index"], ["", ""])
            call[0] += piece["function"].get("name") or ""
            call[1] += piece["function"].get("arguments") or ""
    return [(name, orjson.loads(arguments)) for name, arguments in found.values()]


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", ODD)
def test_an_odd_stream_means_the_same_in_another_dialect(
    stage: Stage, name: str, streamed: bool
) -> None:
    stream = ODD[name]
    stage.emulator.answer = stream.recording()
    asked = {"model": MODEL, "max_tokens": 99, "messages": HI, "stream": streamed}
    answer = stage.house.app.test_client().post("/v1/messages", json=asked)
    assert answer.status_code == 200, answer.data
    blocks = streamed_blocks(answer.data) if streamed else answer.get_json()["content"]
    said = "".join(block["text"] for block in blocks if block["type"] == "text")
    called = [(b["name"], b["input"]) for b in blocks if b["type"] == "tool_use"]
    assert (said, called) == (text_in(stream), calls_in(stream))


def streamed_blocks(data: bytes) -> list[dict[str, Any]]:
    """The content of a streamed answer of Anthropic's dialect."""
    blocks: list[dict[str, Any]] = []
    for line in data.split(b"\n"):
        if not line.startswith(b"data: "):
            continue
        event = orjson.loads(line[6:])
        if event["type"] == "content_block_start":
            blocks.append({**event["content_block"], "json": ""})
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            if delta["type"] == "text_delta":
                block["text"] += delta["text"]
            elif delta["type"] == "input_json_delta":
                block["json"] += delta["partial_json"]
        elif event["type"] == "content_block_stop" and blocks[event["index"]]["json"]:
            blocks[event["index"]]["input"] = orjson.loads(
                blocks[event["index"]]["json"]
            )
    return blocks


def refused(stage: Stage, recording: Recording, **asked: Any) -> list[Any]:
    """The chunks that came before the client raised; fails if it raised nothing."""
    stage.emulator.answer = recording
    came: list[Any] = []
    with pytest.raises(openai.APIError) as caught:
        answer: Any = stage.sdk.chat.completions.create(
            model=MODEL, messages=HI, **asked
        )
        came.extend(answer if asked.get("stream") else [answer])
    assert isinstance(caught.value.body, dict) and caught.value.body["message"]
    return came


def require_no_success(came: list[Any]) -> None:
    for chunk in came:
        assert all(choice.finish_reason is None for choice in chunk.choices)


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_stream_is_an_error_to_the_official_client(
    stage: Stage, name: str, streamed: bool
) -> None:
    require_no_success(refused(stage, Recording(BROKEN[name]), stream=streamed))


USAGE = b'"usage" : {"prompt_tokens":1,"completion_tokens":2,"odd":{}}'
WHOLE = {
    "spelling": b'{ "choices":[ {"index":0,"message":{"role":"assistant",\n'
    b'"content":"\\u4f60 \\ud83d\\ude42"},"finish_reason":"stop"}],"x":1.50, %b }',
    "logprobs": b'{"choices":[{"index":0,"message":{"content":"a","annotations":[{}]},'
    b'"logprobs":{"content":[{"token":"a","logprob":-1e-7}]},"finish_reason":"stop"}],'
    b'"system_fingerprint":null,"service_tier":"odd",%b}',
    "refusal": b'{"choices":[{"index":0,"message":{"content":null,"refusal":"No."},'
    b'"finish_reason":"stop"}],%b}',
    "choices": b'{"choices":[{"index":1,"message":{"content":"b"},"finish_reason":'
    b'"length"},{"index":0,"message":{"content":"a"},"finish_reason":"stop"}],%b}',
    "calls": b'{"choices":[{"index":0,"message":{"content":null,"tool_calls":['
    b'{"id":"1","type":"function","function":{"name":"f","arguments":"{ }"}},'
    b'{"id":"2","type":"custom","custom":{"name":"g","input":"?"}}]},'
    b'"finish_reason":"tool_calls","x_choice":[]}],%b}',
}


@pytest.mark.parametrize("name", WHOLE)
def test_an_odd_whole_answer_comes_out_byte_for_byte(stage: Stage, name: str) -> None:
    body = WHOLE[name] % USAGE
    stage.emulator.answer = Recording(body, "application/json", pieces=(3,))
    answer = stage.house.ask(MODEL)
    assert (answer.status_code, answer.data) == (200, body)


@pytest.mark.parametrize("rst", [False, True])
def test_a_stream_cut_anywhere_is_never_a_success(stage: Stage, rst: bool) -> None:
    stream = ODD["plain-as_usual"]
    end = stream.body.index(b'"finish_reason":"stop"')
    for cut_at in range(0, end, 23):
        came = refused(stage, stream.recording(cut_at=cut_at, rst=rst), stream=True)
        require_no_success(came)


def test_of_several_choices_each_has_to_have_its_end(stage: Stage) -> None:
    documents = ODD["two_choices-as_usual"].documents
    ends = [d for d in documents if d["choices"][0]["finish_reason"]]
    assert len(ends) == 2
    for lost in ends:
        left = [document for document in documents if document is not lost]
        lines = (b"data: " + orjson.dumps(one) + b"\n\n" for one in left)
        recording = Recording(b"".join(lines) + b"data: [DONE]\n\n")
        refused(stage, recording, stream=True)


def test_under_gunicorn_odd_streams_read_as_they_mean_and_broken_ones_raise(
    on_gunicorn: Stage,
) -> None:
    for name, stream in ODD.items():
        on_gunicorn.emulator.answer = stream.recording(pieces=(5,))
        answer = on_gunicorn.sdk.chat.completions.create(
            model=MODEL, messages=HI, stream=True, **counts_asked(stream)
        )
        told = [chunk.to_dict(exclude_unset=True) for chunk in answer]
        assert told == list(stream.documents), name
    for body in BROKEN.values():
        require_no_success(refused(on_gunicorn, Recording(body), stream=True))
