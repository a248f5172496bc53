"""The Qodo emulator keeps its sheet's checklist."""

import http.client
import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from emulators.qodo import QodoEmulator
from emulators.qodo.credential import WEB_KEY


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    broken: bool

    def json(self) -> Any:
        return json.loads(self.body)

    def rows(self) -> list[Any]:
        lines = [row.strip() for row in self.body.decode().splitlines()]
        return [json.loads(row) for row in lines if row]


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[QodoEmulator]:
    with QodoEmulator(clock) as running:
        running.knobs.odd_lines = False
        yield running


def call(
    emulator: QodoEmulator,
    path: str,
    body: Any = None,
    token: str = "",
    **headers: str,
) -> Reply:
    link = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=5)
    fields = {
        "Accept": "text/plain",
        "User-Agent": "made-up/1",
        "Request-id": str(uuid.uuid4()),
        "Content-Type": "application/json",
        **headers,
    }
    if token:
        fields["Authorization"] = f"Bearer {token}"
    sent = json.dumps(body) if isinstance(body, dict) else body
    link.request("GET" if body is None else "POST", path, sent, fields)
    response = link.getresponse()
    try:
        return Reply(response.status, response.read(), False)
    except http.client.IncompleteRead as error:
        return Reply(response.status, error.partial, True)
    finally:
        link.close()


def renew(emulator: QodoEmulator, pair: str) -> Reply:
    key, _, refresh = pair.partition("=")
    form = urlencode({"grant_type": "refresh_token", "refresh_token": refresh})
    return call(
        emulator,
        f"/v1/token?key={key}",
        form,
        **{"Content-Type": "application/x-www-form-urlencoded"},
    )


def chat(emulator: QodoEmulator, token: str, text: str = "hi", **more: Any) -> Reply:
    user = {
        "installation_id": str(uuid.uuid4()),
        "installation_fingerprint_uuid": str(uuid.uuid4()),
        "editor_version": "1",
        "extension_version": "1",
        "os_platform": "x",
        "os_version": "x",
        "editor_type": "vscode",
    }
    body = {
        "max_remote_context": 0,
        "remote_context_tags": [],
        "max_repo_context": 5,
        "user_data": user,
        "task": "",
        "chat_input": text,
        "previous_messages": [],
        "user_context": [],
        "repo_context": [],
        "custom_model": "gpt-4o",
        "supports_artifacts": True,
        **more,
    }
    return call(emulator, "/v2/chats/chat", body, token)


def task(
    emulator: QodoEmulator, token: str, session: str, path: str = "start", **more: Any
) -> Reply:
    user = {
        "extension_version": "0",
        "os_platform": "x",
        "os_version": "x",
        "editor_type": "cli",
    }
    body = {
        "agent_type": "cli",
        "session_id": session,
        "user_data": user,
        "tools": {},
        "user_request": "hi",
        "execution_strategy": "act",
        "custom_model": "gpt-5.1",
        "stream": True,
        **more,
    }
    place = f"/v2/agentic/{path}-task"
    return call(emulator, place, body, token, **{"Session-id": session})


def access(emulator: QodoEmulator, name: str = "alice") -> str:
    return str(renew(emulator, emulator.add_pair(name)).json()["id_token"])


def test_a_renewal_says_its_life_as_a_text_and_keeps_the_refresh_token(
    emulator: QodoEmulator,
) -> None:
    pair = emulator.add_pair("alice")
    answer = renew(emulator, pair).json()
    assert answer["expires_in"] == "3600" and answer["user_id"] == "user-alice"
    assert f"{WEB_KEY}={answer['refresh_token']}" == pair
    log = emulator.log.all()[0]
    assert pair.partition("=")[2] not in repr(log)


def test_refused_renewals_say_why(emulator: QodoEmulator) -> None:
    pair = emulator.add_pair("alice")
    user = emulator.credentials.user("alice")
    assert "INVALID_REFRESH" in str(renew(emulator, f"{WEB_KEY}=x").json())
    assert "API key not valid" in str(renew(emulator, f"x{pair}").json())
    user.disabled = True
    refused = renew(emulator, pair)
    assert refused.status == 400
    assert refused.json()["error"]["message"] == "USER_DISABLED"
    user.deleted = True
    assert renew(emulator, pair).json()["error"]["message"] == "USER_NOT_FOUND"


def test_a_chat_needs_a_live_token(emulator: QodoEmulator, clock: Clock) -> None:
    token = access(emulator)
    assert chat(emulator, token).status == 200
    clock.now += 3601
    for dead in (token, "made-up", emulator.add_key("alice")):
        reply = chat(emulator, dead)
        assert reply.status == 403
        assert reply.json() == {"detail": "Bearer authentication is needed"}


def test_a_chat_is_lines_of_json_first_the_context(emulator: QodoEmulator) -> None:
    rows = chat(emulator, access(emulator)).rows()
    assert [row["sub_type"] for row in rows][:2] == [
        *("reference_context", "code_analysis")
    ]
    assert "".join(row["data"]["content"] for row in rows) == "You said: hi"


def test_framing_is_as_the_knobs_say(emulator: QodoEmulator) -> None:
    emulator.knobs.data_prefix = emulator.knobs.done = True
    emulator.knobs.odd_lines = True
    body = chat(emulator, access(emulator)).body
    assert body.startswith(b"data: {") and body.endswith(b"data: [DONE]\n")
    assert b"made_up_progress" in body


def test_chinese_is_refused_where_the_policy_holds(emulator: QodoEmulator) -> None:
    token = access(emulator)
    assert chat(emulator, token, "冷").status == 200
    emulator.knobs.refuses_chinese = True
    assert chat(emulator, token, "冷").status == 403


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"chat_input": ""}, "chat_input"),
        ({"user_context": ["/home"]}, "machine"),
        ({"custom_model": "made-up"}, "no such model"),
        ({"previous_messages": [{"role": "system", "content": "x"}]}, "no role"),
        ({"previous_messages": [{"role": "user", "content": "x"}]}, "wrong keys"),
        ({"extra": 1}, "wrong keys"),
        ({"task": 7}, "task must be"),
    ],
)
def test_what_no_client_sends_is_noted(
    emulator: QodoEmulator, change: dict[str, Any], why: str
) -> None:
    assert chat(emulator, access(emulator), **change).status == 422
    (violation,) = emulator.violations()
    assert why in violation


def test_a_session_starts_once_and_is_then_continued(emulator: QodoEmulator) -> None:
    key = emulator.add_key("alice")
    things = call(emulator, "/v2/info/get-things", token=key).json()
    session = things["session-id"]
    assert task(emulator, key, session, "continue").status == 404
    rows = task(emulator, key, session).rows()
    text = "".join(row["data"]["tool_args"]["content"] for row in rows)
    assert text == "You said: hi"
    again = task(emulator, key, session)
    assert again.status == 500
    assert again.body.decode() == f"Internal server error, session ID: {session}"
    assert task(emulator, key, session, "continue").status == 200
    stranger = emulator.add_key("bob")
    assert task(emulator, stranger, session, "continue").status == 404


def test_a_wrong_key_opens_nothing(emulator: QodoEmulator) -> None:
    assert call(emulator, "/v2/info/get-things", token="sk-x").status == 401
    assert task(emulator, "sk-x", "20251101-made-up-1").status == 401


def test_an_ide_agent_answers_json_in_json(emulator: QodoEmulator) -> None:
    session = "20251101-made-up-1"
    rows = task(emulator, access(emulator), session).rows()
    inner = [json.loads(row["data"]["tool_args"]["data"])["data"] for row in rows]
    told = [
        data["content"]
        for data, row in zip(inner, rows, strict=True)
        if data["title"] == "Chat" and row["sub_type"] != "code_implementation_end"
    ]
    assert "".join(told) == "You said: hi"


def test_lines_are_split_and_cut_on_demand(emulator: QodoEmulator) -> None:
    token = access(emulator)
    emulator.knobs.split = (1,)
    whole = chat(emulator, token)
    assert whole.rows() and not whole.broken
    emulator.faults.add("cut", at_byte=40)
    cut = chat(emulator, token)
    assert cut.broken and len(cut.body) == 40


@pytest.mark.parametrize(
    ("fault", "params", "expected"),
    [
        ("garbled", {"at": 1}, b"{made up\n"),
        ("error_line", {"at": 0}, b'"error": "made up"'),
        ("refuse", {"status": 418, "body": "made up"}, b"made up"),
    ],
)
def test_faults_are_as_planned(
    emulator: QodoEmulator, fault: str, params: dict[str, Any], expected: bytes
) -> None:
    token = access(emulator)
    emulator.faults.add(fault, on="chat", **params)
    assert expected in chat(emulator, token).body
    assert expected not in chat(emulator, token).body


def test_a_missing_header_is_noted(emulator: QodoEmulator) -> None:
    key = emulator.add_key("alice")
    call(emulator, "/v2/info/get-things", token=key, Accept="*/*")
    call(emulator, "/v2/info/get-things", token=key, **{"Request-id": "x"})
    session = "20251101-made-up-1"
    task(emulator, key, session, user_request="")
    task(emulator, key, "x")
    assert len(emulator.violations()) == 4
