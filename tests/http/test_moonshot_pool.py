"""Moonshot's and Kimi Code's keys: each trouble told from the others, and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from emulators.moonshot import MOONSHOT_ERRORS, KimiCodeEmulator, MoonshotEmulator
from emulators.openai import Wait
from tests.http.openai_house import House, house, text_of, upstream

MOONSHOT_KEYS = {
    "empty": {"state": "no_balance"},
    "forbidden": {"state": "no_balance", "extra": {"balance_status": 403}},
    "unpaid": {"state": "suspended"},
    "wrong": {"state": "invalid"},
    "slow": {"state": "rate_limited", "wait": Wait(1.0, ())},
    "good": {},
}
MOONSHOT_STATES = {
    "empty": "exhausted",
    "forbidden": "exhausted",
    "unpaid": "exhausted",
    "wrong": "dead",
    "slow": "cooling",
    "good": "ok",
}
CODE_KEYS = {
    name: {"state": name}
    for name in (
        *("no_plan", "quota", "quota_5h", "quota_week", "quota_month"),
        *("suspended", "busy", "rate_limited", "invalid"),
    )
} | {"good": {}}
CODE_STATES = {
    **dict.fromkeys(CODE_KEYS, "exhausted"),
    "suspended": "disabled",
    "busy": "cooling",
    "rate_limited": "cooling",
    "invalid": "dead",
    "good": "ok",
}


@pytest.fixture
def moonshot() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator() as emulator:
        yield emulator


@pytest.fixture
def code() -> Iterator[KimiCodeEmulator]:
    with KimiCodeEmulator() as emulator:
        yield emulator


def gateway(
    emulator: MoonshotEmulator,
    directory: Path,
    keys: Mapping[str, Mapping[str, Any]],
    preset: str = "moonshot-cn",
) -> Any:
    secrets = {name: emulator.add_key(name, **facts) for name, facts in keys.items()}
    pool = {"strategy": "in-order"}
    section = upstream(emulator.base_url, secrets, preset=preset, pool=pool)
    return house(directory, {"m": section})


def states(house: House) -> dict[str, str]:
    return {name: state.state for name, state in house.states("m").items()}


def asked(emulator: MoonshotEmulator) -> Counter[str | None]:
    return Counter(e.account for e in emulator.log.all() if e.name == "chat")


def test_moonshots_bad_keys_are_told_apart_and_the_client_is_served(
    moonshot: MoonshotEmulator, tmp_path: Path
) -> None:
    with gateway(moonshot, tmp_path, MOONSHOT_KEYS) as house:
        for _ in range(2):
            answer = house.ask("m/kimi-k2.6")
            assert answer.status_code == 200, answer.data
            assert "hello" in text_of(answer)
        assert states(house) == MOONSHOT_STATES
        told = house.states("m")
    assert asked(moonshot) == {**dict.fromkeys(MOONSHOT_KEYS, 1), "good": 2}
    assert "suspended" in (told["unpaid"].reason or "")
    assert "madeup" not in str([state.reason for state in told.values()])
    # Three requests a minute: the second that the text speaks of is too short.
    slow = told["slow"]
    assert slow.until is not None and slow.since is not None
    assert slow.until - slow.since == 20


def test_a_time_that_proves_too_short_doubles(
    moonshot: MoonshotEmulator, tmp_path: Path
) -> None:
    slow = {"slow": MOONSHOT_KEYS["slow"]}
    with gateway(moonshot, tmp_path, slow) as house:
        pauses = []
        for _ in range(4):
            assert house.ask("m/kimi-k2.6").status_code == 429
            state = house.states("m")["slow"]
            assert state.until is not None and state.since is not None
            pauses.append(state.until - state.since)
            house.past_all_rests("m")
    assert pauses == [20, 40, 80, 160]


def test_kimi_codes_bad_keys_are_told_apart_and_the_client_is_served(
    code: KimiCodeEmulator, tmp_path: Path
) -> None:
    with gateway(code, tmp_path, CODE_KEYS, "kimi-code") as house:
        answers = [house.ask("m/kimi-for-coding") for _ in range(2)]
        # Ten attempts are all that one request may make.
        assert answers[-1].status_code == 200, answers[-1].data
        assert states(house) == CODE_STATES
    assert max(asked(code)[name] for name in CODE_KEYS if name != "good") == 1
    assert code.violations() == []


def test_where_only_known_clients_are_let_in_no_second_key_is_tried(
    code: KimiCodeEmulator, tmp_path: Path
) -> None:
    code.knobs.allowed_agents = ("made-up-official-client",)
    with gateway(code, tmp_path, {"a": {}, "b": {}}, "kimi-code") as house:
        answer = house.ask("m/kimi-for-coding")
        assert answer.status_code == 403
        error = answer.get_json()["error"]
        assert error["code"] == "upstream_forbidden"
        assert "Coding Agents" in error["message"]
        assert states(house) == {"a": "ok", "b": "ok"}
    assert sum(asked(code).values()) == 1
    assert code.violations() == []


@pytest.mark.parametrize(
    "row", [r for r in MOONSHOT_ERRORS if r.startswith(("moonshot.", "code."))]
)
def test_no_refusal_becomes_anything_but_an_error_that_names_nobody(
    moonshot: MoonshotEmulator, tmp_path: Path, row: str
) -> None:
    told = MOONSHOT_ERRORS[row]
    moonshot.faults.add("refuse", error=row, on="chat", times=9)
    with gateway(moonshot, tmp_path, {"only": {}}) as house:
        answer = house.ask("m/kimi-k2.6")
        assert 400 <= answer.status_code < 600 and answer.status_code != 401
        error = answer.get_json()["error"]
        assert "madeup" not in error["message"] and error["code"]
        mine = told.status in (400, 404)
        assert (states(house) == {"only": "ok"}) or not mine


@pytest.mark.parametrize(
    ("facts", "state", "live"),
    [
        ({}, "ok", True),
        ({"extra": {"balance": -1.2}}, "exhausted", False),
        ({"state": "invalid"}, "dead", False),
    ],
)
def test_a_key_is_checked_in_one_cheap_call(
    moonshot: MoonshotEmulator,
    tmp_path: Path,
    facts: dict[str, Any],
    state: str,
    live: bool,
) -> None:
    key = moonshot.add_key("other", **facts)
    with gateway(moonshot, tmp_path, {"mine": {}}) as house:
        moonshot.log.clear()
        client = house.app.test_client()
        report = client.post("/token/check", json={"token": key}).get_json()
        assert (report["state"], report["live"]) == (state, live)
        assert key not in str(report)
    calls = [e.name for e in moonshot.log.all() if e.account == "other"]
    assert calls == ["balance"]


@pytest.mark.parametrize(
    ("extra", "state"),
    [
        ({}, "ok"),
        ({"week": 100}, "exhausted"),
        ({"window": 100}, "exhausted"),
    ],
)
@pytest.mark.parametrize("sparse", [True, False])
def test_a_kimi_code_key_tells_its_windows(
    code: KimiCodeEmulator,
    tmp_path: Path,
    extra: dict[str, Any],
    state: str,
    sparse: bool,
) -> None:
    code.knobs.sparse_usages = sparse
    key = code.add_key("other", extra=extra)
    with gateway(code, tmp_path, {"mine": {}}, "kimi-code") as house:
        client = house.app.test_client()
        report = client.post("/token/check", json={"token": key}).get_json()
        assert report["state"] == state, report


def test_a_key_of_ones_own_is_answered_from_the_pool(
    moonshot: MoonshotEmulator, tmp_path: Path
) -> None:
    with gateway(moonshot, tmp_path, {"mine": {"state": "no_balance"}}) as house:
        house.ask("m/kimi-k2.6")
        key = moonshot.world.keys.named("mine").secret
        client = house.app.test_client()
        report = client.post("/token/check", json={"token": key}).get_json()
        assert (report["account"], report["state"]) == ("mine", "exhausted")
        assert "balance" in report["reason"]


def test_a_key_is_shown_to_no_service_that_it_may_not_belong_to(
    moonshot: MoonshotEmulator, code: KimiCodeEmulator, tmp_path: Path
) -> None:
    key = code.add_key("other")
    sections = {
        "m": upstream(moonshot.base_url, {"a": moonshot.add_key("a")}),
        "c": upstream(code.base_url, {"a": code.add_key("a")}, preset="kimi-code"),
    }
    with house(tmp_path, sections) as gateway:
        client = gateway.app.test_client()
        answer = client.post("/token/check", json={"token": key})
        assert answer.status_code == 400
        assert answer.get_json()["error"]["param"] == "provider"
        named = client.post("/token/check", json={"token": key, "provider": "c"})
        assert named.get_json()["state"] == "ok"
        wrong = client.post("/token/check", json={"token": "eyJ.made.up"})
        assert wrong.status_code == 400
    assert "other" not in [entry.account for entry in moonshot.log.all()]


def test_a_key_that_was_topped_up_is_put_back_to_work(
    moonshot: MoonshotEmulator, tmp_path: Path
) -> None:
    empty: dict[str, Any] = {"extra": {"balance": 0.0}}
    with gateway(moonshot, tmp_path, {"one": empty, "two": empty}) as house:
        assert house.ask("m/kimi-k2.6").status_code == 429
        assert states(house) == {"one": "exhausted", "two": "exhausted"}
        before = sum(asked(moonshot).values())
        moonshot.set_key("one", extra={"balance": 5.0})
        house.services.tokens.revive_topped_up()
        assert states(house) == {"one": "ok", "two": "exhausted"}
        moonshot.faults.add("refuse", on="balance", status=500)
        house.services.tokens.revive_topped_up()
        assert states(house) == {"one": "ok", "two": "exhausted"}
        assert sum(asked(moonshot).values()) == before, "nothing was spent to find out"
        assert house.ask("m/kimi-k2.6").status_code == 200


def test_where_nobody_tells_a_balance_only_time_does(
    moonshot: MoonshotEmulator, tmp_path: Path
) -> None:
    with gateway(moonshot, tmp_path, {"one": {}}, "openai") as house:
        moonshot.set_key("one", extra={"balance": 0.0})
        assert house.ask("m/kimi-k2.6").status_code == 429
        moonshot.set_key("one", extra={"balance": 5.0})
        house.services.tokens.revive_topped_up()
        assert states(house) == {"one": "exhausted"}
        house.past_all_rests("m")
        assert house.ask("m/kimi-k2.6").status_code == 200
