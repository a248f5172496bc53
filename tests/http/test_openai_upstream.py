"""A gateway before an OpenAI-compatible upstream: keys, headers, lists, parameters."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from emulators.openai import Model, OpenAIEmulator, Recording
from tests.http.openai_house import chunks, house, text_of, upstream


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        yield emulator


def section(emulator: OpenAIEmulator, **more: Any) -> dict[str, Any]:
    return {"up": upstream(emulator.base_url, {"k": emulator.add_key("k")}, **more)}


def test_a_local_server_is_asked_without_a_key(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    emulator.knobs.open_door = True
    local = {"type": "openai", "preset": "ollama", "base_url": emulator.base_url}
    with house(tmp_path, {"up": local}) as gateway:
        assert gateway.ask("up/gpt-4o").status_code == 200
        assert gateway.states("up")["local"].state == "ok"
    for entry in emulator.log.all():
        assert "authorization" not in entry.headers


def test_headers_of_ones_own_go_with_every_call_and_none_of_the_clients(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    with house(tmp_path, section(emulator, headers={"X-Title": "mine"})) as gateway:
        gateway.discover()
        assert gateway.ask("up/gpt-4o").status_code == 200
    for entry in emulator.log.all():
        assert entry.headers["x-title"] == "mine"
        assert entry.headers["user-agent"].startswith("kimi-proxy/")
    assert emulator.violations() == []


def test_an_upstream_that_refuses_a_field_gets_by_without_it(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    emulator.knobs.refused_fields = ("stream_options", "max_completion_tokens")
    emulator.knobs.usage_place = "last"
    with house(tmp_path, section(emulator, preset="mistral")) as gateway:
        answer = gateway.ask(
            "up/gpt-4o",
            stream=True,
            stream_options={"include_usage": True},
            max_completion_tokens=99,
        )
        assert answer.status_code == 200
        assert "hello" in text_of(answer)
        assert any(chunk.get("usage") for chunk in chunks(answer))


@pytest.mark.parametrize("strict", [False, True])
def test_what_an_upstream_does_not_know_is_told_or_refused(
    emulator: OpenAIEmulator, tmp_path: Path, strict: bool
) -> None:
    more = {"quirks": {"unsupported": ["seed", "n"]}, "strict_params": strict}
    with house(tmp_path, section(emulator, **more)) as gateway:
        answer = gateway.ask("up/gpt-4o", seed=7, n=2)
        if strict:
            assert answer.status_code == 400
            assert answer.get_json()["error"]["param"] == "seed"
            return
        assert answer.headers["x-kimi-proxy-ignored"] == "seed"
        assert answer.headers["x-kimi-proxy-emulated"] == "n"
        assert len(answer.get_json()["choices"]) == 2
    asked = [e for e in emulator.log.all() if e.name == "chat"]
    assert len(asked) == 2
    assert all("seed" not in e.body and "n" not in e.body for e in asked)


def test_models_come_with_all_that_the_list_tells_and_stay_when_it_is_down(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    emulator.models["big"] = Model(
        "big",
        fields={
            "context_length": 200_000,
            "max_completion_tokens": 64_000,
            "architecture": {"input_modalities": ["text", "image"]},
        },
    )
    with house(tmp_path, section(emulator)) as gateway:
        gateway.discover()
        provider: Any = gateway.services.backends["up"].provider
        (big,) = [m for m in provider.known_models() if m.id == "big"]
        assert (big.context_length, big.max_output) == (200_000, 64_000)
        assert big.modalities == {"text", "image"}
        emulator.faults.add("refuse", on="models", status=503)
        gateway.discover()
        assert big in provider.known_models()
        listed = gateway.app.test_client().get("/v1/models").get_json()["data"]
        assert "up/big" in [row["id"] for row in listed]
        assert gateway.ask("up/none-such").status_code == 404


@pytest.mark.parametrize("lists", [True, False])
def test_a_configured_list_stands_in_for_one_that_is_not_there(
    emulator: OpenAIEmulator, tmp_path: Path, lists: bool
) -> None:
    named = {"models": ["gpt-4o"]} if lists else {"quirks": {"lists_models": False}}
    with house(tmp_path, section(emulator, **named)) as gateway:
        gateway.discover()
        assert gateway.ask("up/gpt-4o").status_code == 200
        assert gateway.ask("up/gpt-4o-mini").status_code == (404 if lists else 200)
    assert "models" not in [entry.name for entry in emulator.log.all()]


def test_an_upstream_without_a_list_is_no_trouble(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    emulator.faults.add("refuse", on="models", status=404, times=9)
    with house(tmp_path, section(emulator)) as gateway:
        gateway.discover()
        assert gateway.ask("up/gpt-4o").status_code == 200


def test_a_connection_serves_again_after_a_stream(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    with house(tmp_path, section(emulator)) as gateway:
        for _ in range(8):
            assert "hello" in text_of(gateway.ask("up/gpt-4o", stream=True))
    ports = {e.peer for e in emulator.log.all() if e.name == "chat"}
    # Not one alone: on a busy machine the end of a body may come too late to be met.
    assert len(ports) < 4


def test_a_bad_key_does_not_hide_which_models_there_are(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    emulator.add_key("bad", state="invalid")
    emulator.add_key("good")
    keys = {key.name: key.secret for key in emulator.world.keys.all()}
    with house(tmp_path, {"up": upstream(emulator.base_url, keys)}) as gateway:
        gateway.discover()
        provider: Any = gateway.services.backends["up"].provider
        assert "gpt-4o" in [model.id for model in provider.known_models()]


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        ("llama3:latest", "llama3"),
        ("a/b", "a/b:online"),
        ("models/gemini-x", "gemini-x"),
    ],
)
def test_a_listed_model_may_be_asked_for_by_its_other_names(
    emulator: OpenAIEmulator, tmp_path: Path, listed: str, asked: str
) -> None:
    emulator.models[listed] = Model(listed)
    emulator.knobs.any_model = True
    with house(tmp_path, section(emulator)) as gateway:
        gateway.discover()
        assert gateway.ask(f"up/{asked}").status_code == 200
        assert gateway.ask("up/none-such").status_code == 404
    assert [e.body["model"] for e in emulator.log.all() if e.name == "chat"] == [asked]


@pytest.mark.parametrize("stream", [True, False])
def test_spark_says_neither_why_it_ended_nor_which_models_it_has(
    emulator: OpenAIEmulator, tmp_path: Path, stream: bool
) -> None:
    """In the form of xfyun.cn/doc/spark (HTTP)."""
    emulator.knobs.any_model = True
    head: dict[str, Any] = {"code": 0, "message": "Success", "sid": "made-up"}
    counts = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    said = {"role": "assistant", "content": "hello"}
    if stream:
        first = {**head, "choices": [{"delta": said, "index": 0}]}
        last = {**head, "choices": [{"delta": {**said, "content": "!"}, "index": 0}]}
        lines = [orjson.dumps(d) for d in (first, {**last, "usage": counts})]
        body = b"".join(b"data:" + line + b"\n\n" for line in [*lines, b"[DONE]"])
        emulator.answer = Recording(body)
    else:
        whole = {**head, "choices": [{"message": said, "index": 0}], "usage": counts}
        emulator.answer = Recording(orjson.dumps(whole), "application/json")
    with house(tmp_path, section(emulator, preset="spark")) as gateway:
        answer = gateway.ask("up/lite", stream=stream)
        assert answer.status_code == 200, answer.data
        assert text_of(answer) == ("hello!" if stream else "hello")
        if stream:
            choices = [c for chunk in chunks(answer) for c in chunk["choices"]]
            assert choices[-1]["finish_reason"] == "stop"
        assert gateway.ask("up/odd").status_code == 404


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_that_is_compressed_unasked_is_read(
    emulator: OpenAIEmulator, tmp_path: Path, coding: str, stream: bool
) -> None:
    part = {"delta" if stream else "message": {"role": "assistant", "content": "hi"}}
    said = orjson.dumps({"choices": [{"index": 0, **part, "finish_reason": "stop"}]})
    body = b"data: " + said + b"\n\ndata: [DONE]\n\n" if stream else said
    packed = gzip.compress(body) if coding == "gzip" else zlib.compress(body)
    kind = "text/event-stream" if stream else "application/json"
    emulator.answer = Recording(
        packed, kind, status=201, headers={"Content-Encoding": coding}, pieces=(9,)
    )
    with house(tmp_path, section(emulator)) as gateway:
        answer = gateway.ask("up/gpt-4o", stream=stream)
        assert answer.status_code == 200, answer.data
        assert text_of(answer) == "hi"
        assert "content-encoding" not in answer.headers
    asked = [entry for entry in emulator.log.all() if entry.name == "chat"]
    assert asked[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("coding", ["br", "gzip"])
def test_a_refusal_in_a_form_that_nobody_reads_is_its_status(
    emulator: OpenAIEmulator, tmp_path: Path, coding: str
) -> None:
    """Kilo sheet §7: a 403 with a compressed body."""
    emulator.answer = Recording(
        b"made up", "text/html", status=401, headers={"Content-Encoding": coding}
    )
    with house(tmp_path, section(emulator)) as gateway:
        answer = gateway.ask("up/gpt-4o")
        assert answer.get_json()["error"]["code"] == "upstream_auth"
        assert gateway.states("up")["k"].state == "dead"
