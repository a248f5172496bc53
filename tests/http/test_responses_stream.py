"""Whatever an upstream says comes as a grammatical stream, and whole as the same."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.http import expect, responses_grammar
from tests.http.conftest import Build, house
from tests.http.responses_house import PLAY, Asking, steps

CUSTOM = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
SHELL = {"type": "local_shell"}
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object"}}
SPACE = {"type": "namespace", "name": "crm", "tools": [FUNCTION, CUSTOM]}


CONFIG = {"timeouts": {"hold": 0.3, "keep_alive": 0.1}}


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    with house(tmp_path_factory.mktemp("responses"), CONFIG) as made:
        yield Asking(made)


@pytest.fixture
def fresh(build: Build) -> Asking:
    """A gateway whose account nothing is held against."""
    return Asking(build(**CONFIG))


def calling(*calls: tuple[int, str, str]) -> list[Any]:
    """Steps that call tools: index, name, arguments in pieces of five."""
    said: list[Any] = []
    for index, name, arguments in calls:
        said.append(["call", index, f"call_{index}", name, ""])
        for at in range(0, len(arguments), 5):
            said.append(["call", index, None, None, arguments[at : at + 5]])
    return [*said, ["finish", "tool_calls"]]


ANSWERS: dict[str, list[Any]] = {
    "text": [["text", "Hal"], ["text", "lo 界 😀"], ["finish"]],
    "nothing": [["finish"]],
    "thinking only": [["think", "hm"], ["finish"]],
    "thinking, text": [["think", "h"], ["think", "m"], ["text", "a"], ["finish"]],
    "text, thinking, text": [["text", "a"], ["think", "b"], ["text", "c"], ["finish"]],
    "sources": [["text", "It is."], ["cite", "https://x.example", "X"], ["finish"]],
    "a source first": [["cite", "https://x.example", "X"], ["text", "a"], ["finish"]],
    "a call": calling((0, "f", '{"a": 1}')),
    "calls": calling((0, "f", '{"a": 1}'), (1, "f", "{}")),
    "a call without arguments": [["call", 0, "c", "f", ""], ["finish", "tool_calls"]],
    "text, call": [["text", "So:"], *calling((0, "f", "{}"))],
    "usage": [["text", "a"], ["usage", 3, 4, 2, 1], ["finish"]],
    "cut by length": [["text", "a"], ["finish", "length"]],
    "cut within a call": [["call", 0, "c", "f", '{"a'], ["finish", "length"]],
    "moderated": [["finish", "content_filter"]],
    "thinking cut": [["think", "a"], ["finish", "length"]],
}


@pytest.mark.parametrize("summary", [None, "auto"])
@pytest.mark.parametrize("name", ANSWERS)
def test_a_stream_says_what_the_whole_answer_says(
    ask: Asking, name: str, summary: str | None
) -> None:
    asked = {"input": steps(*ANSWERS[name]), "reasoning": {"summary": summary}}
    streamed, whole = ask.stream(**asked), ask.whole(**asked)
    told = streamed.response
    assert streamed.text == responses_grammar.text_of(whole)
    assert streamed.thought == responses_grammar.thought_of(whole)
    assert [_plain(c) for c in streamed.calls] == [
        _plain(i) for i in whole["output"] if i["type"] == "function_call"
    ]
    same = ("status", "incomplete_details", "usage", "error")
    assert [told[k] for k in same] == [whole[k] for k in same]


def _plain(call: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in call.items() if k != "id"}


def test_an_answer_that_is_cut_says_why(ask: Asking) -> None:
    for reason, told in (
        ("length", "max_output_tokens"),
        ("content_filter", "content_filter"),
    ):
        stream = ask.stream(input=steps(["text", "a"], ["finish", reason]))
        assert stream.kinds[-1] == "incomplete"
        assert stream.response["incomplete_details"] == {"reason": told}
        assert stream.response["output"][-1]["status"] == "incomplete"


def test_a_refusal_is_a_part_of_its_own(ask: Asking) -> None:
    said = steps(["refuse", "I will "], ["refuse", "not."], ["finish"])
    stream, whole = ask.stream(input=said), ask.whole(input=said)
    for response in (stream.response, whole):
        assert responses_grammar.refusal_of(response) == "I will not."
        assert responses_grammar.text_of(response) == ""
        assert response["status"] == "completed"
    assert "refusal.done" in stream.kinds
    mixed = ask.stream(input=steps(["text", "a"], ["refuse", "b"], ["finish"]))
    assert mixed.text == "a"
    assert responses_grammar.refusal_of(mixed.response) == "b"


def test_calls_that_come_interleaved_are_told_one_after_the_other(ask: Asking) -> None:
    said: list[Any] = [
        ["call", 0, "c0", "f", '{"a"'],
        ["call", 1, "c1", "f", '{"b"'],
        ["call", 0, None, None, ": 1}"],
        ["call", 1, None, None, ": 2}"],
        ["finish", "tool_calls"],
    ]
    calls = ask.stream(input=steps(*said)).calls
    assert [(c["call_id"], c["arguments"]) for c in calls] == [
        ("c0", '{"a": 1}'),
        ("c1", '{"b": 2}'),
    ]


def test_a_whole_call_does_not_wait_for_the_next_one(ask: Asking) -> None:
    kinds = ask.stream(input=steps(*calling((0, "f", "{}"), (1, "f", "{}")))).kinds
    assert kinds[2:6] == kinds[6:10]
    assert kinds[5] == "output_item.done"


@pytest.mark.parametrize("arguments", ['{"input": "*** Begin\\n界"}', "*** Begin\n界"])
def test_a_custom_tool_is_called_with_plain_text(ask: Asking, arguments: str) -> None:
    said = steps(*calling((0, "apply_patch", arguments)))
    stream = ask.stream(input=said, tools=[CUSTOM])
    (call,) = stream.calls
    assert (call["type"], call["name"]) == ("custom_tool_call", "apply_patch")
    assert call["input"] == "*** Begin\n界"
    assert "custom_tool_call_input.done" in stream.kinds


def test_the_local_shell_is_called_with_a_command(ask: Asking) -> None:
    wanted = {"command": ["ls", "-l"], "working_directory": "/src", "timeout_ms": 9}
    said = steps(*calling((0, "local_shell", json.dumps(wanted))))
    (call,) = ask.stream(input=said, tools=[SHELL]).calls
    assert call["type"] == "local_shell_call"
    assert call["action"] == {"type": "exec", "env": {}, **wanted}


def test_a_tool_of_a_namespace_is_called_by_its_own_name(ask: Asking) -> None:
    (call,) = ask.stream(
        input=steps(*calling((0, "crm__f", "{}"))), tools=[SPACE]
    ).calls
    assert (call["namespace"], call["name"]) == ("crm", "f")


def test_thinking_is_packed_for_clients_that_keep_it(ask: Asking) -> None:
    stream = ask.stream(
        input=steps(["think", "a secret plan"], ["text", "b"], ["finish"]),
        include=["reasoning.encrypted_content"],
        store=False,
    )
    thought, _ = stream.response["output"]
    assert thought["encrypted_content"].startswith("kp1.")
    assert "plan" not in thought["encrypted_content"]


def test_an_estimate_of_usage_says_so(ask: Asking) -> None:
    usage = ask.stream(input="Say this again").response["usage"]
    assert usage["estimated"] is True and usage["input_tokens"] > 0
    counted = ask.whole(input=steps(["usage", 3, 4, 2, 1], ["finish"]))["usage"]
    assert counted == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 1},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 7,
    }


def test_a_silence_is_filled_with_comments(ask: Asking) -> None:
    stream = ask.stream(
        input=steps(["wait", 0.7], ["text", "a"], ["wait", 0.3], ["finish"])
    )
    assert stream.keep_alives >= 2
    assert stream.text == "a"


FAILURES = {
    "UpstreamCut": "server_error",
    "UpstreamRateLimited": "rate_limit_exceeded",
    "AccountExhausted": "insufficient_quota",
    "ContextTooLong": "context_length_exceeded",
    "ContentRefused": "invalid_prompt",
    "InternalError": "server_error",
}


@pytest.mark.parametrize("error", FAILURES)
def test_a_failure_in_the_middle_is_told(fresh: Asking, error: str) -> None:
    stream = fresh.stream(input=steps(["text", "a"], ["raise", error]))
    told = stream.response["error"]
    too_long = "prompt is too long: " if error == "ContextTooLong" else ""
    assert told == {"code": FAILURES[error], "message": f"{too_long}a scripted {error}"}


def test_of_an_answer_that_fails_no_open_item_ends(ask: Asking) -> None:
    begun: list[Any]
    for begun in (["text", "a"], ["think", "a"], ["call", 0, "c", "f", '{"a']):
        stream = ask.stream(input=steps(begun, ["raise", "ContentRefused"]))
        assert stream.kinds[-1] == "failed"
        assert "output_item.done" not in stream.kinds
        assert len(stream.response["output"]) == 1


def test_a_failure_after_the_headers_but_before_any_word_is_told(
    fresh: Asking,
) -> None:
    stream = fresh.stream(input=steps(["wait", 0.6], ["raise", "UpstreamFailed"]))
    assert stream.kinds == ["created", "in_progress", "failed"]


def test_a_defect_and_an_answer_without_an_end_are_failures(fresh: Asking) -> None:
    last: list[Any]
    for last in (["defect"], ["alien"], ["end"]):
        stream = fresh.stream(input=steps(["text", "a"], last))
        assert stream.kinds[-1] == "failed"


def test_a_failure_before_the_first_word_is_an_error_object(fresh: Asking) -> None:
    for stream in (True, False):
        answer = fresh.post(input=steps(["raise", "UpstreamFailed"]), stream=stream)
        expect.error(answer, 503, "upstream_failed")


def test_the_request_is_told_back(ask: Asking) -> None:
    asked: dict[str, Any] = {
        "instructions": "Be kind.",
        "metadata": {"a": "b"},
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
        "parallel_tool_calls": False,
        "tools": [FUNCTION],
        "tool_choice": "none",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"format": {"type": "text"}, "verbosity": "low"},
        "user": "tag",
        "safety_identifier": "s",
        "prompt_cache_key": "k",
        "truncation": "auto",
        "store": False,
    }
    made = ask.whole(input=steps(["text", "a"], ["finish"]), **asked)
    assert {name: made[name] for name in asked} == asked
    assert made["model"] == PLAY
