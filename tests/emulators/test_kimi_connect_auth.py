"""Tokens, both refresh routes, and who may call (connect sheet §1–§3)."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import KimiConnectEmulator
from emulators.kimi_legacy import KimiLegacyEmulator
from tests.emulators.connect_client import (
    FEEDS,
    MODELS,
    REFRESH,
    REFRESH_OLD,
    Clock,
    Reply,
    Web,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def kimi(clock: Clock) -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator(clock) as emulator:
        yield emulator


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    decoded = base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4))
    return dict(json.loads(decoded))


def renew(kimi: KimiConnectEmulator, token: str, /, **headers: str | None) -> Reply:
    return Web(kimi, None).rpc(REFRESH, {"refresh_token": token}, "POST", **headers)


def renew_old(kimi: KimiConnectEmulator, token: str) -> Reply:
    return Web(kimi, token).rpc(REFRESH_OLD, method="GET")


def works(kimi: KimiConnectEmulator, access: str) -> bool:
    return Web(kimi, access).rpc(FEEDS).status == 200


def reason(error: dict[str, Any]) -> Any:
    return error["details"][0]["debug"]["reason"]


@pytest.mark.parametrize(
    ("region", "audience"), [("cn", ["kimi.com"]), ("overseas", ["kimi.ai"])]
)
def test_tokens_carry_the_claims_and_are_visibly_made_up(
    kimi: KimiConnectEmulator, clock: Clock, region: str, audience: list[str]
) -> None:
    pair = kimi.add_account("alice", region=region, level="LEVEL_BASIC")
    for token, kind, life in (
        (pair.access, "access", 900),
        (pair.refresh, "refresh", 90 * 86_400),
    ):
        said = claims(token)
        assert token.startswith("eyJ")
        assert "FAKE" in token.split(".")[2]
        assert (said["typ"], said["exp"] - said["iat"]) == (kind, life)
        assert (said["iat"], said["region"]) == (int(clock.now), region)
        assert (said["aud"], said["iss"]) == (audience, "account")
        assert said["app_id"] == "kimi"
        assert said["membership"] == {"level": "LEVEL_BASIC"}
        assert len(said["sub"]) == 20
        assert said["device_id"].isdecimal()
        assert said["ssid"].isdecimal()
    assert "eyJ" not in repr(pair)


def test_an_account_name_region_and_level_are_checked(
    kimi: KimiConnectEmulator,
) -> None:
    kimi.add_account("alice")
    for arguments in (("alice",), ("bob", "mars"), ("bob", "cn", "LEVEL_X")):
        with pytest.raises(ValueError, match=r"account|region"):
            kimi.add_account(*arguments)


@pytest.mark.parametrize("spelling", ["refresh_token", "refreshToken"])
def test_the_new_route_rotates_and_takes_both_spellings(
    kimi: KimiConnectEmulator, spelling: str
) -> None:
    old = kimi.add_account("alice")
    reply = Web(kimi, None).rpc(REFRESH, {spelling: old.refresh})
    assert reply.status == 200
    new = reply.json()
    assert set(new) == {"accessToken", "refreshToken"}
    assert len({new["refreshToken"], old.refresh, new["accessToken"]}) == 3
    assert works(kimi, new["accessToken"])
    entry = kimi.log.of("RefreshToken")[0]
    assert (entry.account, entry.token_kind) == ("alice", "refresh")


def test_lenient_rotation_leaves_two_chains_strict_kills_the_old_one(
    kimi: KimiConnectEmulator,
) -> None:
    pair = kimi.add_account("alice")
    assert renew(kimi, pair.refresh).status == 200
    assert renew(kimi, pair.refresh).status == 200
    kimi.knobs.strict_rotation = True
    last = renew(kimi, pair.refresh).json()["refreshToken"]
    assert renew(kimi, pair.refresh).status == 401
    assert renew(kimi, last).status == 200


@pytest.mark.parametrize("wrap", ["data", "snake"])
def test_the_new_route_may_word_its_answer_otherwise(
    kimi: KimiConnectEmulator, wrap: str
) -> None:
    pair = kimi.add_account("alice")
    kimi.knobs.rotation_wrap = wrap
    value = renew(kimi, pair.refresh).json()
    token = value["data"]["accessToken"] if wrap == "data" else value["access_token"]
    assert works(kimi, token)


def test_the_new_route_refuses_sloppy_requests(kimi: KimiConnectEmulator) -> None:
    pair = kimi.add_account("alice")
    web = Web(kimi, None)
    assert renew(kimi, pair.refresh, authorization="Bearer x").status == 400
    assert renew(kimi, pair.refresh, connect_protocol_version=None).status == 400
    assert renew(kimi, pair.refresh, content_type="text/plain").status == 415
    assert web.rpc(REFRESH, {}).status == 400
    assert web.rpc(REFRESH, b"no json").status == 400


def test_a_token_that_is_no_live_refresh_token_renews_nothing(
    kimi: KimiConnectEmulator, clock: Clock
) -> None:
    pair = kimi.add_account("alice")
    for token in (pair.access, "eyJunknown.a.b", "sk-made-up"):
        assert renew(kimi, token).status == 401
        assert Web(kimi, token).rpc(REFRESH_OLD, method="GET").status == 401
    clock.now += 90 * 86_400
    assert renew(kimi, pair.refresh).status == 401


def test_the_old_route_takes_the_bearer_and_answers_in_snake_case(
    kimi: KimiConnectEmulator,
) -> None:
    pair = kimi.add_account("alice")
    reply = Web(kimi, pair.refresh).rpc(REFRESH_OLD, method="GET")
    assert works(kimi, reply.json()["access_token"])
    assert renew(kimi, reply.json()["refresh_token"]).status == 200
    kimi.revoke("alice")
    dead = Web(kimi, pair.refresh).rpc(REFRESH_OLD, method="GET")
    assert dead.json()["error_type"] == "auth.token.invalid"


@pytest.mark.parametrize("status", [401, 403, 404, 500, 503])
def test_the_new_route_fails_on_demand_while_the_old_one_works(
    kimi: KimiConnectEmulator, status: int
) -> None:
    pair = kimi.add_account("alice")
    kimi.faults.add("status", on="RefreshToken", account="alice", status=status)
    assert renew(kimi, pair.refresh).status == status
    assert Web(kimi, pair.refresh).rpc(REFRESH_OLD, method="GET").status == 200


def test_a_lost_refresh_answer_has_rotated_all_the_same(
    kimi: KimiConnectEmulator,
) -> None:
    pair = kimi.add_account("alice")
    kimi.knobs.strict_rotation = True
    kimi.faults.add("refresh_lost")
    with pytest.raises(ConnectionError):
        renew(kimi, pair.refresh)
    assert renew(kimi, pair.refresh).status == 401


@pytest.mark.parametrize("kind", ["none", "cookie", "api-key", "refresh", "unknown"])
def test_only_a_bearer_access_token_opens_a_door(
    kimi: KimiConnectEmulator, kind: str
) -> None:
    pair = kimi.add_account("alice")
    tokens = {"api-key": "sk-made-up", "refresh": pair.refresh, "unknown": "eyJx.y.z"}
    cookie = f"kimi-auth={pair.access}" if kind == "cookie" else None
    web = Web(kimi, tokens.get(kind))
    unary = web.rpc(FEEDS, cookie=cookie)
    assert unary.status == 401
    assert unary.json()["code"] == "unauthenticated"
    assert reason(unary.json()) == "REASON_INVALID_AUTH_TOKEN"
    stream = web.chat(cookie=cookie)
    assert stream.status == 401
    assert reason(stream.json()) == "REASON_INVALID_AUTH_TOKEN"
    seen = kimi.log.of("ListFeeds")[0]
    assert seen.token_kind == (None if kind == "none" else kind)


def test_an_expired_access_token_is_a_401_or_an_error_trailer(
    kimi: KimiConnectEmulator, clock: Clock
) -> None:
    web = Web(kimi, kimi.add_account("alice", access_life=60).access)
    assert web.chat().status == 200
    clock.now += 60
    assert web.chat().status == 401
    kimi.knobs.expired_in_trailer = True
    reply = web.chat()
    assert (reply.status, reply.events) == (200, [])
    assert reply.trailer is not None
    assert reply.trailer["error"]["code"] == "unauthenticated"
    assert web.rpc(FEEDS).status == 401


def test_tokens_can_be_revoked_by_kind(kimi: KimiConnectEmulator) -> None:
    pair = kimi.add_account("alice")
    other = kimi.login("alice")
    kimi.revoke("alice", "access")
    assert not works(kimi, pair.access)
    assert not works(kimi, other.access)
    assert renew(kimi, pair.refresh).status == 200


def test_a_host_of_one_region_refuses_the_other_ones_tokens(
    kimi: KimiConnectEmulator,
) -> None:
    kimi.knobs.region = "cn"
    alice, bob = kimi.add_account("alice"), kimi.add_account("bob", region="overseas")
    assert works(kimi, alice.access)
    assert not works(kimi, bob.access)
    assert renew(kimi, alice.refresh).status == 200
    assert renew(kimi, bob.refresh).status == 401
    assert renew_old(kimi, alice.refresh).status == 200
    assert renew_old(kimi, bob.refresh).status == 401


def test_content_type_and_protocol_version_are_required(
    kimi: KimiConnectEmulator,
) -> None:
    web = Web(kimi, kimi.add_account("alice").access)
    assert web.rpc(FEEDS, content_type="application/connect+json").status == 415
    assert web.rpc(FEEDS, connect_protocol_version=None).status == 400
    assert web.chat(content_type="application/json").status == 415
    assert web.chat(connect_protocol_version="2").status == 400


@pytest.mark.parametrize(
    "header", ["x_msh_device_id", "x_msh_session_id", "x_traffic_id"]
)
def test_identity_headers_must_be_the_tokens_claims_when_sent(
    kimi: KimiConnectEmulator, header: str
) -> None:
    token = kimi.add_account("alice").access
    claim = {"x_msh_device_id": "device_id", "x_msh_session_id": "ssid"}
    right = claims(token)[claim.get(header, "sub")]
    web = Web(kimi, token)
    assert web.rpc(FEEDS, **{header: right}).status == 200
    assert web.rpc(FEEDS, **{header: "7"}).status == 400
    kimi.knobs.check_identity_headers = False
    assert web.rpc(FEEDS, **{header: "7"}).status == 200


@pytest.mark.parametrize("version", [None, "1.0.0", "1.9.9", "abc"])
def test_an_old_or_missing_build_number_gets_the_old_models(
    kimi: KimiConnectEmulator, version: str | None
) -> None:
    web = Web(kimi, kimi.add_account("alice").access, version)
    listed = web.rpc(MODELS).json()
    assert [row["thinking"] for row in listed["availableModels"]] == [False, True]
    assert not any("id" in row or "key" in row for row in listed["availableModels"])
    refused = web.chat().trailer
    assert refused is not None
    assert refused["error"]["code"] == "invalid_argument"


def test_models_are_listed_without_a_login_but_not_with_a_bad_token(
    kimi: KimiConnectEmulator,
) -> None:
    listed = Web(kimi, None).rpc(MODELS).json()
    rows = {row["id"]: row for row in listed["availableModels"]}
    assert {"k2d6-chat", "k28-agent-preview", "k3-agent", "k3-agent-swarm"} == set(rows)
    assert rows["k3-agent-swarm"]["minMembershipLevel"] == "LEVEL_BASIC"
    assert rows["k3-agent"]["kimiPlusId"] == "ok-computer"
    chosen = {"scenario": "SCENARIO_CHAT", "model": "k2d6-chat"}
    assert listed["defaultScenario"] == chosen
    assert Web(kimi, "sk-made-up").rpc(MODELS).status == 401


@pytest.mark.parametrize("service", [KimiConnectEmulator, KimiLegacyEmulator])
def test_no_two_services_issue_the_same_token(
    service: type[KimiConnectEmulator | KimiLegacyEmulator],
) -> None:
    one, other = service(Clock()), service(Clock())
    assert one.add_account("alice") != other.add_account("alice")
