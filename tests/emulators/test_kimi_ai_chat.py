"""The emulator of kimi-ai.chat keeps its sheet's checklist."""

import http.client
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

import pytest

from emulators.kimi_ai_chat import KimiAiChatEmulator


@pytest.fixture
def emulator() -> Iterator[KimiAiChatEmulator]:
    with KimiAiChatEmulator() as running:
        yield running


def call(
    emulator: KimiAiChatEmulator, path: str, form: dict[str, str] | None = None
) -> tuple[int, str, bytes]:
    link = http.client.HTTPConnection(urlsplit(emulator.url).netloc, timeout=5)
    fields = {"User-Agent": "made-up/1"}
    body = None
    if form is not None:
        body = urlencode(form)
        fields["Content-Type"] = "application/x-www-form-urlencoded"
    link.request("GET" if form is None else "POST", path, body, fields)
    response = link.getresponse()
    try:
        data = response.read()
    except http.client.IncompleteRead as error:
        data = error.partial
    finally:
        link.close()
    return response.status, response.headers["Content-Type"], data


def nonce(emulator: KimiAiChatEmulator) -> str | None:
    status, kind, page = call(emulator, "/chat/")
    assert status == 200 and kind.startswith("text/html")
    found = re.search(rb"var kimi_ajax = (\{.*?\});", page)
    return None if found is None else str(json.loads(found[1])["nonce"])


def send(emulator: KimiAiChatEmulator, **fields: str) -> tuple[int, str, bytes]:
    form = {
        "action": "kimi_send_message",
        "nonce": nonce(emulator) or "",
        "message": "hi",
        "model": "moonshotai/Kimi-K2-Instruct",
        "session_id": "session_1790000000000_abc123xyz",
        **fields,
    }
    return call(emulator, "/wp-admin/admin-ajax.php", form)


def told(answer: tuple[int, str, bytes]) -> Any:
    return json.loads(answer[2])


def test_the_page_holds_a_nonce_of_ten_characters(emulator: KimiAiChatEmulator) -> None:
    assert re.fullmatch(r"[0-9a-f]{10}", nonce(emulator) or "")
    emulator.faults.add("bare_page")
    assert nonce(emulator) is None


def test_a_message_is_answered_in_one_piece(emulator: KimiAiChatEmulator) -> None:
    answer = {"success": True, "data": {"message": "You said: hi"}}
    assert told(send(emulator)) == answer
    assert emulator.violations() == []


def test_an_old_nonce_is_refused_in_either_way(emulator: KimiAiChatEmulator) -> None:
    old = nonce(emulator) or ""
    emulator.expire()
    assert told(send(emulator, nonce=old))["success"] is False
    emulator.knobs.bad_nonce = "403"
    assert send(emulator, nonce=old)[::2] == (403, b"-1")
    assert told(send(emulator))["success"] is True


def test_an_unknown_action_is_a_zero(emulator: KimiAiChatEmulator) -> None:
    assert send(emulator, action="x")[::2] == (400, b"0")


def test_a_message_too_long_is_refused_with_an_object(
    emulator: KimiAiChatEmulator,
) -> None:
    refused = told(send(emulator, message="x" * 1001))
    assert refused["success"] is False and "1000" in refused["data"]["message"]


@pytest.mark.parametrize(
    ("fault", "params", "expected"),
    [
        ("refused", {"data": "no"}, b'{"success": false, "data": "no"}'),
        ("empty", {}, b'{"success": true, "data": {"message": ""}}'),
        ("garbled", {}, b"{made up"),
        ("cut", {"at_byte": 12}, b'{"success": '),
    ],
)
def test_faults_are_as_planned(
    emulator: KimiAiChatEmulator, fault: str, params: dict[str, Any], expected: bytes
) -> None:
    emulator.faults.add(fault, **params)
    assert send(emulator)[2] == expected
    assert told(send(emulator))["success"] is True


def test_challenges_and_slow_answers_come_on_demand(
    emulator: KimiAiChatEmulator,
) -> None:
    emulator.faults.add("challenge", on="page", status=503)
    status, kind, _ = call(emulator, "/chat/")
    assert (status, kind) == (503, "text/html")
    emulator.faults.add("slow", on="message", delay=0.01)
    assert told(send(emulator))["success"] is True
    emulator.knobs.html = True
    assert send(emulator)[1].startswith("text/html")


@pytest.mark.parametrize(
    ("field", "value"), [("model", "x"), ("session_id", "x"), ("message", "")]
)
def test_what_no_client_sends_is_noted(
    emulator: KimiAiChatEmulator, field: str, value: str
) -> None:
    send(emulator, **{field: value})
    assert len(emulator.violations()) == 1
