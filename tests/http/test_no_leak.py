"""Nothing of a client reaches an upstream that is not meant for it, and nothing of an
upstream's machines and accounts reaches a client: told by values planted in both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from emulators.kilo import KiloEmulator
from emulators.kimi_connect import KimiConnectEmulator
from emulators.openai import OpenAIEmulator, Recording
from tests.http.openai_house import House, house, upstream

KEY = "kp-planted-by-the-client"
PLANTED = "planted-by-the-client"
# Each with a value that can be found again. Whoever forwards what he does not know
# forwards one of these.
CLIENTS = {
    name: f"{PLANTED}-{number}"
    for number, name in enumerate(
        "cookie x-forwarded-for x-forwarded-host forwarded x-real-ip via x-client-ip"
        " cf-connecting-ip true-client-ip referer origin user-agent x-title"
        " http-referer proxy-authorization openai-organization openai-project"
        " x-api-version x-goog-api-key x-msh-device-id x-kilocode-taskid"
        " x-stainless-lang x-stainless-runtime-version x-request-id traceparent"
        " tracestate baggage accept-language dnt sec-fetch-site x-base-url"
        " helicone-auth anthropic-beta anthropic-version priority".split()
    )
}
# What OpenAI's front adds to every answer of the emulator, and what its errors say.
UPSTREAMS = (
    *("made-up-upstream", "__cf_bm", "10.11.12.13", "org-madeup", "openai-processing"),
    *("29984", "x-internal-address"),
)
CHAT = {"messages": [{"role": "user", "content": "hello"}]}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("leak")) as stage:
        yield stage


class Stage:
    """One gateway before three kinds of upstream."""

    def __init__(self, directory: Path) -> None:
        self.api, self.kilo = OpenAIEmulator(), KiloEmulator()
        self.kimi = KimiConnectEmulator()
        self._emulators = (self.api, self.kilo, self.kimi)
        self._directory = directory
        self.house: House

    def __enter__(self) -> Stage:
        for emulator in self._emulators:
            emulator.__enter__()
        self.secrets = {
            "api": self.api.add_key("alice"),
            "kilo": self.kilo.add_account("alice"),
            "kimi": self.kimi.add_account("alice").refresh,
        }
        pool = {"failure_threshold": 1000, "cooldown": 0.01, "max_cooldown": 0.01}
        tokens = {n: [{"name": "one", "token": t}] for n, t in self.secrets.items()}
        providers = {
            "api": upstream(self.api.base_url, {"one": self.secrets["api"]}, pool=pool),
            "kilo": {
                "type": "kilo",
                "tokens": tokens["kilo"],
                "hosts": {"api": self.kilo.url},
                "pool": pool,
            },
            "kimi": {
                "type": "kimi",
                "wire": "connect",
                "tokens": tokens["kimi"],
                "hosts": {"api": self.kimi.url, "auth": self.kimi.url},
            },
        }
        self._house = house(
            self._directory,
            providers,
            keys=[{"name": "laptop", "key": KEY}],
            relay={"provider": "api"},
        )
        self.house = self._house.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._house.__exit__(*exc)
        for emulator in self._emulators:
            emulator.__exit__(*exc)

    def call(self, method: str, path: str, body: Any = None) -> TestResponse:
        headers = {**CLIENTS, "Authorization": f"Bearer {KEY}", "x-api-key": KEY}
        client = self.house.app.test_client()
        answer: TestResponse = client.open(
            f"/v1{path}", method=method, headers=headers, json=body
        )
        assert answer.data is not None  # all of it is read
        return answer

    def went_up(self) -> Iterator[Mapping[str, Any]]:
        for emulator in self._emulators:
            for entry in emulator.log.all():
                yield entry.headers

    def require_no_trace(self, answer: TestResponse) -> None:
        for headers in self.went_up():
            for name, value in headers.items():
                assert PLANTED not in str(value), name
        came = f"{answer.headers}\n{answer.data.decode(errors='replace')}".lower()
        ports = [e.url.rpartition(":")[2] for e in self._emulators]
        places = [f"127.0.0.1:{port}" for port in ports]
        found = [s for s in (*UPSTREAMS, *places) if s.lower() in came]
        assert not found
        assert not [n for n, secret in self.secrets.items() if secret.lower() in came]


MESSAGE = {"max_tokens": 9, **CHAT}
CALLS: dict[str, tuple[str, str, Any]] = {
    "chat": ("POST", "/chat/completions", {"model": "api/gpt-4o", **CHAT}),
    "kilo": ("POST", "/chat/completions", {"model": "kilo/kilo-auto/free", **CHAT}),
    "kimi": ("POST", "/chat/completions", {"model": "kimi/k2d6-chat", **CHAT}),
    "messages": ("POST", "/messages", {"model": "api/gpt-4o", **MESSAGE}),
    "responses": ("POST", "/responses", {"model": "api/gpt-4o", "input": "hi"}),
}
STREAMED = {n: (m, p, {**body, "stream": True}) for n, (m, p, body) in CALLS.items()}
RELAYED: dict[str, tuple[str, str, Any]] = {
    "embeddings": ("POST", "/embeddings", {"model": "api/gpt-4o", "input": "hi"}),
    "batches": ("GET", "/batches", None),
    "stored": ("GET", "/chat/completions", None),
    "speech": (
        "POST",
        "/audio/speech",
        {"model": "api/tts-1", "input": "hi", "voice": "alloy"},
    ),
}
# Where each is refused, and by which of the emulators.
ROUTES = {"kilo": "kilo", "kimi": "kimi"}


@pytest.mark.parametrize(
    "call",
    [*CALLS.values(), *STREAMED.values(), *RELAYED.values()],
    ids=[*CALLS, *(f"{n}-streamed" for n in STREAMED), *RELAYED],
)
def test_an_answer_carries_nothing_across(
    stage: Stage, call: tuple[str, str, Any]
) -> None:
    answer = stage.call(*call)
    assert answer.status_code == 200, answer.data
    stage.require_no_trace(answer)


TALKATIVE = {
    "error": {
        "message": "Incorrect API key provided: {key}. Post"
        ' "http://10.11.12.13:8443/v1/x": dial tcp 10.11.12.13:8443 for'
        " org-madeup0000000000",
        "type": "server_error",
    }
}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
@pytest.mark.parametrize("name", ["chat", "messages", "responses", "embeddings"])
def test_a_talkative_refusal_carries_nothing_across(
    stage: Stage, name: str, status: int
) -> None:
    stage.house.services.backends["api"].pool.revive("one")
    said = TALKATIVE["error"]["message"].format(key=stage.secrets["api"])
    body = {"error": {**TALKATIVE["error"], "message": said}}
    stage.api.faults.add("refuse", status=status, body=body, times=9)
    answer = stage.call(*{**CALLS, **RELAYED}[name])
    assert answer.status_code >= 400
    stage.require_no_trace(answer)
    stage.api.faults.clear()


@pytest.mark.parametrize("fault", ["redirect", "challenge", "reset", "status"])
@pytest.mark.parametrize("name", ["chat", "kilo", "kimi", "embeddings"])
def test_no_failure_says_where_the_upstream_is(
    stage: Stage, name: str, fault: str
) -> None:
    provider = ROUTES.get(name, "api")
    stage.house.services.backends[provider].pool.revive("one")
    emulator: Any = getattr(stage, provider)
    emulator.faults.add(fault, times=9)
    answer = stage.call(*{**CALLS, **RELAYED}[name])
    assert answer.status_code == 503, answer.data
    stage.require_no_trace(answer)
    emulator.faults.clear()


def test_nor_does_one_that_cannot_be_reached(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nowhere = upstream("http://127.0.0.1:9/v1", {"one": "sk-made-up-0000000000"})
    with house(tmp_path, {"api": nowhere}) as gateway:
        answer = gateway.ask("api/x")
    assert answer.get_json()["error"]["code"] == "upstream_unreachable"
    assert "127.0.0.1" not in answer.data.decode()
    assert "127.0.0.1:9" in caplog.text, "who runs the gateway has to know"


def test_an_error_within_a_stream_carries_nothing_across(stage: Stage) -> None:
    stage.house.services.backends["api"].pool.revive("one")
    first = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
    said = b'{"error":{"message":"dial tcp 10.11.12.13:8443 for org-madeup00000"}}'
    stage.api.answer = Recording(first + b"data: " + said + b"\n\n")
    for name in ("chat", "messages", "responses"):
        answer = stage.call(*STREAMED[name])
        assert answer.status_code == 200 and b"error" in answer.data
        stage.require_no_trace(answer)
    stage.api.answer = stage.api.world.rules.quote
