"""What a Messages request means, field by field."""

import base64
from typing import Any

import pytest

from kimi_proxy.chat import (
    Attachment,
    ChatRequest,
    Effort,
    JsonFormat,
    Message,
    Tool,
    ToolCall,
    ToolChoice,
)
from kimi_proxy.dialects import anthropic_request

HELLO = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}
SEARCH = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
PNG = base64.b64encode(b"png").decode()


def parse(**fields: Any) -> ChatRequest:
    body = {"model": "m", "max_tokens": 9, "messages": [HELLO], **fields}
    return anthropic_request.parse({k: v for k, v in body.items() if v is not ...})


def turn(*blocks: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(blocks)}


def text(said: str, **more: Any) -> dict[str, Any]:
    return {"type": "text", "text": said, **more}


def read(*turns: Any) -> tuple[Message, ...]:
    return parse(messages=list(turns)).messages


def test_directions_are_a_text_or_blocks_and_come_first() -> None:
    cached = text("Be brief.", cache_control={"type": "ephemeral", "ttl": "1h"})
    for system in ("Be brief.\nBe kind.", [cached, text("Be kind.")]):
        told, asked = parse(system=system).messages
        assert told == Message("system", "Be brief.\nBe kind.")
        assert asked == Message("user", "hi")
    nothing: Any
    for nothing in ("", [], None, ...):
        assert parse(system=nothing).messages == (Message("user", "hi"),)
    billing = text("x-anthropic-billing-header: cc_version=2.1; cch=0a1b2;")
    assert parse(system=[billing, cached]).messages[0].text == "Be brief."
    midway = read(HELLO, {"role": "system", "content": "Now in French."})
    assert midway[1] == Message("system", "Now in French.")


def test_content_is_a_text_or_blocks() -> None:
    assert read({"role": "user", "content": "a"}) == (Message("user", "a"),)
    assert read(turn(text("a"), text("b"))) == (Message("user", "a\nb"),)
    answer = turn(text("a"), text("b"), role="assistant")
    assert read(HELLO, answer)[1] == Message("assistant", "ab")


def test_calls_and_results_find_each_other() -> None:
    call = {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "北京"}}
    bare = {"type": "tool_use", "id": "t2", "name": "wait", "input": {}}
    results = [
        {"type": "tool_result", "tool_use_id": "t1", "content": "sunny"},
        {
            "type": "tool_result",
            "tool_use_id": "t2",
            "is_error": True,
            "content": [text("no"), text("never")],
            "cache_control": {"type": "ephemeral"},
        },
    ]
    _, said, *rest = read(
        HELLO,
        turn(text("I look."), call, bare, role="assistant"),
        turn(text("And now?"), *results),
    )
    assert said.text == "I look."
    assert said.tool_calls == (
        ToolCall("t1", "look", '{"at":"北京"}'),
        ToolCall("t2", "wait", "{}"),
    )
    assert rest == [
        Message("tool", "sunny", tool_call_id="t1"),
        Message("tool", "The tool reported an error:\nno\nnever", tool_call_id="t2"),
        Message("user", "And now?"),
    ]


def test_a_result_may_be_nothing_and_may_be_all() -> None:
    content: Any
    for content in ({}, {"content": ""}, {"content": []}, {"content": None}):
        nothing = {"type": "tool_result", "tool_use_id": "t", **content}
        assert read(HELLO, turn(nothing))[1:] == (
            Message("tool", "", tool_call_id="t"),
        )
    assert read(turn({"type": "tool_result", "tool_use_id": "t", "content": "x"}))


def test_a_result_may_be_an_image() -> None:
    image = {"type": "image", "source": {"type": "url", "url": "https://a.example/b"}}
    told = {"type": "tool_result", "tool_use_id": "t", "content": [text("a"), image]}
    (message,) = read(turn(told))
    place = "messages.0.content.0.content.1.source.url"
    found = Attachment("image", place, url="https://a.example/b")
    assert message == Message("tool", "a", tool_call_id="t", attachments=(found,))


@pytest.mark.parametrize("kind", ["image", "document"])
def test_files_are_attached(kind: str) -> None:
    media = "image/png" if kind == "image" else "application/pdf"
    sources = [
        {"type": "base64", "media_type": media, "data": PNG},
        {"type": "url", "url": "https://a.example/b"},
        {"type": "file", "file_id": "file-1"},
    ]
    (message,) = read(
        turn(text("Look."), *({"type": kind, "source": s} for s in sources))
    )
    what: Any = "image" if kind == "image" else "file"
    base = "messages.0.content"
    assert message.text == "Look."
    assert message.attachments == (
        Attachment(what, f"{base}.1.source.data", data=b"png", media_type=media),
        Attachment(what, f"{base}.2.source.url", url="https://a.example/b"),
        Attachment(what, f"{base}.3.source.file_id", file_id="file-1"),
    )


def test_a_document_of_text_is_text() -> None:
    plain = {
        "type": "document",
        "title": 'The "Plan"',
        "context": "of 2024",
        "source": {"type": "text", "media_type": "text/plain", "data": "Do it."},
        "citations": {"enabled": True},
    }
    image = {"type": "image", "source": {"type": "file", "file_id": "file-1"}}
    mixed = {
        "type": "document",
        "source": {"type": "content", "content": [text("See."), image]},
    }
    (message,) = read(turn(plain, mixed))
    assert message.text == (
        '<document title="The &quot;Plan&quot;" context="of 2024">\nDo it.\n</document>'
        "\n<document>\nSee.\n</document>"
    )
    assert [a.file_id for a in message.attachments] == ["file-1"]


def test_a_document_keeps_its_title_and_what_is_told_of_it() -> None:
    source = {"type": "base64", "media_type": "application/pdf", "data": PNG}
    paper = {"type": "document", "title": "a.pdf", "context": "old", "source": source}
    (message,) = read(turn(paper))
    assert message.attachments[0].name == "a.pdf"
    assert 'context="old"' in message.text


def test_search_results_are_text() -> None:
    found = {
        "type": "search_result",
        "title": "A",
        "source": "https://a.example",
        "content": [text("one"), text("two")],
    }
    (message,) = read(turn(found))
    assert message.text == (
        '<search_result title="A" url="https://a.example">\none\ntwo\n</search_result>'
    )


def test_thinking_comes_back_and_what_others_have_sealed_is_passed_over() -> None:
    sealed = [
        {"type": "redacted_thinking", "data": "x"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
        {
            "type": "web_search_tool_result",
            "tool_use_id": "s",
            "content": [{"type": "web_search_result", "encrypted_content": "x"}],
        },
        {
            "type": "web_fetch_tool_result",
            "tool_use_id": "s",
            "content": {"type": "web_fetch_tool_error", "error_code": "x"},
        },
    ]
    thought = [
        {"type": "thinking", "thinking": "First. ", "signature": "whose ever"},
        {"type": "thinking", "thinking": "Then.", "signature": ""},
    ]
    said = text("So.", citations=[{"type": "char_location", "cited_text": "x"}])
    _, back = read(HELLO, turn(*thought, *sealed, said, role="assistant"))
    assert back == Message("assistant", "So.", reasoning="First. Then.")


def test_an_answer_that_says_nothing_is_no_turn() -> None:
    thought = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    for blocks in ([], [thought], [text(" ")]):
        assert read(HELLO, turn(*blocks, role="assistant"), HELLO) == (
            Message("user", "hi"),
            Message("user", "hi"),
        )


@pytest.mark.parametrize(
    ("fields", "effort", "shown"),
    [
        ({}, None, False),
        ({"thinking": {"type": "disabled"}}, "none", False),
        ({"thinking": {"type": "between_tools"}}, "none", False),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "low", True),
        ({"thinking": {"type": "enabled", "budget_tokens": 4096}}, "low", True),
        ({"thinking": {"type": "enabled", "budget_tokens": 10_000}}, "medium", True),
        ({"thinking": {"type": "enabled", "budget_tokens": 31_999}}, "high", True),
        ({"thinking": {"type": "enabled"}}, "medium", True),
        ({"thinking": {"type": "adaptive"}}, "medium", True),
        ({"thinking": {"type": "adaptive", "display": "omitted"}}, "medium", False),
        ({"output_config": {"effort": "xhigh"}}, "max", False),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            "low",
            True,
        ),
        (
            {"thinking": {"type": "disabled"}, "output_config": {"effort": "max"}},
            "none",
            False,
        ),
    ],
)
def test_how_hard_to_think_and_who_sees_it(
    fields: dict[str, Any], effort: Effort | None, shown: bool
) -> None:
    asked = parse(**fields)
    assert (asked.effort, asked.show_reasoning) == (effort, shown)


def test_tools_are_functions() -> None:
    asked = parse(
        tools=[
            {**WEATHER, "cache_control": {"type": "ephemeral"}, "strict": True},
            {"type": "custom", "name": "x" * 128, "input_schema": {"type": "object"}},
        ]
    )
    weather = Tool("get_weather", "Now.", SCHEMA, True)
    assert asked.tools == (weather, Tool("x" * 128, "", {"type": "object"}))
    assert (asked.search, asked.tool_choice) == (None, ToolChoice())


@pytest.mark.parametrize("kind", ["web_search_20250305", "web_search_20260318"])
def test_the_search_is_the_services_own(kind: str) -> None:
    asked = parse(tools=[{**SEARCH, "type": kind}, WEATHER])
    assert asked.search is True
    assert [tool.name for tool in asked.tools] == ["get_weather"]


@pytest.mark.parametrize(
    ("choice", "tools", "meant"),
    [
        ({"type": "auto"}, [WEATHER], ToolChoice()),
        ({"type": "any"}, [WEATHER], ToolChoice("required")),
        ({"type": "none"}, [WEATHER], ToolChoice("none")),
        (
            {"type": "tool", "name": "get_weather"},
            [WEATHER],
            ToolChoice("required", "get_weather"),
        ),
        ({"type": "any"}, [SEARCH], ToolChoice()),
        ({"type": "tool", "name": "web_search"}, [SEARCH], ToolChoice()),
    ],
)
def test_the_choice_of_tools(choice: Any, tools: Any, meant: ToolChoice) -> None:
    asked = parse(tools=tools, tool_choice=choice)
    assert (asked.tool_choice, asked.parallel_tool_calls) == (meant, True)
    single = {**choice, "disable_parallel_tool_use": True}
    assert parse(tools=tools, tool_choice=single).parallel_tool_calls is False


def test_what_only_anthropics_service_does_is_named() -> None:
    search = {"type": "web_search_20250305", "name": "web_search"}
    asked = parse(
        container={"skills": [{"type": "anthropic", "skill_id": "xlsx"}]},
        fallbacks=[{"model": "m"}],
        inference_geo="us",
        speed="fast",
        output_config={"task_budget": {"type": "tokens", "total": 9}},
        tools=[{**search, "allowed_domains": ["a.example"], "blocked_domains": None}],
    )
    assert asked.sampling.keys() - {"max_tokens"} == {
        "container",
        "fallbacks",
        "inference_geo",
        "output_config.task_budget",
        "speed",
        "tools.web_search.allowed_domains",
    }
    assert parse(speed="standard", container=None).sampling == {"max_tokens": 9}


def test_sampling_has_openais_names() -> None:
    asked = parse(
        temperature=0.3, top_p=0.5, top_k=40, stop_sequences=["END", ""], stream=True
    )
    assert asked.sampling == {
        "temperature": 0.3,
        "top_p": 0.5,
        "top_k": 40,
        "stop": ["END"],
        "max_tokens": 9,
    }
    assert (asked.stop, asked.max_tokens, asked.stream) == (("END",), 9, True)
    assert parse().sampling == {"max_tokens": 9}
    defaults = parse(temperature=1.0, top_p=1, top_k=0, stop_sequences=[])
    assert defaults.sampling == {"max_tokens": 9}


def test_tokens_are_always_counted_and_first_in_a_stream() -> None:
    whole, streamed = parse(), parse(stream=True)
    assert whole.include_usage and streamed.include_usage
    assert (whole.counts_first, streamed.counts_first) == (False, True)


def test_who_asks_and_which_conversation_goes_on() -> None:
    assert parse(metadata={"user_id": "u-1"}).user == "u-1"
    assert parse(metadata={"user_id": None}).user is None
    assert parse().conversation is None
    assert parse(conversation_id="none").conversation == ""
    assert parse(conversation_id=" c-1 ").conversation == "c-1"
    body = {"model": "m", "max_tokens": 9, "messages": [HELLO]}
    beside = anthropic_request.parse(body, conversation="c-2")
    assert beside.conversation == "c-2"
    both = {**body, "conversation_id": "c-1"}
    assert anthropic_request.parse(both, conversation="c-2").conversation == "c-1"


@pytest.mark.parametrize("name", ["output_format", "output_config"])
def test_a_format_is_a_schema(name: str) -> None:
    wanted: Any = {"type": "json_schema", "schema": SCHEMA}
    fields = {name: {"format": wanted} if name == "output_config" else wanted}
    assert parse(**fields).json_format == JsonFormat(SCHEMA)


def test_what_belongs_to_anthropics_own_service_is_passed_over() -> None:
    asked = parse(
        cache_control={"type": "ephemeral"},
        context_management={"edits": []},
        mcp_servers=[],
        service_tier="auto",
        betas=["x"],
        whatever={"a": [1]},
    )
    assert asked == parse()


def test_tokens_may_be_counted_without_a_limit() -> None:
    body = {"model": "m", "messages": [HELLO]}
    assert anthropic_request.parse(body, counts_only=True).max_tokens is None
