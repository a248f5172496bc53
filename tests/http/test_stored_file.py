"""A file stored with the gateway is known to it alone: an upstream gets its content."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.openai import OpenAIEmulator
from tests.http.kind_checks import PNG
from tests.http.openai_house import PATH, House, house, upstream

PDF = b"%PDF-1.4\n%%EOF"
WORDS = {"type": "text", "text": "What is this?"}


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        yield emulator


@pytest.fixture
def gateway(emulator: OpenAIEmulator, tmp_path: Path) -> Iterator[House]:
    keys = {"k": emulator.add_key("k")}
    section = {"up": upstream(emulator.base_url, keys)}
    with house(tmp_path, section, files={"max_total": "1KiB"}) as built:
        yield built


def stored(gateway: House, data: bytes, name: str) -> str:
    """The id of a new file."""
    form = {"purpose": "user_data", "file": (io.BytesIO(data), name)}
    answer = gateway.app.test_client().post("/v1/files", data=form)
    return str(answer.get_json()["id"])


def data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def sent(emulator: OpenAIEmulator) -> list[Any]:
    """The content parts that came up, without the words."""
    (entry,) = [e for e in emulator.log.all() if e.name == "chat"]
    return [p for p in entry.body["messages"][-1]["content"] if p["type"] != "text"]


def chat(*parts: Any) -> tuple[str, Any]:
    message = {"role": "user", "content": [WORDS, *parts]}
    return PATH, {"model": "up/gpt-4o", "messages": [message]}


def response(*parts: Any) -> tuple[str, Any]:
    words = {"type": "input_text", "text": "What is this?"}
    message = {"role": "user", "content": [words, *parts]}
    return "/v1/responses", {"model": "up/gpt-4o", "input": [message]}


def message(*parts: Any) -> tuple[str, Any]:
    _, body = chat(*parts)
    return "/v1/messages", {**body, "max_tokens": 99}


def shapes(picture: str, document: str) -> dict[str, tuple[str, Any]]:
    """Each dialect names the same two files."""
    return {
        "chat": chat(
            {"type": "input_image", "file_id": picture},
            {"type": "file", "file": {"file_id": document}},
        ),
        "responses": response(
            {"type": "input_image", "file_id": picture, "detail": "auto"},
            {"type": "input_file", "file_id": document},
        ),
        "messages": message(
            {"type": "image", "source": {"type": "file", "file_id": picture}},
            {"type": "document", "source": {"type": "file", "file_id": document}},
        ),
    }


@pytest.mark.parametrize("dialect", ["chat", "responses", "messages"])
def test_its_content_goes_up(
    gateway: House, emulator: OpenAIEmulator, dialect: str
) -> None:
    named = shapes(stored(gateway, PNG, "p.png"), stored(gateway, PDF, "报告.pdf"))
    path, body = named[dialect]
    answer = gateway.app.test_client().post(path, json=body)
    assert answer.status_code == 200, answer.data
    said = {"file_data": data_url("application/pdf", PDF), "filename": "报告.pdf"}
    assert sent(emulator) == [
        {"type": "image_url", "image_url": {"url": data_url("image/png", PNG)}},
        {"type": "file", "file": said},
    ]


def test_a_picture_that_was_called_a_file_goes_up_as_a_picture(
    gateway: House, emulator: OpenAIEmulator
) -> None:
    part = {"type": "file", "file": {"file_id": stored(gateway, PNG, "p.png")}}
    path, body = chat(part)
    gateway.app.test_client().post(path, json=body)
    assert [part["type"] for part in sent(emulator)] == ["image_url"]


def test_an_id_that_is_none_of_ours_goes_up_as_it_was_sent(
    gateway: House, emulator: OpenAIEmulator
) -> None:
    """The upstream's own files came there by another way."""
    part = {"type": "file", "file": {"file_id": "file-of-the-upstream"}}
    path, body = chat(part)
    gateway.app.test_client().post(path, json=body)
    assert sent(emulator) == [part]


def test_files_that_are_too_large_together_are_refused(
    gateway: House, emulator: OpenAIEmulator
) -> None:
    ids = [stored(gateway, b"words " * 100 + bytes([65 + n]), "a.txt") for n in (0, 1)]
    path, body = chat(*({"type": "file", "file": {"file_id": id}} for id in ids))
    answer = gateway.app.test_client().post(path, json=body)
    assert answer.status_code == 413, answer.data
    assert [e for e in emulator.log.all() if e.name == "chat"] == []
