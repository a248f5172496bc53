"""The gateway before llama.cpp's server, driven by the official client."""

import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import openai
import pytest
import requests

from tests.chaos.waiting import eventually
from tests.gateway_process import ROOT, GatewayProcess, running
from tests.llama import tiny_model

KEY, CLIENT_KEY = "sk-made-up-llama-key", "kp-made-up-client-key"
MODEL = "local/tiny"
# Every call gets the same words, whoever asks.
FIXED: dict[str, Any] = {"temperature": 0, "seed": 1, "cache_prompt": False}
HI: list[Any] = [{"role": "user", "content": "hello, 你好 😀"}]


@dataclass(frozen=True, slots=True)
class House:
    gateway: GatewayProcess
    sdk: openai.OpenAI
    server: subprocess.Popen[str]
    origin: str

    def asked(self, *, direct: bool, **body: Any) -> requests.Response:
        """The answer to a chat, from the server itself or through the gateway."""
        origin = self.origin if direct else f"http://127.0.0.1:{self.gateway.port}"
        return requests.post(
            f"{origin}/v1/chat/completions",
            json={"model": "tiny" if direct else MODEL, "messages": HI, **FIXED} | body,
            headers={"Authorization": f"Bearer {KEY if direct else CLIENT_KEY}"},
            timeout=30,
        )


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:  # of the smallest Debian alone; CI installs it
        pytest.skip("llama.cpp needs OpenMP's library: apt install libgomp1")
    directory = tmp_path_factory.mktemp("llama")
    with (directory / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "tests.llama.serve", str(_model(directory)), KEY],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
    assert server.stdout is not None
    try:
        lines = iter(server.stdout.readline, "")
        origin = next(line.strip() for line in lines if line.startswith("http"))
        with running(directory, _config(origin)) as gateway:
            base_url = f"http://127.0.0.1:{gateway.port}/v1"
            sdk = openai.OpenAI(base_url=base_url, api_key=CLIENT_KEY, max_retries=0)
            eventually(lambda: MODEL in {model.id for model in sdk.models.list()})
            yield House(gateway, sdk, server, origin)
    finally:
        server.kill()
        server.wait(10)
        server.stdout.close()


def _model(directory: Path) -> Path:
    path = directory / "tiny.gguf"
    tiny_model.write(path)
    return path


def _config(origin: str) -> dict[str, Any]:
    base = {"type": "openai", "preset": "llamacpp", "base_url": f"{origin}/v1"}
    return {
        "keys": [{"name": "client", "key": CLIENT_KEY}],
        "providers": {
            "local": {**base, "tokens": [{"name": "main", "token": KEY}]},
            "locked": {**base, "tokens": [{"name": "old", "token": "sk-made-up-old"}]},
            "echo": {"type": "echo"},
        },
        "models": {
            "chain": {"route": ["locked/tiny", "local/tiny", "echo/echo"]},
        },
        "relay": {"provider": "local"},
    }


def _documents(answer: requests.Response) -> list[dict[str, Any]]:
    """The chunks, without what no two answers have in common."""
    lines = [x for x in answer.content.decode().split("\n\n") if x.strip()]
    assert lines.pop() == "data: [DONE]"
    found = []
    for line in lines:
        document = json.loads(line.removeprefix("data: "))
        found.append(_timeless(document))
    return found


def _timeless(document: dict[str, Any]) -> dict[str, Any]:
    passing = {"id", "created", "timings"}
    return {name: value for name, value in document.items() if name not in passing}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"logprobs": True, "top_logprobs": 2},
        {"stream_options": {"include_usage": True}},
        {"stop": ["e", "a"]},
    ],
    ids=["plain", "logprobs", "usage", "stop"],
)
def test_a_stream_is_the_one_that_the_server_sends(
    house: House, more: dict[str, Any]
) -> None:
    wanted, got = (
        _documents(house.asked(direct=direct, stream=True, max_tokens=12, **more))
        for direct in (True, False)
    )
    assert all(a == b for a, b in zip_longest(wanted, got))


def test_so_is_a_whole_answer(house: House) -> None:
    direct, through = (
        house.asked(direct=direct, max_tokens=12) for direct in (True, False)
    )
    assert _timeless(direct.json()) == _timeless(through.json())
    assert through.headers["x-kimi-proxy-route"] == MODEL


def test_several_choices_come_together(house: House) -> None:
    made = house.sdk.chat.completions.create(
        model=MODEL, messages=HI, n=2, max_tokens=5, temperature=1, stream=True
    )
    ends = {c.index: c.finish_reason for x in made for c in x.choices}
    assert set(ends) == {0, 1}


def test_a_schema_is_kept_to(house: House) -> None:
    colour = {"type": "string", "enum": ["red", "green"]}
    schema = {"type": "object", "properties": {"c": colour}, "required": ["c"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    made = house.sdk.chat.completions.create(
        model=MODEL, messages=HI, max_tokens=100, extra_body={"response_format": wanted}
    )
    assert json.loads(made.choices[0].message.content or "")["c"] in {"red", "green"}


def test_a_prompt_that_does_not_fit_is_told(house: House) -> None:
    long: list[Any] = [{"role": "user", "content": "hello " * 400}]
    with pytest.raises(openai.BadRequestError) as caught:
        house.sdk.chat.completions.create(model=MODEL, messages=long)
    assert caught.value.code == "context_length_exceeded"


def test_another_endpoint_is_relayed(house: House) -> None:
    made = house.sdk.completions.create(model=MODEL, prompt="hello", max_tokens=4)
    assert made.choices[0].finish_reason in {"length", "stop"}


def test_who_leaves_frees_the_servers_slot(house: House) -> None:
    endless = {"ignore_eos": True}
    for _ in range(6):  # three times as many as it has slots
        made = house.sdk.chat.completions.create(
            model=MODEL, messages=HI, max_tokens=400, stream=True, extra_body=endless
        )
        made.close()
    began = time.monotonic()
    assert house.asked(direct=False, max_tokens=2).status_code == 200
    assert time.monotonic() - began < 10


def test_a_refused_key_and_a_dead_server_are_passed_by(house: House) -> None:
    """The last test: it ends the server."""
    ask = house.sdk.chat.completions.with_raw_response.create
    first = ask(model="chain", messages=HI, max_tokens=3)
    assert first.headers["x-kimi-proxy-route"] == "local/tiny"
    house.server.kill()
    house.server.wait(10)
    second = ask(model="chain", messages=HI, max_tokens=3)
    assert second.headers["x-kimi-proxy-route"] == "echo/echo"
    with pytest.raises(openai.InternalServerError) as caught:
        house.sdk.chat.completions.create(model=MODEL, messages=HI)
    assert caught.value.status_code == 503
