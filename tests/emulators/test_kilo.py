"""The Kilo emulator keeps its sheet's checklist."""

import http.client
import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.kilo import Answer, KiloEmulator
from emulators.kilo.knob import Call

CHAT = "/api/gateway/chat/completions"
MODEL = "anthropic/claude-sonnet-4.5"


class Clock:
    now = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def emulator(clock: Clock) -> Iterator[KiloEmulator]:
    with KiloEmulator(clock) as running:
        yield running


@pytest.fixture
def token(emulator: KiloEmulator) -> str:
    return emulator.add_account("alice")


def call(
    emulator: KiloEmulator,
    method: str,
    path: str,
    body: Any = None,
    token: str | None = None,
    **headers: str,
) -> tuple[int, dict[str, str], bytes]:
    link = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=5)
    fields = {"User-Agent": "made-up/1", **headers}
    if token is not None:
        fields["Authorization"] = f"Bearer {token}"
    if body is not None:
        fields["Content-Type"] = "application/json"
    link.request(method, path, None if body is None else json.dumps(body), fields)
    response = link.getresponse()
    try:
        data = response.read()
    except http.client.IncompleteRead as error:
        data = error.partial
    finally:
        link.close()
    return response.status, dict(response.getheaders()), data


def question(text: str = "hi", **more: Any) -> dict[str, Any]:
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "stream_options": {"include_usage": True},
        **more,
    }


def events(data: bytes) -> list[Any]:
    rows = [row for row in data.decode().split("\n\n") if row.startswith("data:")]
    texts = [row.partition(":")[2].strip() for row in rows]
    return [json.loads(text) for text in texts if text != "[DONE]"]


def error(data: bytes) -> Any:
    return json.loads(data)["error"]


def test_a_stream_ends_with_its_usage(emulator: KiloEmulator, token: str) -> None:
    status, _, data = call(emulator, "POST", CHAT, question(), token)
    *chunks, end, counts = events(data)
    text = "".join(c["choices"][0]["delta"]["content"] for c in chunks)
    assert (status, text) == (200, "You said: hi")
    assert end["choices"][0]["finish_reason"] == "stop"
    assert counts["choices"] == [] and counts["usage"]["total_tokens"] > 0
    assert data.endswith(b"data: [DONE]\n\n")


def test_a_whole_answer_and_tool_calls(emulator: KiloEmulator, token: str) -> None:
    emulator.answer = Answer(calls=(Call("c1", "look", '{"a": 1}'),))
    body = question(stream=False)
    whole = json.loads(call(emulator, "POST", CHAT, body, token)[2])
    (made,) = whole["choices"][0]["message"]["tool_calls"]
    assert made["function"] == {"name": "look", "arguments": '{"a": 1}'}
    deltas = [
        c["choices"][0]["delta"]["tool_calls"][0]
        for c in events(call(emulator, "POST", CHAT, question(), token)[2])[:2]
    ]
    assert deltas[0]["id"] == "c1" and "id" not in deltas[1]


def test_a_bearer_is_checked(emulator: KiloEmulator, token: str) -> None:
    for bad in (None, "made-up", "anonymous"):
        status, _, data = call(emulator, "POST", CHAT, question(), bad)
        assert (status, error(data)["code"]) == (401, 401)
    free = question(model="kilo-auto/free")
    assert call(emulator, "POST", CHAT, free, "anonymous")[0] == 200
    assert call(emulator, "GET", "/api/profile", token="made-up")[0] == 401
    assert call(emulator, "GET", "/api/profile", token=token)[0] == 200


def test_models_need_no_token(emulator: KiloEmulator) -> None:
    status, _, data = call(emulator, "GET", "/api/gateway/models")
    assert status == 200 and json.loads(data)["data"][0]["id"] == MODEL
    path = "/api/gateway/models"
    assert call(emulator, "GET", path, token="made-up")[0] == 401


def test_no_balance_is_402_with_where_to_buy(
    emulator: KiloEmulator, token: str
) -> None:
    emulator.accounts.get("alice").balance = 0
    status, _, data = call(emulator, "POST", CHAT, question(), token)
    assert status == 402 and "buyCreditsUrl" in error(data)["metadata"]
    balance = call(emulator, "GET", "/api/profile/balance", token=token)[2]
    assert json.loads(balance) == {"balance": 0}


def test_organizations_are_checked(emulator: KiloEmulator, token: str) -> None:
    header = {"X-KiloCode-OrganizationId": "org-1"}
    assert call(emulator, "POST", CHAT, question(), token, **header)[0] == 403
    emulator.accounts.get("alice").organizations = ("org-1",)
    assert call(emulator, "POST", CHAT, question(), token, **header)[0] == 200


def test_faults_are_as_planned(emulator: KiloEmulator, token: str) -> None:
    emulator.faults.add("refuse", status=429, headers={"Retry-After": "7"})
    status, headers, _ = call(emulator, "POST", CHAT, question(), token)
    assert (status, headers["Retry-After"]) == (429, "7")
    emulator.faults.add("broken_off", at=1, code=502)
    broken = events(call(emulator, "POST", CHAT, question(), token)[2])
    assert len(broken) == 2 and broken[1]["error"]["code"] == 502
    assert broken[1]["choices"][0]["finish_reason"] == "error"
    emulator.faults.add("garbled", at=0)
    assert b"{made up" in call(emulator, "POST", CHAT, question(), token)[2]
    emulator.faults.add("cut", at_byte=9)
    assert len(call(emulator, "POST", CHAT, question(), token)[2]) == 9


def test_a_prompt_over_the_window_is_told_with_both_sizes(
    emulator: KiloEmulator, token: str
) -> None:
    emulator.knobs.window = 3
    status, _, data = call(emulator, "POST", CHAT, question("long"), token)
    assert status == 400
    assert "3 tokens" in error(data)["message"] and "4" in error(data)["message"]


@pytest.mark.parametrize(
    "change",
    [{"use_search": True}, {"messages": []}, {"stream": "yes"}, {"stream_options": {}}],
)
def test_what_no_client_sends_is_noted(
    emulator: KiloEmulator, token: str, change: dict[str, Any]
) -> None:
    assert call(emulator, "POST", CHAT, question(**change), token)[0] == 400
    assert len(emulator.violations()) == 1


def test_a_log_in_has_its_four_states(emulator: KiloEmulator, clock: Clock) -> None:
    codes = "/api/device-auth/codes"
    opened = [json.loads(call(emulator, "POST", codes)[2]) for _ in range(3)]
    assert call(emulator, "POST", codes)[0] == 429
    first, second, third = (row["code"] for row in opened)
    assert call(emulator, "GET", f"{codes}/{first}")[0] == 202
    emulator.accounts.decide(first, "bob")
    status, _, data = call(emulator, "GET", f"{codes}/{first}")
    told = json.loads(data)
    assert (status, told["status"]) == (200, "approved")
    assert emulator.accounts.holder(told["token"]) is emulator.accounts.get("bob")
    emulator.accounts.decide(second, None)
    assert call(emulator, "GET", f"{codes}/{second}")[0] == 403
    clock.now += 601
    assert call(emulator, "GET", f"{codes}/{third}")[0] == 410
    assert call(emulator, "GET", f"{codes}/made-up")[0] == 410


def test_the_old_pair_is_behind_a_switch(emulator: KiloEmulator, token: str) -> None:
    old = ("/api/claude/v1/messages", "/api/openrouter/chat/completions")
    for path in old:
        assert call(emulator, "POST", path, question(), token)[0] == 405
    emulator.knobs.old = True
    emulator.answer = Answer(("Hello",), ("Short plan.",))
    claude = call(emulator, "POST", old[0], question(), token)[2].decode()
    assert claude.index("message_start") < claude.index("Short plan.")
    assert claude.index("Hello") < claude.index("message_stop")
    assert events(call(emulator, "POST", old[1], question(), token)[2])
    assert call(emulator, "POST", old[1], question(), "made-up")[0] == 401
