"""The Kimi Code emulator: plans, quotas, honest clients, the device log-in (§7)."""

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest

from emulators.moonshot import KimiCodeEmulator, MoonshotEmulator
from emulators.openai import Wait
from tests.emulators.legacy_client import Clock
from tests.emulators.openai_client import Api, Reply

CODING = "kimi-for-coding"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
HONEST = {"User-Agent": "made-up-product/1.0"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[KimiCodeEmulator]:
    with KimiCodeEmulator(clock) as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: KimiCodeEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def test_it_lives_below_its_own_path_and_has_its_own_models(
    emulator: KimiCodeEmulator, api: Api
) -> None:
    assert emulator.base_url.endswith("/coding/v1")
    rows = {row["id"]: row for row in api.call("GET", "/models").json()["data"]}
    assert rows.keys() == {CODING, "kimi-for-coding-highspeed", "k3", "k3-256k"}
    assert rows[CODING]["protocol"] and rows["k3-256k"]["context_length"] == 262_144
    reply = api.ask(model=CODING)
    assert reply.status == 200 and reply.headers["x-trace-id"].startswith("trace-")


def test_keys_of_the_two_systems_are_not_interchangeable(
    emulator: KimiCodeEmulator, api: Api
) -> None:
    with MoonshotEmulator() as platform:
        other = platform.add_key("bob")
        assert Api(emulator, other).ask(model=CODING).status == 401
        assert Api(platform, api.secret).ask(model="kimi-k3").status == 401


@pytest.mark.parametrize(
    ("state", "status", "text"),
    [
        ("invalid", 401, "appears to be invalid or may have expired"),
        ("no_plan", 402, "unable to verify your membership benefits"),
        ("quota", 403, "usage limit for this billing cycle"),
        ("quota_5h", 403, "5-hour usage limit"),
        ("quota_week", 403, "weekly (7-day) usage limit"),
        ("quota_month", 403, "monthly usage limit"),
        ("suspended", 403, "Access terminated"),
        ("busy", 403, "concurrent request limit"),
        ("rate_limited", 429, "too many requests at the moment"),
        ("overloaded", 429, "engine is currently overloaded"),
    ],
)
def test_quota_sanction_and_overload_differ_in_their_texts(
    emulator: KimiCodeEmulator, api: Api, state: str, status: int, text: str
) -> None:
    emulator.set_key("alice", state=state, wait=Wait(30))
    reply = api.ask(model=CODING)
    assert reply.status == status and text in reply.error["message"]
    assert ("retry-after" in reply.headers) == (status == 429)


def test_clients_that_are_not_allowed_are_turned_away(
    emulator: KimiCodeEmulator, api: Api
) -> None:
    emulator.knobs.allowed_agents = ("KimiCLI/", "RooCode/")
    reply = api.call("GET", "/models", headers=HONEST)
    assert reply.status == 403 and "only available for Coding" in reply.error["message"]
    allowed = {"User-Agent": "x RooCode/3"}
    assert api.call("GET", "/models", headers=allowed).status == 200


def test_a_forged_identity_is_a_violation(emulator: KimiCodeEmulator, api: Api) -> None:
    api.call("GET", "/models", headers=HONEST)
    api.call("GET", "/models", headers={"User-Agent": "kimi-proxy/0.4 (+example)"})
    assert emulator.violations() == []
    api.call("GET", "/models", headers={"User-Agent": "KimiCLI/1.2"})
    api.call("GET", "/me", headers={"X-Msh-Platform": "kimi_cli"})
    assert emulator.violations() == [
        "models: identity of another client",
        "me: identity of another client",
    ]


def test_a_body_above_two_megabytes_is_refused(api: Api) -> None:
    messages = [{"role": "user", "content": "x" * 2_097_152}]
    reply = api.ask(model=CODING, messages=messages)
    assert reply.status == 400
    assert "exceeds limit 2097152" in reply.error["message"]


@pytest.mark.parametrize(
    ("model", "effort", "thinks"),
    [(CODING, name, True) for name in ("ultra", "max", "xhigh", "medium", "light")]
    + [(CODING, "none", False), (CODING, "off", False), ("k3", "minimum", True)],
)
def test_efforts_have_other_names_and_an_off(
    api: Api, model: str, effort: str, thinks: bool
) -> None:
    message = api.ask(model=model, reasoning_effort=effort).json()["choices"][0][
        "message"
    ]
    assert ("reasoning_content" in message) == thinks


def test_unknown_efforts_are_refused(api: Api) -> None:
    assert api.ask(model=CODING, reasoning_effort="heroic").status == 400


def test_web_addresses_of_pictures_are_fine_and_others_not(api: Api) -> None:
    def see(url: str) -> int:
        part = {"type": "image_url", "image_url": {"url": url}}
        messages = [{"role": "user", "content": [part]}]
        return api.ask(model=CODING, messages=messages).status

    assert see("https://example.org/x.png") == 200
    assert see("ftp://example.org/x.png") == 400


def test_usages_are_told_in_strings(emulator: KimiCodeEmulator, api: Api) -> None:
    told = api.call("GET", "/usages").json()
    assert told["usage"]["used"] == "40" and told["usage"]["remaining"] == "60"
    window = told["limits"][0]
    assert window["window"] == {"duration": 300, "timeUnit": "TIME_UNIT_MINUTE"}
    assert window["detail"]["remaining"] == "99"
    assert told["boosterWallet"]["balance"]["type"] == "BOOSTER"
    emulator.set_key("alice", extra={"week": 100, "window": 7})
    emulator.knobs.sparse_usages = True
    told = api.call("GET", "/usages").json()
    assert told["usage"]["used"] == "100" and "remaining" not in told["usage"]
    assert told["limits"][0]["detail"]["used"] == "7"
    emulator.set_key("alice", state="quota")
    assert api.call("GET", "/usages").status == 200


def test_it_tells_who_one_is_and_searches(api: Api) -> None:
    assert api.call("GET", "/me").json()["nickname"] == "alice"
    rows = api.call("POST", "/search", {"text_query": "tea"}).json()["search_results"]
    assert len(rows) == 5 and rows[0].keys() >= {"site_name", "url", "mime"}
    assert api.call("POST", "/fetch", {"url": "https://x.example"}).status == 200


def test_anthropics_dialect_has_its_place_here(api: Api) -> None:
    body = {
        "model": CODING,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "x"}],
    }
    assert api.call("POST", "/messages?beta=true", body).json()["type"] == "message"


def test_what_is_not_served_is_not_found(api: Api) -> None:
    reply = api.call("POST", "/embeddings", {})
    assert reply.status == 404 and reply.error["message"] == "method not found"
    assert api.ask(model="kimi-k2.6").status == 404


def post(emulator: KimiCodeEmulator, what: str, **fields: str) -> Reply:
    """Post a form to the log-in, which lies outside the prefix."""
    link = Api(emulator, None).send("GET", "/models")
    link.getresponse().read()
    link.request("POST", f"/api/oauth/{what}", urlencode(fields), FORM)
    response = link.getresponse()
    reply = Reply(response.status, {}, response.read())
    link.close()
    return reply


DEVICE = "urn:ietf:params:oauth:grant-type:device_code"


def begin(emulator: KimiCodeEmulator) -> Any:
    return post(emulator, "device_authorization", client_id="made-up").json()


def poll(emulator: KimiCodeEmulator, code: str) -> Any:
    return post(emulator, "token", grant_type=DEVICE, device_code=code).json()


def refresh(emulator: KimiCodeEmulator, token: str) -> Reply:
    return post(emulator, "token", grant_type="refresh_token", refresh_token=token)


def test_a_log_in_waits_for_its_user(emulator: KimiCodeEmulator, clock: Clock) -> None:
    grant = begin(emulator)
    assert (
        grant["interval"] == 5
        and grant["user_code"] in grant["verification_uri_complete"]
    )
    code = grant["device_code"]
    assert poll(emulator, code) == {"error": "authorization_pending"}
    assert poll(emulator, code) == {"error": "slow_down"}
    clock.now += 5
    assert poll(emulator, code) == {"error": "authorization_pending"}
    emulator.device.approve(grant["user_code"])
    clock.now += 5
    tokens = poll(emulator, code)
    assert tokens["expires_in"] == 900 and tokens["token_type"] == "Bearer"
    assert Api(emulator, tokens["access_token"]).ask(model=CODING).status == 200
    assert poll(emulator, code) == {"error": "expired_token"}
    clock.now += 900
    assert Api(emulator, tokens["access_token"]).ask(model=CODING).status == 401


def test_a_log_in_may_be_denied_or_expire(
    emulator: KimiCodeEmulator, clock: Clock
) -> None:
    grant = begin(emulator)
    emulator.device.deny(grant["user_code"])
    assert poll(emulator, grant["device_code"]) == {"error": "access_denied"}
    grant = begin(emulator)
    clock.now += 600
    assert poll(emulator, grant["device_code"]) == {"error": "expired_token"}
    with pytest.raises(KeyError):
        emulator.device.approve("NOBODY")
    assert post(emulator, "device_authorization").status == 400
    assert post(emulator, "token", grant_type="password").status == 400


def test_of_two_that_race_for_a_refresh_token_one_wins(
    emulator: KimiCodeEmulator,
) -> None:
    grant = begin(emulator)
    emulator.device.approve(grant["user_code"])
    first = poll(emulator, grant["device_code"])["refresh_token"]
    replies: list[Reply] = []
    racers = [
        threading.Thread(target=lambda: replies.append(refresh(emulator, first)))
        for _ in range(4)
    ]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
    won = [reply for reply in replies if reply.status == 200]
    lost = [reply for reply in replies if reply.status != 200]
    assert len(won) == 1 and len(lost) == 3
    assert all(json.loads(reply.body)["error"] == "invalid_grant" for reply in lost)
    second = won[0].json()["refresh_token"]
    assert second != first and refresh(emulator, second).status == 200
    emulator.device.revoke()
    assert refresh(emulator, second).status == 400
