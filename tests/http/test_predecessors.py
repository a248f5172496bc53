"""The predecessors' documented set-ups and examples, run as they stand.

Each set-up is the README's own environment or file, but for the tokens and where the
upstream is; each example is one of the README's requests. Sources: the READMEs of
kilo2api, qodo2api, kimi-ai-2api, aibotgo (the text of kimi-free-api) and reverse-kimi.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from werkzeug.test import TestResponse

from emulators.kilo import KiloEmulator
from emulators.kimi_ai_chat import KimiAiChatEmulator
from emulators.kimi_connect import KimiConnectEmulator
from emulators.qodo import QodoEmulator
from kimi_proxy.app import create_app
from kimi_proxy.config import Settings, load
from kimi_proxy.config.environment import VARIABLES
from kimi_proxy.services import Services
from tests.gateway_process import ROOT

MIGRATING = ROOT / "docs" / "migrating.md"


@dataclass(frozen=True, slots=True)
class House:
    """A gateway as the predecessor was set up."""

    app: Any
    settings: Settings

    def get(self, path: str, key: str | None = None) -> TestResponse:
        answer: TestResponse = self.app.test_client().get(path, headers=bearer(key))
        return answer

    def post(self, path: str, key: str | None, body: Any) -> TestResponse:
        client = self.app.test_client()
        answer: TestResponse = client.post(path, headers=bearer(key), json=body)
        return answer

    def chat(self, key: str | None, body: Any, prefix: str = "") -> TestResponse:
        return self.post(f"{prefix}/v1/chat/completions", key, body)


def bearer(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


@contextmanager
def house(
    settings: Settings, provider: str, hosts: Mapping[str, str]
) -> Iterator[House]:
    """The settings as they are, but for the provider's hosts and the state."""
    found: Any = settings.providers[provider]
    moved = found.model_copy(update={"hosts": found.hosts.model_copy(update=hosts)})
    update = {"providers": {provider: moved}, "state": "memory://"}
    settings = settings.model_copy(update=update)
    services = Services(settings)
    services.discovery.ask(provider)
    try:
        yield House(create_app(services), settings)
    finally:
        services.stop()


def said(answer: TestResponse) -> str:
    """The text of an answer, streamed or whole."""
    assert answer.status_code == 200, answer.data
    if answer.mimetype == "text/event-stream":
        lines = re.findall(rb"^data: ({.*)$", answer.data, re.MULTILINE)
        assert b"data: [DONE]" in answer.data
        choices = [choice for line in lines for choice in json.loads(line)["choices"]]
        return "".join(choice["delta"].get("content") or "" for choice in choices)
    return str(answer.get_json()["choices"][0]["message"]["content"])


def error(answer: TestResponse) -> tuple[int, str]:
    return answer.status_code, answer.get_json()["error"]["message"]


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def user(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n made up").decode()
IMAGE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
SAID = [{"role": "assistant", "content": "A dot."}]


def about(part: Any, question: str) -> list[Any]:
    parts = [part, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


# kilo2api: docker-compose, docker run, and the list of its variables.
KILO2API = {
    "PORT": "7099",
    "DEBUG": "true",
    "API_SECRET": "123456",
    "REQUEST_RATE_LIMIT": "60",
    "USER_AGENT": "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Chrome",
    "ROUTE_PREFIX": "hf",
    "RATE_LIMIT_COOKIE_LOCK_DURATION": "600",
    "TZ": "Asia/Shanghai",
}


def test_kilo2api() -> None:
    with KiloEmulator() as kilo:
        environ = {**KILO2API, "KL_COOKIE": kilo.add_account("alice")}
        with house(load(None, environ), "kilo", {"api": kilo.url}) as gateway:
            assert gateway.settings.server.port == 7099
            body = {"model": "claude-sonnet-4.5", "messages": user("hello")}
            turns = [*about(IMAGE, "what is this?"), *SAID, *user("and this?")]
            for stream in (False, True):
                asked = {**body, "stream": stream}
                assert said(gateway.chat("123456", asked, "/hf"))
                assert said(gateway.chat("123456", {**asked, "messages": turns}, "/hf"))
            assert kilo.log.of("chat")[-1].body["messages"] == turns
            listed = gateway.get("/hf/v1/models", "123456").get_json()["data"]
            assert "kilo/anthropic/claude-sonnet-4.5" in [m["id"] for m in listed]
            # What it gave as 200 or 500 has a status of its own.
            assert error(gateway.chat("wrong", body, "/hf"))[0] == 401
            assert (
                error(gateway.chat("123456", {**body, "model": "x"}, "/hf"))[0] == 404
            )
            status, told = error(gateway.get("/hf/swagger/index.html"))
            assert (status, "/docs" in told) == (404, True)


# qodo2api: the same, and its own switch.
QODO2API = {
    "API_SECRET": "123456",
    "CHINESE_CHAT_ENABLED": "true",
    "DEBUG": "true",
    "REQUEST_RATE_LIMIT": "60",
    "RATE_LIMIT_COOKIE_LOCK_DURATION": "600",
    "TZ": "Asia/Shanghai",
}


def test_qodo2api() -> None:
    with QodoEmulator() as qodo:
        environ = {**QODO2API, "QD_COOKIE": qodo.add_pair("alice")}
        hosts = dict.fromkeys(("cli", "ide", "firebase"), qodo.url)
        with house(load(None, environ), "qodo", hosts) as gateway:
            assert gateway.settings.server.port == 10022
            for model in ("claude-3-7-sonnet", "gpt-4o", "deepseek-r1"):
                body = {"model": model, "messages": user("hello"), "stream": True}
                assert said(gateway.chat("123456", body))
        refused = " ".join(gateway.settings.warnings)
        assert "CHINESE_CHAT_ENABLED has no effect" in refused


# kimi-ai-2api: its .env, and every curl and Python example.
SITE_KEY = "sk-your-secret-key-here-2024"
KIMI_AI_2API = {
    "API_MASTER_KEY": SITE_KEY,
    "NGINX_PORT": "8088",
    "API_HOST": "0.0.0.0",  # noqa: S104 - as its README has it
    "API_PORT": "8000",
    "SESSION_CACHE_TTL": "3600",
    "MAX_SESSION_SIZE": "1000",
    "LOG_LEVEL": "INFO",
    "REQUEST_TIMEOUT": "60",
    "MAX_RETRIES": "3",
}
SITE_EXAMPLES: tuple[dict[str, Any], ...] = (
    {"messages": user("请用 Python 写一个快速排序算法"), "stream": False},
    {
        "messages": user("解释一下量子计算的基本概念"),
        "stream": True,
        "user": "user_123456",
    },
    {"messages": user("我叫张三，来自北京"), "user": "zhang_san_001"},
    {"messages": user("我刚才说我来自哪里？"), "user": "zhang_san_001"},
    {"messages": user("你好，请介绍一下你自己"), "stream": True},
)


def test_kimi_ai_2api() -> None:
    with KimiAiChatEmulator() as site:
        settings = load(None, KIMI_AI_2API)
        with house(settings, "kimi-ai-chat", {"site": site.url}) as gateway:
            assert gateway.settings.server.port == 8088
            assert gateway.get("/health").status_code == 200
            assert gateway.get("/").status_code == 200
            listed = gateway.get("/v1/models", SITE_KEY).get_json()["data"]
            assert listed[0]["id"] == "kimi"
            for example in SITE_EXAMPLES:
                assert said(gateway.chat(SITE_KEY, {"model": "kimi", **example}))
            with gateway.get("/docs") as page:
                assert page.mimetype == "text/html"


# aibotgo, whose README is kimi-free-api's: the caller's own token as its bearer.
PDF = base64.b64encode(b"%PDF-1.4\n%made up\n").decode()
DOCUMENT = {
    "type": "file",
    "file_url": {"url": f"data:application/pdf;base64,{PDF}"},
}
FREE_EXAMPLES: tuple[dict[str, Any], ...] = (
    {"model": "kimi", "messages": user("测试"), "use_search": True, "stream": False},
    {"model": "kimi", "messages": about(DOCUMENT, "文档里说了什么？")},
    {
        "model": "kimi",
        "messages": about(IMAGE, "图像描述了什么？"),
        "use_search": False,
    },
    {"model": "kimi-silent_search", "messages": user("测试"), "stream": True},
    {"model": "anything-at-all", "messages": user("测试")},
    {"model": "k1", "messages": user("测试"), "conversation_id": None},
)


def documented(heading: str) -> str:
    """The YAML under a heading of docs/migrating.md."""
    text = MIGRATING.read_text("utf-8").split(f"## {heading}")[1]
    found = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)
    assert found
    return found[1]


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        yield emulator


def at(kimi: KimiConnectEmulator) -> dict[str, str]:
    return dict.fromkeys(("api", "auth", "legacy"), kimi.url)


def test_kimi_free_api(kimi: KimiConnectEmulator, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(documented("kimi-free-api"))
    token = kimi.add_account("alice").refresh
    both = f"{token},{kimi.add_account('bob').refresh}"
    settings = load(None, {"KIMI_PROXY_KEY": "made-up"})
    with house(settings, "kimi", at(kimi)) as gateway:
        assert gateway.get("/ping").data == b"pong"
        for example in FREE_EXAMPLES:
            assert said(gateway.chat(both, example))
        checked = gateway.post("/token/check", token, {"token": token})
        assert checked.get_json()["live"] is True

        first = {"model": "kimi", "messages": user("测试"), "conversation_id": "none"}
        begun = gateway.chat(token, first)
        assert said(begun)
        chat = begun.get_json()["conversation_id"]
        again = gateway.chat(token, {**first, "conversation_id": chat})
        assert again.get_json()["conversation_id"] == chat
        # Its README says to send the answer's id, which is the answer's alone here.
        theirs = {**first, "conversation_id": begun.get_json()["id"]}
        status, told = error(gateway.chat(token, theirs))
        assert (status, "conversation_id, which is not its id" in told) == (404, True)


def test_kimi_free_apis_agents_are_asked_for_by_their_id(
    kimi: KimiConnectEmulator, tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(documented("kimi-free-api"))
    token = kimi.add_account("alice").refresh
    kimi.knobs.agents = ("coo6l3pkqq4ri39f36bg",)
    settings = load(None, {"KIMI_PROXY_KEY": "made-up"})
    with house(settings, "kimi", at(kimi)) as gateway:
        body = {"model": "coo6l3pkqq4ri39f36bg", "messages": user("测试")}
        answer = gateway.chat(token, body)
        assert said(answer)
        route = answer.headers["x-kimi-proxy-route"]
        assert route == "kimi/coo6l3pkqq4ri39f36bg"


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/v1/auth/sendMsg", "providers.kimi.tokens"),
        ("/v1/auth/login", "providers.kimi.tokens"),
        ("/v1/sendMessage", "use POST /v1/chat/completions"),
    ],
)
def test_aibotgos_own_calls_are_told_what_to_do_instead(
    kimi: KimiConnectEmulator, tmp_path: Path, path: str, words: str
) -> None:
    (tmp_path / "config.yaml").write_text(documented("kimi-free-api"))
    settings = load(None, {"KIMI_PROXY_KEY": "made-up"})
    with house(settings, "kimi", at(kimi)) as gateway:
        status, told = error(gateway.post(path, None, {"phone": "1"}))
        assert (status, words in told) == (404, True)


def test_every_variable_of_theirs_has_its_row() -> None:
    rows = re.findall(r"^\| (`[A-Z][^|]*`) \|", MIGRATING.read_text("utf-8"), re.M)
    told = {name for row in rows for name in re.findall(r"`([A-Z_]+)`", row)}
    assert told >= {row.name for row in VARIABLES}
    assert told >= {*KILO2API, *QODO2API, *KIMI_AI_2API}


def test_reverse_kimi(kimi: KimiConnectEmulator, tmp_path: Path) -> None:
    pair = kimi.add_account("alice")
    file = {
        "token": "12345678",
        "auth_token": f"Bearer {pair.access}",
        "refresh_token": f"Bearer {pair.refresh}",
    }
    (tmp_path / "config.json").write_text(json.dumps(file))
    with house(load(None, {"TZ": "Asia/Shanghai"}), "kimi", at(kimi)) as gateway:
        assert gateway.settings.server.port == 6867
        # A message as a part of a message: so its README has it.
        prompt = [{"content": "天空为什么不是红色", "role": "user"}]
        payload = {
            "model": "moonshot-v1",
            "messages": [{"role": "user", "content": prompt}],
        }
        every = {
            **payload,
            "messages": user("天空为什么不是红色"),
            "stream": True,
            "temperature": 0.5,
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "top_p": 1,
            "max_tokens": 4000,
        }
        for path in ("/v1/chat/completions", "/v1/chat/completitions"):
            for body in (payload, every):
                assert said(gateway.post(path, "12345678", body))
            assert error(gateway.post(path, "wrong", payload))[0] == 401
        (turn, *_) = kimi.log.of("Chat")
        assert "天空为什么不是红色" in json.dumps(turn.body, ensure_ascii=False)
