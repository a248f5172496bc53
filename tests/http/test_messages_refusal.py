"""What a Messages request is refused for, by the field the client wrote."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kimi_proxy.dialects import anthropic_request
from kimi_proxy.errors import InvalidRequest, Unsupported
from tests.http.test_messages_request import WEATHER, parse, text, turn


def refusal(**fields: Any) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as refused:
        parse(**fields)
    return refused.value


def block(kind: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [turn({"type": kind, **fields})]}


FIRST = "messages.0.content.0"
USE = {"type": "tool_use", "id": "a", "name": "a", "input": {}}
IMAGE = {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}}
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"max_tokens": ...}, "max_tokens"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"max_tokens": "9"}, "max_tokens"),
    ({"model": ...}, "model"),
    ({"model": ""}, "model"),
    ({"messages": []}, "messages"),
    ({"messages": ...}, "messages"),
    ({"messages": [turn(text(" "))]}, "messages"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "messages.0.role"),
    ({"messages": [{"role": "user"}]}, "messages.0.content"),
    ({"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
    ({"messages": [turn({"text": "a"})]}, f"{FIRST}.type"),
    ({"system": [{"type": "image"}]}, "system.0"),
    ({"temperature": 1.5}, "temperature"),
    ({"stream": "yes"}, "stream"),
    ({"metadata": {"user_id": 5}}, "metadata.user_id"),
    ({"thinking": {"type": "much"}}, "thinking.type"),
    ({"output_config": {"effort": "some"}}, "output_config.effort"),
    ({"output_config": {"format": {"type": "xml"}}}, "output_config.format.type"),
    ({"output_format": {"type": "json_schema"}}, "output_format.schema"),
    ({"stop_sequences": ["x" * 1025]}, "stop_sequences"),
    ({"stop_sequences": [5]}, "stop_sequences.0"),
    ({"thread": {"type": "create"}}, "thread"),
    ({"compaction": {"type": "summarize"}}, "compaction"),
    ({"mcp_servers": [{"type": "url", "url": "https://a.example"}]}, "mcp_servers"),
    ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "tools.0.type"),
    ({"tools": [{"type": 5, "name": "bash"}]}, "tools.0.type"),
    ({"tools": [{**WEATHER, "name": "get weather"}]}, "tools.0.name"),
    ({"tools": [{**WEATHER, "description": 5}]}, "tools.0.description"),
    ({"tools": [{"name": "a"}]}, "tools.0.input_schema"),
    (
        {"tools": [{**WEATHER, "input_schema": {"type": "string"}}]},
        "tools.0.input_schema",
    ),
    ({"tools": [WEATHER, WEATHER]}, "tools.1"),
    ({"tool_choice": {"type": "any"}}, "tool_choice"),
    ({"tools": [WEATHER], "tool_choice": {"type": "tool"}}, "tool_choice.name"),
    (
        {"tools": [WEATHER], "tool_choice": {"type": "tool", "name": "x"}},
        "tool_choice.name",
    ),
    (block("text"), f"{FIRST}.text"),
    (block("image"), f"{FIRST}.source"),
    (block("image", source="https://a.example"), f"{FIRST}.source"),
    (block("image", source={"type": "base64"}), f"{FIRST}.source.data"),
    (
        block("image", source={"type": "base64", "data": "%%%"}),
        f"{FIRST}.source.data",
    ),
    (block("image", source={"type": "url"}), f"{FIRST}.source.url"),
    (
        block("image", source={"type": "url", "url": "file:///etc/passwd"}),
        f"{FIRST}.source.url",
    ),
    (block("image", source={"type": "file"}), f"{FIRST}.source.file_id"),
    (block("image", source={"type": "s3"}), f"{FIRST}.source.type"),
    (block("document", source={"type": "text"}), f"{FIRST}.source.data"),
    (block("search_result", title="A"), FIRST),
    (block("tool_use", name="a", input={}), f"{FIRST}.id"),
    (block("tool_use", id="a", input={}), f"{FIRST}.name"),
    (block("tool_use", id="a", name="a", input=[1]), f"{FIRST}.input"),
    (block("tool_result", content="a"), f"{FIRST}.tool_use_id"),
    (block("tool_result", tool_use_id="a", content={}), f"{FIRST}.content"),
    (
        block("tool_result", tool_use_id="a", content=[{"type": "hologram"}]),
        f"{FIRST}.content.0",
    ),
    (block("hologram"), FIRST),
    # What nobody would read: it is refused, not lost.
    ({"messages": [turn(USE)]}, "messages.0.content"),
    (
        block("document", source={"type": "content", "content": [USE]}),
        f"{FIRST}.source.content",
    ),
    (
        block("search_result", source="s", title="t", content=[IMAGE]),
        f"{FIRST}.content.0",
    ),
]


@pytest.mark.parametrize(("fields", "param"), WRONG, ids=lambda v: str(v)[:60])
def test_what_is_wrong_is_named(fields: dict[str, Any], param: str) -> None:
    assert refusal(**fields).param == param


def test_what_is_understood_but_cannot_be_done_says_so() -> None:
    tool = {"type": "code_execution_20250825", "name": "code_execution"}
    assert isinstance(refusal(tools=[tool]), Unsupported)
    assert isinstance(refusal(**block("container_upload", file_id="f")), Unsupported)


def test_what_changes_no_count_is_no_hindrance_to_counting() -> None:
    asked = {"model": "m", "messages": [turn(text("a"))], "mcp_servers": []}
    anthropic_request.parse({**asked, "max_tokens": 9})
    foreign = {"compaction": {"type": "summarize"}, "thread": {"type": "create"}}
    anthropic_request.parse({**asked, **foreign}, counts_only=True)


@pytest.mark.parametrize("body", [None, [], "x", 5])
def test_the_body_is_an_object(body: object) -> None:
    with pytest.raises(InvalidRequest, match="must be a JSON object"):
        anthropic_request.parse(body)


LEAF = st.none() | st.booleans() | st.integers(-2, 9) | st.text(max_size=3)
KINDS = st.sampled_from(
    [
        "text",
        "thinking",
        "image",
        "document",
        "tool_use",
        "tool_result",
        "search_result",
    ]
)
SOME = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.fixed_dictionaries(
            {"type": KINDS},
            optional={
                name: inner
                for name in ("text", "source", "content", "input", "id", "name", "data")
            },
        )
    ),
    max_leaves=12,
)


@given(SOME, SOME, SOME)
def test_whatever_comes_is_understood_or_refused(
    content: Any, system: Any, tools: Any
) -> None:
    try:
        asked = parse(
            messages=[{"role": "user", "content": content}], system=system, tools=tools
        )
    except InvalidRequest as exc:
        assert exc.message
    else:
        assert asked.messages
        json.dumps([call.arguments for m in asked.messages for call in m.tool_calls])
