"""A request that came in another dialect, in the words of OpenAI's."""

from typing import Any

from kimi_proxy.chat import (
    Attachment,
    ChatRequest,
    JsonFormat,
    Message,
    Tool,
    ToolCall,
    ToolChoice,
)
from kimi_proxy.dialects import openai_request
from kimi_proxy.providers.openai_payload import payload
from kimi_proxy.providers.openai_quirk import Quirks

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = (Tool("get_weather", "The weather.", SCHEMA, True), Tool("get_time"))
HISTORY = (
    Message("system", "Be brief."),
    Message("user", "Oslo?", attachments=(Attachment("image", "a", data=b"png"),)),
    Message(
        "assistant",
        "",
        reasoning="I have to look.",
        tool_calls=(ToolCall("c1", "get_weather", '{"city": "Oslo"}'),),
    ),
    Message("tool", "5 degrees", tool_call_id="c1"),
    Message(
        "user",
        "",
        attachments=(
            Attachment("image", "b", url="https://example.com/a.png"),
            Attachment("file", "c", data=b"%PDF", name="a.pdf"),
            Attachment("file", "d", url="https://example.com/b.pdf"),
            Attachment("file", "e", file_id="file-1"),
        ),
    ),
)


def sent(quirks: Quirks | None = None, **fields: Any) -> dict[str, Any]:
    asked = {"model": "m", "messages": (Message("user", "hi"),), **fields}
    return payload(ChatRequest(**asked), quirks=quirks or Quirks())


def attached(message: Message) -> list[tuple[Any, ...]]:
    return [(a.kind, a.data, a.url, a.file_id, a.name) for a in message.attachments]


def test_it_means_the_same_when_it_is_read_again() -> None:
    body = sent(
        messages=HISTORY,
        tools=TOOLS,
        tool_choice=ToolChoice("required", "get_weather"),
        parallel_tool_calls=False,
        json_format=JsonFormat(SCHEMA, "city"),
        user="somebody",
        effort="high",
        search=True,
        sampling={"temperature": 0.5, "top_k": 4, "stop": ["END"], "max_tokens": 7},
        stop=("END",),
        max_tokens=7,
    )
    again = openai_request.parse(body)
    assert again.tools == TOOLS
    assert again.tool_choice == ToolChoice("required", "get_weather")
    assert again.parallel_tool_calls is False
    assert again.json_format == JsonFormat(SCHEMA, "city")
    assert (again.user, again.effort, again.search) == ("somebody", "high", True)
    assert (again.stop, again.max_tokens) == (("END",), 7)
    assert dict(again.sampling) == {
        "temperature": 0.5,
        "top_k": 4,
        "stop": ["END"],
        "max_tokens": 7,
    }
    for read, meant in zip(again.messages, HISTORY, strict=True):
        assert (read.role, read.text) == (meant.role, meant.text)
        assert read.tool_calls == meant.tool_calls
        assert read.tool_call_id == meant.tool_call_id
        assert attached(read) == attached(meant)


def test_what_was_not_asked_for_is_not_said() -> None:
    assert set(sent()) == {"model", "messages", "stream"}
    required = sent(tools=TOOLS, tool_choice=ToolChoice("required"))
    assert required["tool_choice"] == "required"
    assert "tool_choice" not in sent(tools=TOOLS)
    assert sent(json_format=JsonFormat())["response_format"] == {"type": "json_object"}


def test_thinking_goes_back_to_whoever_wants_it() -> None:
    def thought(quirks: Quirks) -> list[Any]:
        messages = sent(quirks, messages=HISTORY)["messages"]
        return [m["reasoning_content"] for m in messages if "reasoning_content" in m]

    assert thought(Quirks()) == []
    assert thought(Quirks(returns_reasoning=True)) == ["I have to look."]
