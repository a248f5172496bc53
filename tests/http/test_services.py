"""Kilo, Qodo and kimi-ai.chat behind one gunicorn, asked by the official client."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import openai
import pytest

from emulators.kilo import Answer, KiloEmulator
from emulators.kimi_ai_chat import KimiAiChatEmulator
from emulators.qodo import QodoEmulator
from tests.chaos.waiting import eventually
from tests.gateway_process import GatewayProcess, running
from tests.http import wire

KILO, POOL = (f"{name}/anthropic/claude-sonnet-4.5" for name in ("kilo", "kilo-pool"))
SITE, WALLED = "site/kimi-k2-instruct", "walled/kimi-k2-instruct"
HI: Any = [{"role": "user", "content": "hi"}]
BAD = ("broke", "wrong", "blocked", "limited")
MODELS = (KILO, "qodo/gpt-5.1", "qodo-ide/gpt-4o", SITE)


@dataclass(frozen=True, slots=True)
class House:
    """The gateway, and what stands behind it."""

    gateway: GatewayProcess
    sdk: openai.OpenAI
    kilo: KiloEmulator
    qodo: QodoEmulator
    site: KimiAiChatEmulator
    tokens: dict[str, str]

    def check(self, token: str, **more: str) -> Any:
        body = {"token": token, **more}
        return wire.call(self.gateway.port, "POST", "/token/check", body).json()


def config(house: ExitStack) -> tuple[dict[str, Any], Any]:
    kilo, qodo = (
        house.enter_context(KiloEmulator()),
        house.enter_context(QodoEmulator()),
    )
    site = house.enter_context(KimiAiChatEmulator())
    names = (*BAD, "good")
    tokens = {f"pool-{name}": kilo.add_account(name) for name in names}
    tokens |= {"kilo-solo": kilo.add_account("solo")}
    tokens |= {"qodo-key": qodo.add_key("carol")}
    tokens |= {f"qodo-{name}": qodo.add_pair(name) for name in ("dora", "emil")}
    kilo.accounts.get("broke").balance = 0
    kilo.accounts.revoke("wrong")
    kilo.accounts.get("blocked").blocked = True

    def entries(prefix: str) -> list[dict[str, str]]:
        found = (name for name in tokens if name.startswith(prefix))
        return [{"name": name, "token": tokens[name]} for name in found]

    hosts = {"cli": qodo.url, "ide": qodo.url, "firebase": qodo.url}
    pairs = [*entries("qodo-dora"), *entries("qodo-emil")]
    api = {"hosts": {"api": kilo.url}}
    providers = {
        "kilo": {"type": "kilo", "tokens": entries("kilo-"), **api},
        "kilo-pool": {
            "type": "kilo",
            "tokens": entries("pool-"),
            "pool": {"strategy": "in-order"},
            **api,
        },
        "qodo": {"type": "qodo", "tokens": entries("qodo-key"), "hosts": hosts},
        "qodo-ide": {
            "type": "qodo",
            "tokens": pairs,
            "hosts": hosts,
            "pool": {"strategy": "round-robin"},
        },
        "site": {"type": "kimi-ai-chat", "hosts": {"site": site.url}},
        "walled": {"type": "kimi-ai-chat", "hosts": {"site": site.url}},
    }
    models = {"first-the-site": [SITE, KILO]}
    return {"providers": providers, "models": models}, (kilo, qodo, site, tokens)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with ExitStack() as stack:
        settings, behind = config(stack)
        directory = tmp_path_factory.mktemp("services")
        gateway = stack.enter_context(running(directory, settings))
        sdk = openai.OpenAI(
            base_url=f"{gateway.base_url}/v1", api_key="none", max_retries=0
        )
        yield House(gateway, stack.enter_context(sdk), *behind)


@pytest.fixture(autouse=True)
def _clean(house: House) -> Iterator[None]:
    yield
    for emulator in (house.kilo, house.qodo, house.site):
        assert emulator.violations() == []
        emulator.reset()


def whole(house: House, model: str, messages: Any = HI) -> str:
    made = house.sdk.chat.completions.create(model=model, messages=messages)
    return made.choices[0].message.content or ""


def streamed(house: House, model: str) -> list[str]:
    chunks = house.sdk.chat.completions.create(model=model, messages=HI, stream=True)
    deltas = [c.choices[0].delta.content for c in chunks if c.choices]
    return [text for text in deltas if text]


def _with_attempts(house: House, number: int) -> Any:
    """The line of the request that took so many attempts; None before it is there."""
    lines = house.gateway.log_lines("request")
    return next((x for x in lines if len(x["attempts"]) == number), None)


def test_a_pool_of_keys_serves_while_one_is_good(house: House) -> None:
    """No balance, invalid, suspended, limited: each in its state, asked once."""
    limited = {"headers": {"Retry-After": "600"}}
    house.kilo.faults.add("refuse", account="limited", times=-1, **limited)
    for _ in range(2):
        assert whole(house, POOL) == "You said: hi"
    asked = [entry.account for entry in house.kilo.log.of("chat")]
    # A token that is no more is nobody's to the emulator.
    assert asked == ["broke", None, "blocked", "limited", "good", "good"]
    line = eventually(lambda: _with_attempts(house, 5))
    outcomes = [attempt.split()[1] for attempt in line["attempts"]]
    assert outcomes == [
        *("insufficient_quota", "upstream_auth", "account_suspended"),
        *("upstream_rate_limited", "ok"),
    ]
    told = {name: house.check(house.tokens[f"pool-{name}"]) for name in BAD}
    assert {name: report["state"] for name, report in told.items()} == {
        "broke": "exhausted",
        "wrong": "dead",
        "blocked": "disabled",
        "limited": "cooling",
    }
    reasons = {name: report["reason"] for name, report in told.items()}
    assert "no credits left" in reasons["broke"]
    assert "no such token" in reasons["wrong"]
    assert "shuts the account out" in reasons["blocked"]
    assert reasons["limited"]


@pytest.mark.parametrize("model", MODELS)
def test_each_answers_streamed_and_whole(house: House, model: str) -> None:
    assert whole(house, model) == "You said: hi"
    assert "".join(streamed(house, model)) == "You said: hi"


def test_the_site_comes_as_one_piece(house: House) -> None:
    assert streamed(house, SITE) == ["You said: hi"]


def test_an_error_within_kilos_stream_is_one_for_the_client(house: House) -> None:
    house.kilo.answer = Answer(("one ", "two "))
    house.kilo.faults.add("broken_off", at=1)
    with pytest.raises(openai.APIError, match="Provider disconnected"):
        streamed(house, KILO)


def test_two_pairs_of_one_web_key_never_mix(house: House) -> None:
    for _ in range(4):
        whole(house, "qodo-ide/gpt-4o")
    asked = [entry.account for entry in house.qodo.log.of("chat")]
    assert sorted(asked) == ["dora", "dora", "emil", "emil"]
    assert all(entry.status == 200 for entry in house.qodo.log.of("chat"))


def test_a_revoked_access_token_is_renewed_unseen(house: House) -> None:
    whole(house, "qodo-ide/gpt-4o")
    for name in ("dora", "emil"):
        house.qodo.credentials.revoke(name, "access")
    house.qodo.log.clear()
    assert whole(house, "qodo-ide/gpt-4o") == "You said: hi"
    names = [entry.name for entry in house.qodo.log.all()]
    assert names == ["chat", "renew", "chat"]


def test_thinking_of_qodo_is_reasoning_content(house: House) -> None:
    house.qodo.answer = ("<think>Short ", "plan.</think>", "Hello")
    made = house.sdk.chat.completions.create(model="qodo/gpt-5.1", messages=HI)
    message = made.choices[0].message
    assert message.content == "Hello"
    assert getattr(message, "reasoning_content", None) == "Short plan."


def test_a_nonce_runs_out_unseen_and_a_challenge_is_reported(house: House) -> None:
    whole(house, SITE)
    house.site.expire()
    assert whole(house, SITE) == "You said: hi"
    house.site.faults.add("challenge", on="message")
    with pytest.raises(openai.InternalServerError) as caught:
        whole(house, WALLED)
    assert caught.value.code == "upstream_blocked"


def test_what_the_site_cannot_take_goes_to_the_next_route(house: House) -> None:
    long: Any = [{"role": "user", "content": "x" * 1001}]
    with pytest.raises(openai.BadRequestError) as caught:
        whole(house, SITE, long)
    assert caught.value.code == "context_length_exceeded"
    assert whole(house, "first-the-site", long).startswith("You said: xxx")


def test_the_start_warns_of_the_site(house: House) -> None:
    warnings = [
        line
        for line in house.gateway.log_text().splitlines()
        if "unknown operator" in line
    ]
    assert warnings and "providers.site" in warnings[0]


def test_tokens_are_checked_where_they_belong(house: House) -> None:
    good = house.check(house.tokens["kilo-solo"])
    assert (good["live"], good["account"]) == (True, "kilo-solo")
    fresh = house.kilo.accounts.add("fay").token
    assert house.check(fresh)["live"] is True
    assert house.check("sk-made-up-unknown")["state"] == "dead"
    assert house.check(house.qodo.add_key("gus"))["live"] is True
    assert house.check(house.qodo.add_pair("hal"))["live"] is True
    pair = house.qodo.add_pair("ida")
    house.qodo.credentials.user("ida").disabled = True
    assert house.check(pair)["state"] == "dead"


def test_no_half_of_a_pair_is_ever_written_down(house: House) -> None:
    said = house.gateway.log_text()
    for name, token in house.tokens.items():
        assert token not in said, name
        assert token.partition("=")[2] not in said or "=" not in token, name
