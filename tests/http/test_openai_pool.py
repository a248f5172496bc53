"""A pool of API keys of which most are bad: each in its state, the client served."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from emulators.openai import OpenAIEmulator, Wait
from tests.http.openai_house import House, house, text_of, upstream

BAD = ("empty", "wrong", "slow", "closed")
STATES = {
    "empty": "exhausted",
    "wrong": "dead",
    "slow": "cooling",
    "closed": "disabled",
    "good": "ok",
}
LIMIT = {"error": {"message": "Too many requests", "type": "rate_limit_error"}}
MODEL = "api/gpt-4o"


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as emulator:
        emulator.add_key("empty", state="no_balance")
        emulator.add_key("wrong", state="invalid")
        emulator.add_key("slow", state="rate_limited", wait=Wait(90, ("seconds",)))
        emulator.add_key("closed", state="suspended")
        emulator.add_key("good")
        yield emulator


def gateway(
    emulator: OpenAIEmulator, directory: Path, names: tuple[str, ...], **more: Any
) -> Any:
    keys = {name: emulator.world.keys.named(name).secret for name in names}
    section = upstream(emulator.base_url, keys, pool={"strategy": "in-order"}, **more)
    return house(directory, {"api": section})


def asked(emulator: OpenAIEmulator) -> Counter[str | None]:
    return Counter(e.account for e in emulator.log.all() if e.name == "chat")


def states(gateway: House) -> dict[str, str]:
    return {name: state.state for name, state in gateway.states("api").items()}


@pytest.mark.parametrize("stream", [True, False])
def test_each_bad_key_is_put_aside_once_and_the_client_is_served(
    emulator: OpenAIEmulator,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    stream: bool,
) -> None:
    caplog.set_level(logging.DEBUG)
    emulator.faults.add("refuse", on="chat", account="slow", status=429, body=LIMIT)
    with gateway(emulator, tmp_path, (*BAD, "good")) as house:
        for _ in range(3):
            answer = house.ask(MODEL, stream=stream)
            assert answer.status_code == 200
            assert "hello" in text_of(answer)
        told = house.states("api")
    assert {name: state.state for name, state in told.items()} == STATES
    assert asked(emulator) == {**dict.fromkeys(BAD, 1), "good": 3}
    assert "exceeded your current quota" in (told["empty"].reason or "")
    assert "Incorrect API key" in (told["wrong"].reason or "")
    assert "deactivated" in (told["closed"].reason or "")
    assert "Too many requests" in (told["slow"].reason or "")
    for secret in (key.secret for key in emulator.world.keys.all()):
        assert secret not in caplog.text and secret[:8] not in str(told)


def test_a_limit_of_one_model_leaves_the_account_to_the_others(
    emulator: OpenAIEmulator, tmp_path: Path
) -> None:
    with gateway(emulator, tmp_path, ("slow", "good")) as house:
        for model in ("gpt-4o", "gpt-4o", "gpt-4o-mini"):
            assert house.ask(f"api/{model}").status_code == 200
        assert states(house) == {"slow": "ok", "good": "ok"}
    assert asked(emulator) == {"slow": 2, "good": 3}


@pytest.mark.parametrize(
    ("form", "seconds"),
    [("seconds", 90), ("date", 90), ("ms", 90), ("epoch", 90), ("requests", 90)],
)
def test_a_limit_of_the_whole_account_cools_it_as_long_as_it_says(
    emulator: OpenAIEmulator, tmp_path: Path, form: str, seconds: float
) -> None:
    with gateway(emulator, tmp_path, ("good",)) as house:
        emulator.faults.add(
            "refuse", on="chat", status=429, body=LIMIT, wait=90.0, forms=[form]
        )
        answer = house.ask(MODEL)
        told = house.states("api")["good"]
    assert answer.status_code == 429
    assert told.state == "cooling"
    assert told.until is not None and told.since is not None
    assert told.until - told.since == pytest.approx(seconds, abs=2)
    assert int(answer.headers["retry-after"]) == pytest.approx(seconds, abs=2)


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("empty", 429, "insufficient_quota"),
        ("wrong", 503, "upstream_auth"),
        ("slow", 429, "upstream_rate_limited"),
        ("closed", 503, "account_suspended"),
    ],
)
def test_with_no_other_key_the_client_is_told_why(
    emulator: OpenAIEmulator, tmp_path: Path, name: str, status: int, code: str
) -> None:
    with gateway(emulator, tmp_path, (name,)) as house:
        answer = house.ask(MODEL)
        error = answer.get_json()["error"]
        assert (answer.status_code, error["code"]) == (status, code)
        assert "madeup" not in error["message"]
        again = house.ask(MODEL)
        assert again.status_code in (429, 503)
    assert asked(emulator)[name] == 1


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("openai.unprocessable", 400),
        ("openai.content_policy", 400),
        ("vllm.too_long", 400),
        ("openai.region", 403),
    ],
)
def test_what_no_other_key_could_do_is_not_tried_with_them(
    emulator: OpenAIEmulator, tmp_path: Path, error: str, status: int
) -> None:
    emulator.add_key("spare")
    emulator.faults.add("refuse", on="chat", error=error, times=2)
    with gateway(emulator, tmp_path, ("good", "spare")) as house:
        assert house.ask(MODEL).status_code == status
        assert states(house) == {"good": "ok", "spare": "ok"}
    assert sum(asked(emulator).values()) == 1


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_under_status_200_is_one_with_its_wait(
    emulator: OpenAIEmulator, tmp_path: Path, stream: bool
) -> None:
    limited = {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}
    emulator.faults.add(
        "refuse", on="chat", status=200, body=limited, wait=90.0, forms=["seconds"]
    )
    with gateway(emulator, tmp_path, ("good",)) as house:
        answer = house.ask(MODEL, stream=stream)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "90")
        assert states(house) == {"good": "cooling"}
