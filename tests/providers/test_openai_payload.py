"""What goes up to upstreams that are not quite as OpenAI is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Effort, Message
from kimi_proxy.config.preset import PRESETS
from kimi_proxy.providers.openai_effort import nearest
from kimi_proxy.providers.openai_model import Listed, Switch, listed
from kimi_proxy.providers.openai_payload import HONOURED, payload
from kimi_proxy.providers.openai_quirk import Quirks

HELLO = {"role": "user", "content": "hi"}


def quirks(preset: str) -> Quirks:
    return Quirks(**PRESETS[preset].quirks)


def asked(body: dict[str, Any], **fields: Any) -> ChatRequest:
    body = {"messages": [HELLO], **body}
    return ChatRequest("m", (Message("user", "hi"),), body=body, relays=True, **fields)


def sent(
    body: dict[str, Any], ways: Quirks | str, known: Listed | None = None, **fields: Any
) -> dict[str, Any]:
    """What goes up; the client's own body has to stay as it was."""
    ways = quirks(ways) if isinstance(ways, str) else ways
    request = asked(body, **fields)
    before = deepcopy(request.body)
    honours = HONOURED - set(ways.unsupported)
    made = payload(request, honours, ways, known)
    assert request.body == before
    return made


def model(thinking: Switch | None, *efforts: str) -> Listed:
    row = {
        "id": "m",
        "supports_thinking_type": thinking,
        "think_efforts": {"support": bool(efforts), "valid_efforts": list(efforts)},
    }
    return listed({"data": [row]}, "up")[0]


def test_unknown_fields_go_up_untouched() -> None:
    odd = {"odd": [1, {"a": None}], "prompt_cache_key": "k", "safety_identifier": "s"}
    made = sent(odd, Quirks())
    assert {name: made[name] for name in odd} == odd
    assert made["messages"] == [HELLO]


@pytest.mark.parametrize(
    ("preset", "name"),
    [
        ("openai", "max_tokens"),
        ("moonshot-cn", "max_completion_tokens"),
        ("mistral", "max_tokens"),
        ("deepseek", "max_tokens"),
    ],
)
@pytest.mark.parametrize("told", ["max_tokens", "max_completion_tokens"])
def test_the_limit_goes_by_the_name_that_is_known(
    preset: str, name: str, told: str
) -> None:
    made = sent({told: 7}, preset, sampling={told: 7})
    wanted = told if preset == "openai" else name
    assert {n: made[n] for n in made if n.startswith("max_")} == {wanted: 7}


def test_of_two_limits_the_newer_name_counts() -> None:
    both = {"max_tokens": 7, "max_completion_tokens": 9}
    assert sent(both, "mistral", sampling=both)["max_tokens"] == 9


def test_usage_is_asked_for_only_where_the_question_is_known() -> None:
    streamed = sent({}, "openai", stream=True)
    assert streamed["stream_options"] == {"include_usage": True}
    options = {"stream_options": {"include_usage": True}}
    assert "stream_options" not in sent(options, "mistral", stream=True)
    assert "stream_options" not in sent(options, "openai")


@pytest.mark.parametrize(
    ("preset", "role"), [("openai", "developer"), ("zai", "system")]
)
def test_a_role_that_is_unknown_becomes_the_one_it_stands_for(
    preset: str, role: str
) -> None:
    told = {"role": "developer", "content": "be kind", "name": "x"}
    made = sent({"messages": [told, HELLO]}, preset)
    assert made["messages"] == [{**told, "role": role}, HELLO]


def test_unsupported_parameters_are_left_out() -> None:
    given = {"presence_penalty": 1, "temperature": 0.5}
    made = sent(given, "zhipu", sampling=given)
    assert "presence_penalty" not in made and made["temperature"] == 0.5


def test_nothing_is_sent_that_nobody_asked_for() -> None:
    for preset in PRESETS:
        made = sent({}, preset)
        assert made == {"messages": [HELLO], "model": "m", "stream": False}, preset


@pytest.mark.parametrize(
    ("preset", "effort", "fields"),
    [
        ("openai", "max", {"reasoning_effort": "xhigh"}),
        ("openai", "none", {"reasoning_effort": "none"}),
        ("gemini", "low", {"reasoning_effort": "low"}),
        ("dashscope-cn", "low", {"enable_thinking": True}),
        ("dashscope-cn", "none", {"enable_thinking": False}),
        ("zai", "high", {"thinking": {"type": "enabled"}}),
        ("zai", "none", {"thinking": {"type": "disabled"}}),
        (
            "deepseek",
            "medium",
            {"thinking": {"type": "enabled"}, "reasoning_effort": "high"},
        ),
        ("deepseek", "none", {"thinking": {"type": "disabled"}}),
        ("openrouter", "low", {"reasoning": {"effort": "low"}}),
        ("kimi-code", "medium", {"reasoning_effort": "high"}),
    ],
)
@pytest.mark.parametrize("told", [{}, {"thinking": {"type": "enabled"}}])
def test_how_hard_to_think_is_said_as_the_upstream_says_it(
    preset: str, effort: Effort, fields: dict[str, Any], told: dict[str, Any]
) -> None:
    native = quirks(preset).thinking
    if native in told:
        return
    made = sent(told, preset, effort=effort)
    forms = ("reasoning_effort", "thinking", "enable_thinking", "reasoning")
    assert {name: made[name] for name in forms if name in made} == fields


def test_what_the_client_says_in_the_upstreams_own_form_is_kept() -> None:
    told = {"thinking": {"type": "enabled", "keep": "all"}}
    made = sent(told, "moonshot-cn", model("both"), effort="medium")
    assert made["thinking"] == told["thinking"] and "reasoning_effort" not in made
    rare = {"reasoning_effort": "minimal", "thinking": {"odd": 1}}
    made = sent(rare, "openai", effort="low")
    assert (made["reasoning_effort"], made["thinking"]) == ("minimal", {"odd": 1})


@pytest.mark.parametrize(
    ("known", "effort", "fields"),
    [
        (model("only", "low", "high", "max"), "medium", {"reasoning_effort": "high"}),
        (model("only", "low", "high", "max"), "none", {"reasoning_effort": "low"}),
        (model("only"), "none", {}),
        (model("only"), "high", {}),
        (model("no"), "high", {}),
        (model("both"), "high", {"thinking": {"type": "enabled"}}),
        (model("both"), "none", {"thinking": {"type": "disabled"}}),
        (model("both", "low", "max"), "none", {"thinking": {"type": "disabled"}}),
        (None, "none", {"thinking": {"type": "disabled"}}),
    ],
)
def test_what_a_model_is_listed_with_decides(
    known: Listed | None, effort: Effort, fields: dict[str, Any]
) -> None:
    made = sent({"enable_thinking": True}, "moonshot-cn", known, effort=effort)
    forms = ("reasoning_effort", "thinking", "enable_thinking")
    assert {name: made[name] for name in forms if name in made} == fields


def test_the_harder_of_two_equally_near_words_is_taken() -> None:
    assert nearest("medium", ("low", "high")) == "high"
    assert nearest("max", ("none", "low")) == "low"
    assert nearest("low", ("odd",)) == "low"


def test_an_empty_text_beside_tool_calls_is_none_where_it_is_refused() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    told = {"role": "assistant", "content": "", "tool_calls": [call]}
    result = {"role": "tool", "tool_call_id": "c", "content": "1"}
    body = {"messages": [HELLO, told, result]}
    assert sent(body, "moonshot-cn")["messages"][1]["content"] is None
    assert sent(body, "openai")["messages"][1]["content"] == ""


def test_long_call_ids_are_shortened_alike_wherever_they_are() -> None:
    long, other = "call_" + "x" * 80, "call_" + "x" * 81
    calls = [
        {"id": n, "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for n in (long, other, "short")
    ]
    messages = [
        HELLO,
        {"role": "assistant", "content": None, "tool_calls": calls},
        *({"role": "tool", "tool_call_id": c["id"], "content": "1"} for c in calls),
    ]
    made = sent({"messages": messages}, "moonshot-cn")["messages"]
    ids = [c["id"] for c in made[1]["tool_calls"]]
    assert [m["tool_call_id"] for m in made[2:]] == ids
    assert len(set(ids)) == 3 and max(map(len, ids)) == 64 and ids[2] == "short"
    assert sent({"messages": messages}, "openai")["messages"] == messages


def test_schemas_are_written_plainly_where_that_is_wanted() -> None:
    schema = {"properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"enum": [1]}}}
    tool = {"type": "function", "function": {"name": "f", "parameters": schema}}
    form = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    body = {"tools": [tool, {"type": "odd"}], "response_format": form}
    made = sent(body, "moonshot-cn")
    plain = {
        "type": "object",
        "properties": {"a": {"type": "integer", "enum": [1]}},
    }
    assert made["tools"][0]["function"]["parameters"] == plain
    assert made["tools"][1] == {"type": "odd"}
    assert made["response_format"]["json_schema"] == {"name": "x", "schema": plain}
    assert sent(body, "openai")["tools"] == body["tools"]
