"""Which account answers a relayed call, how often it is asked, and what is told."""

from collections.abc import Iterator
from typing import Any

import pytest

from emulators.openai import Recording
from emulators.openai.stored import Item
from tests.http.relay_house import NARROW, Relayed, form, refresh, relaying

Factory = pytest.TempPathFactory
# A response that only OpenAI's own service can make: others are made here.
NATIVE = {
    "model": "up/gpt-4o",
    "input": "hi",
    "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}],
}
BATCH = {"endpoint": "/v1/embeddings", "completion_window": "24h"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: Factory) -> Iterator[Relayed]:
    with relaying(tmp_path_factory.mktemp("relay")) as relayed:
        yield relayed


@pytest.fixture
def up(shared: Relayed) -> Relayed:
    refresh(shared)
    return shared


@pytest.mark.parametrize("state", ["invalid", "no_balance", "suspended"])
def test_where_one_key_is_refused_another_answers(tmp_path: Any, state: str) -> None:
    with relaying(tmp_path) as up:
        up.emulator.set_key("alice", state=state)
        for _ in range(4):
            assert up.embed().status_code == 200
        assert up.accounts().count("alice") <= 1, "she is asked no more"
        up.emulator.set_key("bob", state=state)
        answer = up.embed()
        assert answer.status_code in {429, 503}, "never a 401"
        assert answer.json()["error"]["code"] != "invalid_api_key"


def test_a_call_that_leaves_nothing_is_made_again_like_a_chat(up: Relayed) -> None:
    for fault in ("status", "reset"):
        up.emulator.faults.add(fault, on="embeddings")
        assert up.embed().status_code == 200
    assert len(up.seen) == 4


@pytest.mark.parametrize(
    ("fault", "times", "status"),
    [
        ({"name": "status", "status": 500}, 1, 503),
        ({"name": "reset"}, 1, 503),
        ({"name": "lost_answer"}, 1, 503),
        ({"name": "short_body"}, 1, 503),
        ({"name": "status", "status": 429}, 2, 200),
        ({"name": "status", "status": 401}, 2, 200),
        ({"name": "status", "status": 529}, 2, 200),
    ],
)
def test_what_may_have_made_something_is_made_again_only_if_it_was_refused(
    tmp_path: Any, fault: dict[str, Any], times: int, status: int
) -> None:
    with relaying(tmp_path) as up:
        up.emulator.faults.add(on="responses", **fault)
        answer = up.call("POST", "/responses", NATIVE)
        assert answer.status_code == status
        assert len(up.seen) == times
        told = answer.headers.get("x-should-retry")
        assert told == (None if status == 200 else "false"), "nor by the client"


def test_a_file_of_one_account_is_found_for_a_batch(up: Relayed) -> None:
    document = {"id": "file-made-up-1", "object": "file", "purpose": "batch"}
    item = Item("file", "bob", document, b'{"custom_id":"1"}')
    up.emulator.world.stored.add(item)
    made = up.call("POST", "/batches", {**BATCH, "input_file_id": "file-made-up-1"})
    assert made.status_code == 200, made.data
    assert up.accounts() == ["alice", "bob"]
    name = made.json()["id"]
    assert up.call("POST", f"/batches/{name}/cancel").status_code == 200
    assert up.accounts() == ["alice", "bob", "bob"]


def test_each_step_of_a_chain_gets_the_whole_body_with_its_own_name(
    tmp_path: Any,
) -> None:
    nowhere = {"type": "openai", "base_url": "http://127.0.0.1:1/v1", "tokens": ["k"]}
    chain = ["gone/other-name", "up/gpt-4o-mini", "up/whisper-1"]
    with relaying(tmp_path, providers={"gone": nowhere}, models={"ears": chain}) as up:
        up.emulator.faults.add("status", times=-1, status=500, account="alice")
        up.emulator.faults.add("status", status=500, account="bob")
        sound = bytes(range(256)) * 10_000
        parts = (({"name": "file", "filename": "a.mp3"}, sound),)
        body = form("b", ({"name": "model"}, b"ears"), *parts)
        kind = {"content_type": "multipart/form-data; boundary=b"}
        answer = up.call("POST", "/audio/transcriptions", body, **kind)
        assert answer.status_code == 200, answer.data
        names = [b"gpt-4o-mini"] * 2 + [b"whisper-1"] * (len(up.seen) - 2)
        assert len(names) >= 3
        assert [entry.raw for entry in up.seen] == [
            form("b", ({"name": "model"}, name), *parts) for name in names
        ]
        route = answer.headers["x-kimi-proxy-route"]
        assert route == "up/whisper-1"


def test_a_read_is_made_again_whatever_happened(up: Relayed) -> None:
    for fault in ({"name": "status", "status": 500}, {"name": "reset"}):
        up.emulator.faults.add(on="batches", **fault)
        assert up.call("GET", "/batches").status_code == 200


def test_what_was_made_on_one_account_is_asked_for_there(up: Relayed) -> None:
    up.emulator.faults.add("status", status=429, on="responses", account="alice")
    made = up.call("POST", "/responses", NATIVE)
    assert made.status_code == 200
    home, name = up.last.account, made.json()["id"]
    for _ in range(3):
        assert up.call("GET", f"/responses/{name}").json()["id"] == name
        assert up.last.account == home
    told = {"model": "up/gpt-4o", "input": "on", "previous_response_id": name}
    assert up.call("POST", "/responses", told).status_code == 200
    assert up.last.account == home
    assert up.call("DELETE", f"/responses/{name}").status_code == 200
    assert up.last.account == home
    seen = len(up.seen)
    assert up.call("GET", f"/responses/{name}").status_code == 404
    assert len(up.seen) == seen + 1, "nobody else can have it"


def test_of_what_is_not_known_each_account_is_asked_in_turn(up: Relayed) -> None:
    name = "resp_unknown_1"
    item = Item("response", "bob", {"id": name, "object": "response"})
    up.emulator.world.stored.add(item)
    for _ in range(2):
        assert up.call("GET", f"/responses/{name}").json()["id"] == name
    assert up.accounts() == ["alice", "bob", "bob"], "the second time it is known"
    missing = up.call("GET", "/responses/resp_nowhere_1")
    assert missing.status_code == 404
    assert up.accounts()[3:] == ["alice", "bob"]


def test_what_names_no_model_goes_to_the_first_account_that_can(up: Relayed) -> None:
    for _ in range(4):
        assert up.call("GET", "/batches").status_code == 200
    assert set(up.accounts()) == {"alice"}


def test_without_a_default_a_call_has_to_name_its_model(tmp_path: Any) -> None:
    with relaying(tmp_path, relay=None) as up:
        answer = up.call("GET", "/batches")
        assert answer.status_code == 404
        assert "relay.provider" in answer.json()["error"]["message"]
        unknown = up.embed("text-embedding-3-small")
        assert unknown.status_code == 404
        assert unknown.json()["error"]["code"] == "model_not_found"
        assert up.embed().status_code == 200
        assert up.embed(key=NARROW).status_code == 403


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"name": "status", "status": 401}, 503),
        ({"name": "status", "status": 403}, 403),
        ({"name": "status", "status": 404}, 404),
        ({"name": "status", "status": 422}, 400),
        ({"name": "status", "status": 500}, 503),
        ({"name": "redirect"}, 503),
        ({"name": "challenge"}, 503),
        ({"name": "reset"}, 503),
    ],
)
def test_refusals_are_the_gateway_s_own_errors(
    tmp_path: Any, fault: dict[str, Any], status: int
) -> None:
    with relaying(tmp_path) as up:
        up.emulator.faults.add(times=-1, **fault)
        answer = up.embed()
        assert answer.status_code == status
        assert set(answer.json()["error"]) == {"message", "type", "param", "code"}
        assert up.emulator.url not in answer.data.decode()
        assert all(e.name != "Trap" for e in up.seen), "no redirect is followed"


def test_how_long_to_wait_is_told(tmp_path: Any) -> None:
    with relaying(tmp_path) as up:
        for name in ("alice", "bob"):
            up.emulator.set_key(name, state="rate_limited")
        answer = up.embed()
        assert answer.status_code == 429
        assert "retry-after" in answer.headers
        assert "x-ratelimit-remaining-tokens" not in answer.headers


def test_a_request_is_counted_and_written_down(tmp_path: Any) -> None:
    with relaying(
        tmp_path,
        keys=[{"name": "all", "key": "kp-relay-made-up-key", "rate": "2/minute"}],
    ) as up:
        first, second = up.embed(), up.embed()
        assert first.headers["x-ratelimit-remaining-requests"] == "1"
        assert second.status_code == 200
        assert up.embed().status_code == 429
        assert len(up.seen) == 2


def test_a_form_without_a_model_goes_to_the_default(up: Relayed) -> None:
    body = form("b", ({"name": "image", "filename": "a.png"}, b"\x89PNG\r\n\r\n"))
    answer = up.call(
        "POST",
        "/images/variations",
        body,
        content_type="multipart/form-data; boundary=b",
    )
    assert answer.status_code == 200, answer.data
    assert up.last.raw == body
    assert answer.headers["x-kimi-proxy-route"] == "up"


def whole(body: bytes, **headers: str) -> Recording:
    return Recording(body, "application/json", headers=headers, pieces=(7,))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"error": {"message": "made up", "type": "server_error"}}', "failed"),
        (b'{"error": "made up"}', "failed"),
        (b'{"object": "error", "message": "made up"}', "failed"),
        (b'{"vectors": null, "base_resp": {"status_code": 1002}}', "rate_limited"),
    ],
)
def test_an_error_under_status_200_is_one(
    tmp_path: Any, body: bytes, code: str
) -> None:
    with relaying(tmp_path) as up:
        up.emulator.answers["embeddings"] = whole(body, **{"Retry-After": "90"})
        answer = up.embed()
        assert answer.status_code in {429, 503}
        assert answer.json()["error"]["code"] == f"upstream_{code}"
        assert up.accounts() == ["alice", "bob"], "another key may do better"


@pytest.mark.parametrize(
    "body",
    [
        b'{"object": "response", "status": "failed", "error": {"message": "x"}}',
        b'{"object": "list", "data": [], "error": null}',
        b'{"choices": [], "error": {"message": "x"}}',
        b'{"data": ["' + b"x" * 200_000 + b'"], "error": {"message": "x"}}',
        b'["error"]',
        b"no JSON at all",
        b"",
    ],
    ids=["failed", "list", "choices", "long", "array", "text", "empty"],
)
def test_any_other_answer_comes_as_it_is(up: Relayed, body: bytes) -> None:
    up.emulator.answers["embeddings"] = whole(body)
    answer = up.embed()
    assert (answer.status_code, answer.data) == (200, body)


def test_a_short_answer_that_is_cut_is_asked_for_again(up: Relayed) -> None:
    up.emulator.faults.add("short_body", on="embeddings")
    assert up.embed().status_code == 200
    assert len(up.seen) == 2
