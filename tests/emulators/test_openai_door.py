"""The OpenAI emulator's door: keys and their states, waits, headers, paths, the log."""

import email.utils
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from emulators.openai import Answer, OpenAIEmulator, Wait
from tests.emulators.legacy_client import Clock
from tests.emulators.openai_client import Api, question


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.add_key("alice"))
    yield client
    client.leave()


def test_a_call_without_a_key_is_refused(emulator: OpenAIEmulator) -> None:
    reply = Api(emulator, None).ask()
    assert reply.status == 401 and "provide an API key" in reply.error["message"]


def test_a_wrong_key_is_refused_and_shown_in_part_only(
    emulator: OpenAIEmulator,
) -> None:
    reply = Api(emulator, "sk-wrong-000000000000-tail").ask()
    assert reply.status == 401 and reply.error["code"] == "invalid_api_key"
    assert "sk-wrong********tail" in reply.error["message"]


def test_an_open_door_needs_no_key(emulator: OpenAIEmulator) -> None:
    emulator.knobs.open_door = True
    assert Api(emulator, None).ask().status == 200
    assert Api(emulator, "anything").ask().status == 200


@pytest.mark.parametrize(
    ("state", "status", "code"),
    [
        ("invalid", 401, "invalid_api_key"),
        ("no_balance", 429, "insufficient_quota"),
        ("suspended", 401, "account_deactivated"),
        ("rate_limited", 429, "rate_limit_exceeded"),
        ("busy", 429, "rate_limit_exceeded"),
    ],
)
def test_every_state_of_a_key_refuses_every_call_in_its_own_way(
    emulator: OpenAIEmulator, api: Api, state: str, status: int, code: str
) -> None:
    emulator.set_key("alice", state=state)
    for reply in (api.ask(), api.call("GET", "/models")):
        assert (reply.status, reply.error["code"]) == (status, code)
    emulator.set_key("alice", state="ok")
    assert api.ask().status == 200


def test_states_and_keys_end_when_their_time_is_over() -> None:
    clock = Clock()
    with OpenAIEmulator(clock=clock) as emulator:
        api = Api(emulator, emulator.add_key("alice"))
        emulator.set_key("alice", state="rate_limited", until=clock.now + 20)
        assert api.ask().status == 429
        clock.now += 20
        assert api.ask().status == 200
        emulator.set_key("alice", expires_at=clock.now + 5)
        assert api.ask().status == 200
        clock.now += 5
        assert api.ask().error["code"] == "invalid_api_key"


def test_states_and_fields_nobody_knows_are_refused(emulator: OpenAIEmulator) -> None:
    emulator.add_key("alice")
    for wrong in ({"state": "tired"}, {"mood": "bad"}):
        with pytest.raises(ValueError, match=r"state|mood"):
            emulator.set_key("alice", **wrong)
    with pytest.raises(ValueError, match="exists"):
        emulator.add_key("alice")
    with pytest.raises(KeyError):
        emulator.set_key("bob", state="ok")


@pytest.mark.parametrize(
    ("form", "header", "value"),
    [
        ("seconds", "retry-after", "20"),
        ("ms", "retry-after-ms", "20000"),
        ("requests", "x-ratelimit-reset-requests", "20s"),
        ("tokens", "x-ratelimit-reset-tokens", "20s"),
    ],
)
def test_a_wait_is_told_in_the_form_asked_for(
    emulator: OpenAIEmulator, api: Api, form: str, header: str, value: str
) -> None:
    emulator.set_key("alice", state="rate_limited", wait=Wait(20, (form,)))
    reply = api.ask()
    assert reply.headers[header] == value
    assert ("retry-after" in reply.headers) == (form == "seconds")
    assert "try again" not in reply.error["message"]


def test_a_wait_may_be_a_date_an_epoch_or_a_sentence(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.set_key("alice", state="rate_limited", wait=Wait(90, ("date", "epoch")))
    reply = api.ask()
    date = email.utils.parsedate_to_datetime(reply.headers["retry-after"]).timestamp()
    assert reply.headers["retry-after"].endswith(" GMT")
    assert abs(date - int(reply.headers["x-ratelimit-reset"]) / 1000) <= 1
    emulator.set_key("alice", wait=Wait(86.4, ("text",)))
    reply = api.ask()
    assert reply.error["message"].endswith("Please try again in 1m26.4s.")
    assert "retry-after" not in reply.headers
    with pytest.raises(ValueError, match="fortnights"):
        Wait(1, ("fortnights",))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.31, "310ms"), (1.5, "1.5s"), (360, "6m0s"), (7325.25, "2h2m5.25s")],
)
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    wait = Wait(seconds, ("requests",))
    assert wait.headers(0)["x-ratelimit-reset-requests"] == text


def test_one_call_more_than_an_organisation_may_run_is_refused(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer("slow", first_delay=60)
    emulator.set_key("alice", max_parallel=1, wait=Wait(3))
    first = api.begin(stream=True)
    assert first.status == 200
    reply = api.ask()
    assert reply.status == 429 and reply.headers["retry-after"] == "3"
    assert "concurrent" in reply.error["message"]
    first.close()
    api.leave()
    emulator.log.wait_for(lambda seen: seen[0].aborted_at is not None)
    emulator.answer = Answer("quick")
    assert api.ask().status == 200


def test_calls_up_to_the_limit_run_side_by_side(emulator: OpenAIEmulator) -> None:
    api = Api(emulator, emulator.add_key("bob", max_parallel=2))
    both = threading.Barrier(2, timeout=5)

    def meet(_: Any) -> Answer:
        both.wait()
        return Answer("together")

    emulator.answer = meet
    other: list[int] = []
    thread = threading.Thread(target=lambda: other.append(api.ask().status))
    thread.start()
    assert api.ask().status == 200
    thread.join()
    assert other == [200]


def test_every_answer_carries_what_no_client_may_see(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.faults.add("status", after=2, status=503)
    emulator.answer = Answer("x")
    replies = [api.ask(), api.call("GET", "/nothing"), api.stream()]
    replies += [Api(emulator, None).ask(), api.stream()]
    assert [reply.status for reply in replies] == [200, 404, 503, 401, 200]
    for reply in replies:
        assert reply.headers["server"] == "made-up-upstream"
        assert reply.headers["set-cookie"].startswith("__cf_bm=made-up-")
        for name in ("x-internal-address", "openai-organization", "x-request-id"):
            assert reply.headers[name]
        assert reply.headers["x-ratelimit-remaining-requests"] == "499"
    assert "made-up-alice" in replies[0].headers["set-cookie"]
    assert len({reply.headers["x-request-id"] for reply in replies}) == 5


def test_headers_that_are_a_clients_own_are_violations(
    emulator: OpenAIEmulator, api: Api
) -> None:
    api.ask()
    assert emulator.violations() == []
    stray = {"Cookie": "__cf_bm=made-up", "X-Forwarded-For": "192.0.2.7"}
    api.call("POST", "/chat/completions", question(), headers=stray)
    assert emulator.violations() == ["chat: cookie", "chat: x-forwarded-for"]


def test_the_log_has_each_body_byte_for_byte_and_no_key(
    emulator: OpenAIEmulator, api: Api
) -> None:
    message = b'{"role":"user","content":"\\u00e9\xc3\xa9"}'
    body = b'{ "model":"gpt-4o",\t"messages":[%b]}' % message
    headers = {"Content-Type": "application/json; charset=utf-8", "X-Odd": "1"}
    assert api.call("POST", "/chat/completions", body, headers=headers).status == 200
    (entry,) = emulator.log.of("chat", account="alice")
    assert entry.raw == body and entry.headers["x-odd"] == "1"
    assert entry.body["messages"][0]["content"] == "éé"
    assert api.secret is not None and api.secret not in repr(entry)


def test_models_are_listed_and_found_by_name(
    emulator: OpenAIEmulator, api: Api
) -> None:
    listed = api.call("GET", "/models").json()
    assert listed["object"] == "list"
    assert {"gpt-4o", "tts-1"} <= {row["id"] for row in listed["data"]}
    assert api.call("GET", "/models/gpt-4o").json() == listed["data"][0]
    reply = api.call("GET", "/models/gpt-9")
    assert reply.status == 404 and reply.error["code"] == "model_not_found"
    emulator.models["vendor/m:1"] = emulator.models["gpt-4o"]
    assert api.call("GET", "/models/vendor/m:1").status == 200
    assert api.call("GET", "/models/vendor%2Fm%3A1").status == 200


def test_paths_and_methods_that_are_not_served_are_refused(api: Api) -> None:
    for method, path in (("POST", "/chat"), ("DELETE", "/models"), ("GET", "/../x")):
        reply = api.call(method, path)
        assert reply.status == 404 and "Invalid URL" in reply.error["message"]


def test_the_prefix_is_the_vendors() -> None:
    with OpenAIEmulator(prefix="/api/paas/v4") as emulator:
        api = Api(emulator, emulator.add_key("alice"))
        assert emulator.base_url.endswith("/api/paas/v4")
        assert api.ask().status == 200
        assert emulator.log.all()[0].path == "/api/paas/v4/chat/completions"


def test_the_emulator_can_be_driven_over_its_control_paths(
    emulator: OpenAIEmulator, api: Api
) -> None:
    def control(path: str, body: Any = None) -> Any:
        link = api.send("POST", "", None)
        link.close()
        link.request("POST", f"/_emulator/{path}", json.dumps(body))
        answer = link.getresponse()
        return answer.status, json.loads(answer.read())

    made = control("accounts", {"name": "bob", "state": "ok"})[1]["key"]
    wait = {"seconds": 7, "forms": ["seconds"]}
    control("accounts", {"name": "bob", "state": "rate_limited", "wait": wait})
    assert Api(emulator, made).ask().headers["retry-after"] == "7"
    control("accounts", {"name": "bob", "state": "ok"})
    tools = [{"name": "f", "arguments": "{}"}]
    control("answer", {"said": {"text": "told", "tools": tools}})
    knobs = control("knobs", {"spelling": {"end": "\r\n"}, "usage_place": "last"})[1]
    assert knobs["usage_place"] == "last"
    message = Api(emulator, made).ask().json()["choices"][0]["message"]
    assert message["content"] == "told" and message["tool_calls"][0]["id"]
    assert b"\r\n\r\n" in api.stream().body
    assert control("answer", {"volume": 11})[0] == 400
    assert control("knobs", {"volume": 11})[0] == 400
    assert control("accounts", {"name": "bob", "mood": "bad"})[0] == 400
    link = api.send("GET", "", None)
    link.close()
    link.request("GET", "/_emulator/log?name=chat")
    assert json.loads(link.getresponse().read())["entries"][0]["raw"]
    link.close()


def test_a_reset_keeps_the_keys_only(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.answer = Answer("scripted")
    emulator.knobs.gzip = True
    emulator.models.clear()
    api.call("GET", "/models")
    emulator.reset()
    assert not emulator.log.all() and not emulator.knobs.gzip
    assert "You said" in api.ask().json()["choices"][0]["message"]["content"]


def test_the_emulator_runs_as_a_process_that_prints_its_key() -> None:
    command = [sys.executable, "-m", "emulators", "openai", "--port", "0"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root) as process:
        assert process.stdout is not None
        try:
            told = json.loads(process.stdout.readline())
            link = http.client.HTTPConnection(urlsplit(told["url"]).netloc, timeout=5)
            bearer = {"Authorization": f"Bearer {told['key']}"}
            link.request("GET", "/v1/models", headers=bearer)
            assert json.loads(link.getresponse().read())["object"] == "list"
            link.close()
        finally:
            process.terminate()
            status = process.wait(10)
    assert status == 0
