"""Documents and pictures before Moonshot: read there, or sent by their data."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from emulators.moonshot import MoonshotEmulator
from tests.http.moonshot_house import before, sent
from tests.http.openai_house import House

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYPhfDwAChwGA60e6kgAA"
    "AABJRU5ErkJggg=="
)


@pytest.fixture
def emulator() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator() as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: MoonshotEmulator, tmp_path: Path) -> Iterator[House]:
    with before(emulator, tmp_path) as gateway:
        yield gateway


def document(text: str, name: str = "a.txt") -> dict[str, Any]:
    data = base64.b64encode(text.encode()).decode()
    told = {"filename": name, "file_data": f"data:text/plain;base64,{data}"}
    return {"type": "file", "file": told}


@pytest.mark.parametrize("raw", [True, False])
def test_a_document_is_read_by_the_upstream_once(
    gateway: House, emulator: MoonshotEmulator, raw: bool
) -> None:
    emulator.knobs.raw_content = raw
    words = {"type": "text", "text": "what is in it?"}
    asked = [{"role": "user", "content": [words, document("the made-up secret is 7")]}]
    for _ in range(2):
        answer = gateway.ask("m/kimi-k2.6", messages=asked)
        assert answer.status_code == 200, answer.data
    uploads = [e for e in emulator.log.all() if e.name == "file-upload"]
    assert len(uploads) == 1
    system, user = sent(emulator)[-1]["messages"]
    assert system == {"role": "system", "content": "a.txt:\nthe made-up secret is 7"}
    assert user["content"] == [words]


def test_a_document_that_a_tool_gave_stays_within_its_result(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    """Nothing may stand between a call and its result, nor between two results."""
    calls = [
        {"id": id, "type": "function", "function": {"name": "get", "arguments": "{}"}}
        for id in ("call-1", "call-2")
    ]
    words = {"type": "text", "text": "Here it is."}
    asked = [
        {"role": "user", "content": "Get it."},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call-1", "content": "Nothing."},
        {"role": "tool", "tool_call_id": "call-2", "content": [words, document("a")]},
    ]
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 200, answer.data
    *_, last = sent(emulator)[0]["messages"]
    assert last["content"] == [{"type": "text", "text": "a.txt:\na"}, words]


def test_a_document_alone_is_a_question_too(gateway: House) -> None:
    asked = [{"role": "user", "content": [document("a"), document("b", "b.txt")]}]
    assert gateway.ask("m/kimi-k2.6", messages=asked).status_code == 200


def test_a_document_that_the_upstream_lost_goes_up_again(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    asked = [{"role": "user", "content": [document("the text")]}]
    assert gateway.ask("m/kimi-k2.6", messages=asked).status_code == 200
    emulator.world.stored.clear()
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 200, answer.data


def test_a_document_that_cannot_be_read_is_the_clients(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    emulator.faults.add("extract_fails")
    asked = [{"role": "user", "content": [document("the text")]}]
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 400
    assert "extract" in answer.get_json()["error"]["message"]
    assert gateway.states("m")["k"].state == "ok"


def test_a_picture_goes_up_by_its_data(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    data = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    picture = {"type": "image_url", "image_url": {"url": data, "detail": "low"}}
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 200, answer.data
    assert sent(emulator)[0]["messages"] == asked


def test_a_picture_that_lies_with_the_gateway_goes_up_by_its_data(
    gateway: House, emulator: MoonshotEmulator
) -> None:
    client = gateway.app.test_client()
    form = {"purpose": "vision", "file": (BytesIO(PIXEL), "a.png")}
    stored = client.post("/v1/files", data=form).get_json()
    picture = {"type": "input_image", "file_id": stored["id"]}
    asked = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    answer = gateway.ask("m/kimi-k2.6", messages=asked)
    assert answer.status_code == 200, answer.data
    url = sent(emulator)[0]["messages"][0]["content"][0]["image_url"]["url"]
    assert base64.b64decode(url.partition(",")[2]) == PIXEL


def test_a_picture_is_kept_from_a_model_that_sees_none(gateway: House) -> None:
    data = "data:image/png;base64," + base64.b64encode(PIXEL).decode()
    picture = {"type": "image_url", "image_url": {"url": data}}
    asked = [{"role": "user", "content": [picture]}]
    answer = gateway.ask("m/kimi-k2.7-code", messages=asked)
    assert answer.status_code == 400
    asked = [{"role": "user", "content": [document("text")]}]
    assert gateway.ask("m/kimi-k2.7-code", messages=asked).status_code == 200
