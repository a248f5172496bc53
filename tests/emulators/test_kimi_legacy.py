"""The legacy emulator keeps its sheet: tokens, JSON calls, refusals, files."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator, SearchHit
from tests.emulators.legacy_client import (
    Clock,
    Reply,
    Web,
    login,
    pair,
    question,
    refresh,
    stream_path,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator(clock) as running:
        yield running


@pytest.fixture
def web(emulator: KimiLegacyEmulator) -> Iterator[Web]:
    alice = login(emulator, "alice")
    yield alice
    alice.leave()


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_tokens_carry_the_claims_of_the_sheet_and_look_made_up(
    emulator: KimiLegacyEmulator, clock: Clock
) -> None:
    tokens = emulator.add_account("alice", access_life=900)
    assert tokens.access.startswith("eyJ") and "made-up" in tokens.access
    access, refresh_claims = claims(tokens.access), claims(tokens.refresh)
    assert (access["typ"], refresh_claims["typ"]) == ("access", "refresh")
    assert access["app_id"] == "kimi" and len(access["sub"]) == 20
    assert access["exp"] - access["iat"] == 900 and access["iat"] == int(clock.now)
    assert access["sub"] == refresh_claims["sub"]
    assert {"iss", "jti", "space_id", "abstract_user_id"} <= access.keys()
    assert tokens.access not in repr(tokens)


def test_refresh_rotates_both_tokens_and_the_old_ones_live_on(
    emulator: KimiLegacyEmulator,
) -> None:
    old = emulator.add_account("alice")
    new = pair(refresh(emulator, old.refresh))
    assert len({old.access, old.refresh, new.access, new.refresh}) == 4
    assert refresh(emulator, old.refresh).status == 200
    assert refresh(emulator, new.refresh).status == 200
    for token in (old.access, new.access):
        assert Web(emulator, token).call("GET", "/api/user").status == 200


def test_strict_rotation_kills_the_used_refresh_token(
    emulator: KimiLegacyEmulator,
) -> None:
    emulator.knobs.strict_rotation = True
    old = emulator.add_account("alice")
    new = pair(refresh(emulator, old.refresh))
    assert refresh(emulator, old.refresh).status == 401
    assert refresh(emulator, new.refresh).status == 200


def test_refresh_takes_no_unknown_access_or_expired_token(
    emulator: KimiLegacyEmulator, clock: Clock
) -> None:
    tokens = emulator.add_account("alice", refresh_life=100)
    assert refresh(emulator, "eyJ.eyJ.unknown").status == 401
    assert refresh(emulator, tokens.access).status == 401
    clock.now += 100
    assert refresh(emulator, tokens.refresh).status == 401


@pytest.mark.parametrize(
    ("refusal", "status", "document"),
    [("bare-401", 401, False), ("json-401", 401, True), ("json-200", 200, True)],
)
def test_a_bad_token_is_refused_in_the_chosen_form(
    emulator: KimiLegacyEmulator, refusal: str, status: int, document: bool
) -> None:
    emulator.knobs.auth_refusal = refusal
    for reply in (
        refresh(emulator, "unknown"),
        Web(emulator, "unknown").call("GET", "/api/user"),
        Web(emulator, None).ask("cn000000000000000009"),
    ):
        assert reply.status == status
        if document:
            assert reply.json()["error_type"] == "auth.token.invalid"
        else:
            assert not reply.headers["content-type"].startswith("application/json")


def test_calls_need_a_live_access_token(
    emulator: KimiLegacyEmulator, clock: Clock
) -> None:
    tokens = emulator.add_account("alice", access_life=900)
    web = Web(emulator, tokens.access)
    chat = web.create()
    assert Web(emulator, tokens.refresh).ask(chat).status == 401
    assert Web(emulator, None).call("GET", "/api/user").status == 401
    clock.now += 899
    assert web.ask(chat).names[-1] == "all_done"
    clock.now += 1
    assert web.ask(chat).status == 401
    assert emulator.log.all()[-1].account == "alice"


def test_revoked_tokens_die_at_once(emulator: KimiLegacyEmulator) -> None:
    tokens = emulator.add_account("alice")
    emulator.revoke("alice", "access")
    assert Web(emulator, tokens.access).call("GET", "/api/user").status == 401
    fresh = pair(refresh(emulator, tokens.refresh))
    emulator.faults.add("revoke", after=1, account="alice")
    web = Web(emulator, fresh.access)
    assert [web.call("GET", "/api/user").status for _ in range(3)] == [200, 401, 401]
    emulator.revoke("alice")
    assert refresh(emulator, fresh.refresh).status == 401


def test_an_account_may_be_logged_in_twice(emulator: KimiLegacyEmulator) -> None:
    emulator.knobs.strict_rotation = True
    first, second = emulator.add_account("alice"), emulator.login("alice")
    refresh(emulator, first.refresh)
    assert refresh(emulator, second.refresh).status == 200
    with pytest.raises(ValueError):
        emulator.add_account("alice")


def test_user_is_the_subject_of_the_token(web: Web) -> None:
    assert web.secret is not None
    assert web.call("GET", "/api/user").json()["id"] == claims(web.secret)["sub"]


def test_a_chat_is_made_listed_read_and_deleted_once(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    full = {
        "name": "full",
        "is_example": False,
        "enter_method": "new_chat",
        "kimiplus_id": "kimi",
    }
    first = web.call("POST", "/api/chat", full).json()
    assert len(first["id"]) == 20 and first["id"].isalnum() and first["name"] == "full"
    second = web.create()
    rows = web.call("POST", "/api/chat/list", {"kimiplus_id": "", "size": 1}).json()
    assert [row["id"] for row in rows["items"]] == [second]
    web.ask(second, "hi")
    scroll = f"/api/chat/{second}/segment/scroll"
    segments = web.call("POST", scroll, {"last": 50}).json()["items"]
    assert [(s["role"], s["content"]) for s in segments] == [
        ("user", "hi"),
        ("assistant", "You said: hi"),
    ]
    assert web.call("DELETE", f"/api/chat/{second}").status == 200
    assert web.call("DELETE", f"/api/chat/{second}").status == 404
    assert [chat.id for chat in emulator.chats("alice")] == [first["id"]]


def test_deletion_may_answer_500_though_it_worked(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    chat = web.create()
    emulator.faults.add("delete_fails")
    assert web.call("DELETE", f"/api/chat/{chat}").status == 500
    assert emulator.chats() == ()
    assert web.call("DELETE", f"/api/chat/{chat}").status == 404


def test_an_unknown_agent_is_not_found(web: Web) -> None:
    body = {"name": "x", "kimiplus_id": "c0000000000000000000"}
    assert web.call("POST", "/api/chat", body).json() == {"message": "kimi+ not found"}
    chat = web.create()
    reply = web.ask(chat, kimiplus_id="kimi-search")
    assert reply.json() == {"message": "kimi+ not found"}
    assert web.ask(chat, kimiplus_id="crm40ee9e5jvhsn7ptcg").names[-1] == "all_done"


def test_a_chat_of_another_account_or_a_deleted_one_is_not_found(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    bob = login(emulator, "bob")
    chat = web.create()
    assert bob.ask(chat).json() == {"message": "chat not found"}
    assert bob.call("DELETE", f"/api/chat/{chat}").status == 404
    web.call("DELETE", f"/api/chat/{chat}")
    emulator.knobs.error_status = 404
    reply = web.ask(chat)
    assert (reply.status, reply.json()) == (404, {"message": "chat not found"})


@pytest.mark.parametrize(
    "body",
    [
        b"{broken",
        b"[]",
        {"refs": []},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [{"role": "system", "content": "x"}]},
        {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
        question("x", use_search="yes"),
        question("x", refs_file=[{"id": "unknown"}]),
        question("x", action="continue", segment_id="unknown"),
    ],
)
def test_a_sloppy_completion_is_refused_and_recorded(
    emulator: KimiLegacyEmulator, web: Web, body: Any
) -> None:
    reply = web.call(
        "POST",
        stream_path(web.create()),
        body,
        headers={"Content-Type": "application/json"},
    )
    assert (reply.status, reply.json()["error_type"]) == (400, "bad_request")
    assert len(emulator.violations()) == 1 and not emulator.running("alice")


def test_a_body_needs_the_json_content_type(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    body = json.dumps(question("x"))
    reply = web.call(
        "POST", stream_path(web.create()), body, headers={"Content-Type": "text/plain"}
    )
    assert reply.status == 400
    assert emulator.violations() == ["Content-Type must be application/json"]


@pytest.mark.parametrize("status", [200, 400, 403])
@pytest.mark.parametrize(
    "error_type",
    ["auth.token.invalid", "chat.user_stream_pushing", "chat.forbidden", "a.new.one"],
)
def test_every_error_row_comes_as_plain_json_with_any_status(
    emulator: KimiLegacyEmulator, web: Web, status: int, error_type: str
) -> None:
    chat = web.create()
    emulator.faults.add(
        "refuse",
        on="completion",
        error_type=error_type,
        status=status,
        retry_after=5,
        after=1,
    )
    assert web.ask(chat).names[-1] == "all_done"
    reply = web.ask(chat)
    assert reply.status == status
    assert reply.headers["content-type"] == "application/json"
    assert reply.json()["error_type"] == error_type and reply.json()["message"]
    assert reply.headers["retry-after"] == "5"
    assert web.ask(chat).names[-1] == "all_done"


def test_base_faults_reach_every_call(emulator: KimiLegacyEmulator, web: Web) -> None:
    emulator.faults.add("challenge", on="user")
    reply = web.call("GET", "/api/user")
    assert reply.status == 403 and b"<html>" in reply.body
    emulator.faults.add("status", status=429, retry_after=7)
    reply = web.call("GET", "/api/user")
    assert (reply.status, reply.headers["retry-after"]) == (429, "7")


def test_a_lost_answer_has_taken_effect(emulator: KimiLegacyEmulator) -> None:
    emulator.knobs.strict_rotation = True
    tokens = emulator.add_account("alice")
    emulator.faults.add("lost_answer", on="refresh")
    with pytest.raises(ConnectionError):
        refresh(emulator, tokens.refresh)
    assert refresh(emulator, tokens.refresh).status == 401


@pytest.mark.parametrize("status", [302, 307])
def test_the_old_host_redirects_to_a_trap_that_sees_the_bearer(
    emulator: KimiLegacyEmulator, web: Web, status: int
) -> None:
    emulator.faults.add("moved", times=-1, status=status)
    reply = web.call("POST", "/api/chat", {"name": "x"})
    assert reply.status == status
    assert reply.headers["location"].startswith("http://localhost:")
    web.call("POST", "/_emulator_trap", {"name": "x"})
    Web(emulator, None).call("GET", "/_emulator_trap")
    kinds = [entry.token_kind for entry in emulator.log.of("Trap")]
    assert kinds == ["access", None] and emulator.chats() == ()


def test_the_small_calls_answer(emulator: KimiLegacyEmulator, web: Web) -> None:
    emulator.answer = Answer("a[^1^]", search=(SearchHit("T", "https://t.example"),))
    chat = web.create()
    sid = web.ask(chat, use_search=True).events[1]["id"]
    query = {"chat_id": chat, "sid": sid, "z_idx": 0}
    refs = web.call("POST", "/api/chat/segment/v3/rag-refs", {"queries": [query]})
    (found,) = refs.json()["items"][0]["refs"]
    assert found["ref_id"] == 1 and found["ref_doc"]["url"] == "https://t.example"
    size = {"content": "12345678", "refs": []}
    assert web.call("POST", f"/api/chat/{chat}/token_size", size).json() == {
        "tokens": 2
    }
    warm = {**question("x"), "is_pro_search": False}
    assert web.call("POST", f"/api/chat/{chat}/pre-n2s", warm).status == 200
    asked = {"offset": 0, "page_referer": "chat", "query": "why", "size": 10}
    assert web.call("POST", "/api/suggestion", asked).json()["items"]


def test_research_has_a_quota(emulator: KimiLegacyEmulator, web: Web) -> None:
    emulator.knobs.research_total = 1
    chat, usage = web.create(), "/api/chat/research/usage"
    assert web.call("GET", usage).json() == {"remain": 1, "total": 1, "used": 0}
    assert web.ask(chat, use_research=True).names[-1] == "all_done"
    assert web.call("GET", usage).json() == {"remain": 0, "total": 1, "used": 1}
    assert "error_type" in web.ask(chat, use_research=True).json()
    assert web.ask(chat).names[-1] == "all_done"


def test_control_paths_set_up_accounts_knobs_answers_and_faults(
    emulator: KimiLegacyEmulator,
) -> None:
    anyone = Web(emulator, None)
    tokens = anyone.call("POST", "/_emulator/accounts", {"name": "bob"}).json()
    web = Web(emulator, tokens["access"])
    chat = web.create()
    scripted = {"pieces": ["x", "y"], "search": [{"title": "T", "url": "u"}]}
    assert anyone.call("POST", "/_emulator/answer", scripted).status == 200
    assert web.ask(chat).text == "xy"
    assert anyone.call("POST", "/_emulator/answer", {"wrong": 1}).status == 400
    anyone.call("POST", "/_emulator/knobs", {"unknown_events": ["k1"]})
    assert "k1" in web.ask(chat).names
    assert anyone.call("POST", "/_emulator/knobs", {"wrong": 1}).status == 400
    anyone.call("POST", "/_emulator/faults", {"name": "error_event", "at": 1})
    assert "error" in web.ask(chat).names
    rows = anyone.call("GET", "/_emulator/chats").json()["chats"]
    assert [row["account"] for row in rows] == ["bob"]
    anyone.call("POST", "/_emulator/reset", {})
    assert emulator.chats() == () and emulator.log.all() == ()
    assert emulator.knobs.unknown_events == ()
    assert web.call("GET", "/api/user").status == 200


def test_the_log_tells_who_asked_what_and_never_a_token(
    emulator: KimiLegacyEmulator, web: Web
) -> None:
    chat = web.create()
    web.ask(chat, "user:hello\n")
    emulator.log.wait_for(lambda entries: entries[-1].outcome == "complete")
    entry = emulator.log.of("completion", "alice")[0]
    assert entry.path == stream_path(chat) and entry.token_kind == "access"
    assert entry.body["messages"][0]["content"] == "user:hello\n"
    assert entry.facts["chat"] == chat and entry.facts["prompt"] == "user:hello\n"
    assert entry.opened_at is not None and entry.closed_at is not None
    assert entry.at <= entry.opened_at <= entry.closed_at
    assert str(web.secret) not in repr(emulator.log.all())


def test_an_unknown_path_is_no_page(web: Web) -> None:
    reply: Reply = web.call("GET", "/api/unknown")
    assert reply.status == 404
