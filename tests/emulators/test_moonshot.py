"""The Moonshot emulator's answers: thinking, usage, partial mode, search, files."""

import email.utils
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.moonshot import MOONSHOT_ERRORS, MoonshotEmulator
from emulators.openai import Answer, Choice, ToolCall, Wait
from tests.emulators.openai_client import Api

K26 = "kimi-k2.6"
OFF = {"type": "disabled"}
USER = {"role": "user", "content": "x"}
SEARCH = {"type": "builtin_function", "function": {"name": "$web_search"}}


@pytest.fixture
def emulator() -> Iterator[MoonshotEmulator]:
    with MoonshotEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: MoonshotEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def ask(api: Api, **fields: Any) -> Any:
    """Return the choice of a whole answer."""
    reply = api.ask(**{"model": K26, **fields})
    assert reply.status == 200, reply.body
    return reply.json()["choices"][0]


def test_models_tell_what_they_can(api: Api) -> None:
    rows = {row["id"]: row for row in api.call("GET", "/models").json()["data"]}
    assert rows.keys() == {
        "kimi-k3",
        "kimi-k2.7-code",
        "kimi-k2.7-code-highspeed",
        K26,
    }
    assert rows["kimi-k3"]["context_length"] == 1_048_576
    assert rows["kimi-k3"]["supports_thinking_type"] == "only"
    assert rows["kimi-k3"]["think_efforts"] == {
        "support": True,
        "valid_efforts": ["low", "high", "max"],
        "default_effort": "max",
    }
    assert rows[K26]["supports_thinking_type"] == "both"
    assert rows[K26]["supports_image_in"] and rows[K26]["supports_reasoning"]
    assert not rows["kimi-k2.7-code"]["supports_image_in"]
    assert api.call("GET", "/models/kimi-k3").json() == rows["kimi-k3"]
    assert all(row["owned_by"] == "moonshot" for row in rows.values())


def test_thinking_models_reason_before_they_speak(
    emulator: MoonshotEmulator, api: Api
) -> None:
    events = api.stream(model=K26).events
    kinds = [next(iter(e["choices"][0]["delta"]), "") for e in events]
    assert kinds[0] == "role" and kinds[-1] == ""
    assert kinds[1:-1] == sorted(kinds[1:-1], reverse=True)
    assert "reasoning_content" in kinds and "content" in kinds
    assert ask(api, model="kimi-k3")["message"]["reasoning_content"]
    emulator.answer = Answer(Choice("Two.", reasoning="1+1"))
    assert ask(api)["message"]["reasoning_content"] == "1+1"
    assert "reasoning_content" not in ask(api, thinking=OFF)["message"]


def test_reasoning_counts_in_the_token_budget(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.answer = Answer(Choice("the end", reasoning="a long thought"))
    choice = ask(api, max_completion_tokens=2)
    assert choice["finish_reason"] == "length"
    assert choice["message"]["reasoning_content"] == "a long t"
    assert choice["message"]["content"] == ""


def test_usage_stands_in_the_last_choice_and_in_an_extra_chunk(api: Api) -> None:
    events = api.stream(model=K26).events
    assert events[-1]["choices"][0]["usage"]["total_tokens"] > 0
    assert not any("usage" in event for event in events)
    events = api.stream(model=K26, stream_options={"include_usage": True}).events
    assert events[-1]["choices"] == [] and events[-1]["usage"]["cached_tokens"] == 0
    assert events[-2]["choices"][0]["usage"] and events[-2]["usage"] is None
    assert events[0]["id"].startswith("cmpl-")


def test_a_partial_message_is_continued_without_its_prefix(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.answer = Answer("One, two, three.")
    prefix = {"role": "assistant", "content": "One, two", "partial": True, "name": "Al"}
    choice = ask(api, messages=[USER, prefix])
    assert choice["message"]["content"] == ", three."
    whole = {"role": "assistant", "content": "One, two"}
    assert ask(api, messages=[USER, whole])["message"]["content"] == "One, two, three."


@pytest.mark.parametrize("kind", ["builtin_function", "function"])
def test_a_search_goes_round_until_its_arguments_come_back(
    emulator: MoonshotEmulator, api: Api, kind: str
) -> None:
    emulator.knobs.search_rounds, emulator.knobs.search_type = 2, kind
    messages: list[dict[str, Any]] = [USER]
    more: dict[str, Any] = {"tools": [SEARCH], "thinking": OFF}
    for number in (1, 2):
        choice = ask(api, messages=messages, **more)
        assert choice["finish_reason"] == "tool_calls"
        (call,) = choice["message"]["tool_calls"]
        assert call["type"] == kind and call["function"]["name"] == "$web_search"
        assert call["id"] == f"t-web_search-00{number}"
        assert json.loads(call["function"]["arguments"])["search_result"]["search_id"]
        result = {
            "role": "tool",
            "tool_call_id": call["id"],
            "name": "$web_search",
            "content": call["function"]["arguments"],
        }
        assistant = {**choice["message"], "content": None}
        for wrong in ({"content": "found it"}, {"name": "search"}):
            bad = [*messages, assistant, {**result, **wrong}]
            reply = api.ask(model=K26, messages=bad, **more)
            assert reply.status == 400 and "unchanged" in reply.error["message"]
        messages += [assistant, result]
    reply = api.ask(model=K26, messages=messages, **more).json()
    assert reply["choices"][0]["finish_reason"] == "stop"
    assert reply["usage"]["prompt_tokens"] > 16_000
    assert reply["usage"]["total_tokens"] > reply["usage"]["prompt_tokens"]


def test_tool_calls_stream_in_the_shape_of_openai(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.answer = Answer(Choice("", reasoning="hm", tools=(ToolCall("fun", "{}"),)))
    reply = api.stream(model=K26)
    deltas = [delta for (delta,) in reply.deltas("tool_calls")]
    assert deltas[0]["index"] == 0 and deltas[0]["function"]["name"] == "fun"
    assert reply.events[-1]["choices"][0]["finish_reason"] == "tool_calls"


OWN = [name for name in MOONSHOT_ERRORS if name.startswith(("moonshot.", "code."))]


@pytest.mark.parametrize("name", OWN)
def test_every_error_can_be_had_with_a_wait(
    emulator: MoonshotEmulator, api: Api, name: str
) -> None:
    emulator.faults.add("refuse", error=name, wait=20)
    reply = api.ask(model=K26)
    row = MOONSHOT_ERRORS[name]
    assert (reply.status, reply.body) == (row.status, row.body())
    assert reply.headers["retry-after"] == "20"


@pytest.mark.parametrize(
    ("state", "status", "kind"),
    [
        ("invalid", 401, "invalid_authentication_error"),
        ("no_balance", 429, "exceeded_current_quota_error"),
        ("suspended", 429, "exceeded_current_quota_error"),
        ("rate_limited", 429, "rate_limit_reached_error"),
        ("busy", 429, "rate_limit_reached_error"),
    ],
)
def test_every_state_of_a_key_is_refused_where_it_matters(
    emulator: MoonshotEmulator, api: Api, state: str, status: int, kind: str
) -> None:
    emulator.set_key("alice", state=state, wait=Wait(7))
    reply = api.ask(model=K26)
    assert (reply.status, reply.error["type"]) == (status, kind)
    assert ("retry-after" in reply.headers) == (state in ("rate_limited", "busy"))
    invalid = state == "invalid"
    assert api.call("GET", "/models").status == (401 if invalid else 200)
    assert api.call("GET", "/users/me/balance").status == (401 if invalid else 200)


def test_the_seconds_in_a_rate_limit_are_one_unless_told(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.set_key("alice", state="rate_limited", wait=Wait(20, ("seconds",)))
    assert api.ask(model=K26).error["message"].endswith("after 1 seconds")
    emulator.set_key("alice", wait=Wait(20, ("text",)))
    reply = api.ask(model=K26)
    assert reply.error["message"].endswith("please try again after 20 seconds")
    assert "org-madeup" in reply.error["message"] and "<ak-" in reply.error["message"]
    assert "retry-after" not in reply.headers
    emulator.set_key("alice", wait=Wait(20, ("date",)))
    date = email.utils.parsedate_to_datetime(api.ask(model=K26).headers["retry-after"])
    assert date.timestamp() > time.time()


def test_one_request_more_than_the_organisation_may_run_is_refused(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.set_key("alice", max_parallel=0)
    reply = api.ask(model=K26)
    assert reply.status == 429 and "max concurrency" in reply.error["message"]


def test_keys_that_are_none_are_refused(emulator: MoonshotEmulator) -> None:
    for key, kind in (
        (None, "invalid_authentication_error"),
        ("sk-made-up-wrong", "invalid_authentication_error"),
        ("wrong", "incorrect_api_key_error"),
    ):
        reply = Api(emulator, key).ask(model=K26)
        assert (reply.status, reply.error["type"]) == (401, kind)


def test_a_balance_is_told_and_its_end_refuses_inference(
    emulator: MoonshotEmulator, api: Api
) -> None:
    told = api.call("GET", "/users/me/balance").json()
    assert told["code"] == 0 and told["scode"] == "0x0" and told["status"] is True
    assert told["data"] == {
        "available_balance": 49.58,
        "voucher_balance": 46.58,
        "cash_balance": 3.0,
    }
    emulator.set_key("alice", extra={"balance": -2.5})
    data = api.call("GET", "/users/me/balance").json()["data"]
    assert data["available_balance"] == data["cash_balance"] == -2.5
    reply = api.ask(model=K26)
    assert reply.status == 429 and "balance" in reply.error["message"]
    emulator.set_key("alice", extra={"balance": 0.0, "balance_status": 403})
    assert api.ask(model=K26).status == 403


def test_tokens_are_estimated(emulator: MoonshotEmulator, api: Api) -> None:
    path = "/tokenizers/estimate-token-count"
    body = {"model": K26, "messages": [USER]}
    assert api.call("POST", path, body).json() == {"data": {"total_tokens": 5}}
    emulator.knobs.old_estimate = True
    assert api.call("POST", path, body).json()["scode"] == "0x0"
    assert api.call("POST", path, {"model": "x", "messages": []}).status == 404
    assert api.call("POST", path, {"model": K26}).status == 400


def test_a_files_text_comes_inside_json(emulator: MoonshotEmulator, api: Api) -> None:
    purpose, file = (
        ("purpose", None, b"file-extract"),
        ("file", "a.pdf", "你好".encode()),
    )
    made = api.post_form("/files", purpose, file).json()
    assert made["status"] == "ok" and made["object"] == "file"
    told = api.call("GET", f"/files/{made['id']}/content").json()
    assert told == {
        "content": "你好",
        "file_type": "application/pdf",
        "filename": "a.pdf",
        "title": "",
        "type": "file",
    }
    emulator.knobs.raw_content = True
    assert api.call("GET", f"/files/{made['id']}/content").body == "你好".encode()
    assert api.call("DELETE", f"/files/{made['id']}").json()["deleted"]
    reply = api.call("GET", f"/files/{made['id']}")
    assert reply.status == 404 and reply.error["type"] == "resource_not_found_error"


def test_wrong_uploads_are_refused(emulator: MoonshotEmulator, api: Api) -> None:
    good = ("purpose", None, b"file-extract")
    file = ("file", "a.txt", b"text")

    def trouble(*parts: tuple[str, str | None, bytes]) -> tuple[int, str]:
        reply = api.post_form("/files", *parts)
        return reply.status, reply.error["message"]

    wrong = ("purpose", None, b"assistants")
    assert trouble(wrong, file) == (
        400,
        "Invalid purpose: only 'file-extract' accepted",
    )
    status, message = trouble(good, ("file", "a.txt", b""))
    assert status == 400 and message.startswith("File size is zero")
    emulator.knobs.file_size_limit = 3
    assert trouble(good, file)[1].startswith("File size is too large")
    emulator.knobs.file_size_limit, emulator.knobs.file_limit = 4, 1
    emulator.faults.add("extract_fails")
    assert trouble(good, file) == (500, "Failed to extract file: made-up reason")
    assert api.post_form("/files", good, file).status == 200
    assert trouble(good, file)[1].startswith("The number of files")


@pytest.mark.parametrize(
    ("window", "status"),
    [
        *((window, 200) for window in ("12h", "24h", "168h", "1d", "7d")),
        *((window, 400) for window in ("11h", "169h", "8d", "soon")),
    ],
)
def test_a_batch_may_take_half_a_day_to_a_week(
    api: Api, window: str, status: int
) -> None:
    file = ("file", "b.jsonl", b"{}")
    made = api.post_form("/files", ("purpose", None, b"batch"), file).json()
    body = {
        "input_file_id": made["id"],
        "endpoint": "/v1/chat/completions",
        "completion_window": window,
    }
    assert api.call("POST", "/batches", body).status == status


def test_a_batch_takes_batch_files_for_chat_only(api: Api) -> None:
    body = {"endpoint": "/v1/chat/completions", "completion_window": "1d"}
    for purpose, changed in ((b"image", {}), (b"batch", {"endpoint": "/v1/files"})):
        file = ("file", "b", b"{}")
        made = api.post_form("/files", ("purpose", None, purpose), file).json()
        wrong = {**body, "input_file_id": made["id"], **changed}
        assert api.call("POST", "/batches", wrong).status == 400


def test_one_model_only_has_responses(api: Api) -> None:
    body = {"model": "kimi-k3", "input": "x"}
    assert api.call("POST", "/responses", body).json()["status"] == "completed"
    assert api.call("POST", "/responses", {**body, "model": K26}).status == 400


def test_the_successor_of_the_search_answers_within_its_limits(api: Api) -> None:
    body = {"text_query": "tea", "limit": 2, "include_content": True}
    rows = api.call("POST", "/tools/search", body).json()["search_results"]
    assert len(rows) == 2 and rows[0]["content"] and rows[0]["title"] == "tea 1"
    assert api.call("POST", "/tools/fetch", {"url": "https://x.example"}).status == 200
    for wrong in ({"limit": 0}, {"limit": 21}, {"timeout_seconds": 61}):
        assert api.call("POST", "/tools/search-pro", {**body, **wrong}).status == 400
    assert api.call("POST", "/tools/search", {}).status == 400


@pytest.mark.parametrize(
    "path", ["/embeddings", "/audio/speech", "/moderations", "/completions"]
)
def test_what_the_platform_has_not_is_not_found(api: Api, path: str) -> None:
    reply = api.call("POST", path, {})
    assert reply.status == 404 and reply.error["message"] == "method not found"


def test_a_whole_answer_that_takes_too_long_is_a_504(
    emulator: MoonshotEmulator, api: Api
) -> None:
    emulator.knobs.answer_limit = 0.05
    emulator.answer = Answer("slow", first_delay=0.1)
    reply = api.ask(model=K26)
    assert reply.status == 504 and reply.body == b""
    assert api.stream(model=K26).done
