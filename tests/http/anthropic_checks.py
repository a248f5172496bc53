"""What the official anthropic client, unmodified, must get from a gateway.

The gateway is one of `tests.http.conftest.SHARED`. It ends with an AssertionError at
the first wrong answer.
"""

import asyncio
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic, beta_tool
from anthropic.types import ThreadUnsupportedRequestError
from pydantic import BaseModel

from tests.http.openai_checks import (
    BUSY,
    HOPELESS,
    KEY,
    MODEL,
    PICKY,
    POEM,
    parts,
    poem,
)

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: Any = [{"name": "get_weather", "description": "Now.", "input_schema": SCHEMA}]
CALLS: list[Any] = [
    ["text", "I look. "],
    ["text", '<tool_call>\n{"name": "get_weather", "arguments": {"city": "Oslo"}}'],
    ["text", "\n</tool_call>"],
    ["finish"],
]


class Weather(BaseModel):
    """The weather now."""

    city: str
    degrees: int


def say(*steps: Any, **fields: Any) -> Any:
    """The arguments of a call that plays these steps."""
    content = json.dumps(list(steps))
    asked = {"model": MODEL, "max_tokens": 4096}
    return {**asked, "messages": [{"role": "user", "content": content}], **fields}


def expect(kind: type[Exception], call: Callable[[], Any], **facts: Any) -> Any:
    """The exception `call` raises: of exactly this kind, with these attributes."""
    try:
        call()
    except anthropic.AnthropicError as exc:
        assert type(exc) is kind, repr(exc)
        found = {name: getattr(exc, name) for name in facts}
        assert found == facts, found
        return exc
    raise AssertionError(f"no {kind.__name__}")


def check_answers(client: Anthropic) -> None:
    asked: Any = {"model": "echo", "max_tokens": 4096}
    asked["messages"] = [{"role": "user", "content": POEM}]
    whole = client.messages.create(**asked)
    (block,) = whole.content
    assert block.type == "text" and block.text == POEM
    assert (whole.role, whole.stop_reason, whole.model) == (
        "assistant",
        "end_turn",
        "echo",
    )
    assert whole.usage.input_tokens > 0 and whole.usage.output_tokens > 0
    stream = client.messages.create(**asked, stream=True)
    events = list(stream)
    texts = [
        e.delta.text
        for e in events
        if e.type == "content_block_delta" and e.delta.type == "text_delta"
    ]
    assert "".join(texts) == POEM
    assert events[0].type == "message_start" and events[-1].type == "message_stop"
    assert events[0].message.usage.input_tokens == whole.usage.input_tokens


def check_helper(client: Anthropic) -> None:
    """The streaming helper, which puts the blocks together by itself."""
    thinking: Any = {"type": "enabled", "budget_tokens": 2048}
    steps = (["think", "h"], ["think", "m"], ["text", "a"], ["text", "b"], ["finish"])
    with client.messages.stream(**say(*steps, thinking=thinking)) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    assert {"thinking", "signature", "text", "content_block_stop"} <= set(kinds)
    thought, said = final.content
    assert thought.type == "thinking" and thought.thinking == "hm"
    assert thought.signature and said.type == "text" and said.text == "ab"
    with client.messages.stream(**say(*parts(POEM))) as stream:
        assert "".join(stream.text_stream) == POEM
        assert stream.get_final_text() == POEM
    history = [
        *say(["finish"])["messages"],
        {"role": "assistant", "content": final.content},
        {"role": "user", "content": "again"},
    ]
    again = client.messages.create(model=MODEL, max_tokens=9, messages=history)
    assert again.content[0].type == "text" and again.content[0].text == "again"


def check_tools(client: Anthropic) -> None:
    asked = say(*CALLS, tools=TOOLS)
    whole = client.messages.create(**asked)
    with client.messages.stream(**asked) as stream:
        inputs = [e.snapshot for e in stream if e.type == "input_json"]
        final = stream.get_final_message()
    assert inputs[-1] == {"city": "Oslo"}
    message: Any  # the two classes of it share no name
    for message in (whole, final):
        said, called = message.content
        assert said.type == "text" and said.text.strip() == "I look."
        assert called.type == "tool_use" and called.name == "get_weather"
        assert called.input == {"city": "Oslo"} and called.id
        assert message.stop_reason == "tool_use"
    calm = client.messages.create(
        **say(["text", "No."], ["finish"], tools=TOOLS, tool_choice={"type": "none"})
    )
    assert calm.stop_reason == "end_turn"


def check_runner(client: Anthropic) -> None:
    """The client's own loop over tools, which it describes and calls by itself."""
    asked: list[str] = []

    @beta_tool
    def get_weather(city: str) -> str:
        """The weather now."""
        asked.append(city)
        return f"sunny in {city}"

    for stream in (False, True):
        runner: Any = client.beta.messages.tool_runner(
            **say(*CALLS), tools=[get_weather], stream=stream
        )
        final = runner.until_done()
        assert final.content[0].type == "text"
        assert "sunny in Oslo" in final.content[0].text
    assert asked == ["Oslo", "Oslo"]
    # By this it knew that it has to send the history itself.
    thread = client.beta.messages.thread(model=MODEL, max_tokens=9)
    hello: Any = {"role": "user", "content": "hello"}
    send = lambda: thread.send(hello)  # noqa: E731 - one use
    expect(ThreadUnsupportedRequestError, send)


def check_formats(client: Anthropic) -> None:
    right = Weather(city="Oslo", degrees=5)
    asked = say(["text", right.model_dump_json()], ["finish"])
    assert client.messages.parse(**asked, output_format=Weather).parsed_output == right
    with client.messages.stream(**asked, output_format=Weather) as stream:
        assert stream.get_final_message().parsed_output == right


def check_ends(client: Anthropic) -> None:
    stopped = client.messages.create(
        **say(["text", "a END b"], ["finish"], stop_sequences=["END"])
    )
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "END")
    refused = client.messages.create(**say(["text", "a"], ["finish", "content_filter"]))
    assert refused.stop_reason == "refusal"
    cut = client.messages.create(
        **say(["text", "one two three four"], ["finish"], max_tokens=2)
    )
    assert cut.stop_reason == "max_tokens"


def check_sources(client: Anthropic) -> None:
    asked = say(
        ["text", "a"],
        ["cite", "https://a.example", "A"],
        ["finish"],
        tools=[{"type": "web_search_20250305", "name": "web_search"}],
    )
    with client.messages.stream(**asked) as stream:
        (block,) = stream.get_final_message().content
    assert block.type == "text" and block.citations is not None
    (source,) = block.citations
    assert source.type == "web_search_result_location"
    assert (source.url, source.title) == ("https://a.example", "A")


def check_counts(client: Anthropic) -> None:
    messages: Any = [{"role": "user", "content": POEM}]
    counted = client.messages.count_tokens(
        model=MODEL, messages=messages, system="Be brief.", tools=TOOLS
    )
    bare = client.messages.count_tokens(model=MODEL, messages=messages)
    assert counted.input_tokens > bare.input_tokens > 10
    whole = client.messages.create(model=MODEL, max_tokens=999, messages=messages)
    assert whole.usage.input_tokens == bare.input_tokens
    beta = client.beta.messages.create(
        model=MODEL, max_tokens=999, messages=messages, betas=["a-beta-2026-01-01"]
    )
    assert beta.content[0].type == "text" and beta.content[0].text == POEM


def check_errors(client: Anthropic) -> None:
    def ask(*steps: Any, by: Anthropic = client, **fields: Any) -> Callable[[], Any]:
        return lambda: by.messages.create(**say(*steps, **fields))

    wrong = client.with_options(api_key="kp-wrong-made-up-key")
    picky = client.with_options(api_key=PICKY)
    found = expect(
        anthropic.AuthenticationError,
        ask(by=wrong),
        type="authentication_error",
        error_code="invalid_api_key",
    )
    assert found.request_id.startswith("req_")
    assert found.body["request_id"] == found.request_id
    denied = ask(by=picky)
    expect(anthropic.PermissionDeniedError, denied, type="permission_error")
    unknown = ask(model="nobody")
    expect(anthropic.NotFoundError, unknown, type="not_found_error")
    image: Any = {"type": "image", "source": {"type": "base64", "data": "cG5n"}}
    unseen = ask(messages=[{"role": "user", "content": [image]}])
    expect(anthropic.BadRequestError, unseen, type="invalid_request_error")
    hot = ask(extra_body={"temperature": 9})
    expect(anthropic.BadRequestError, hot, status_code=400)
    expect(anthropic.BadRequestError, ask(["raise", "ContentRefused"]))
    busy = ask(["raise", "ConversationBusy"])
    expect(anthropic.ConflictError, busy, type="conflict_error")
    large = ask(["text", "w" * 2**21])
    expect(anthropic.ContentTooLargeError, large, status_code=413)
    for stream in (False, True):
        limited = ask(BUSY, stream=stream)
        expect(anthropic.RateLimitError, limited, type="rate_limit_error")
        gone = ask(HOPELESS, stream=stream)
        expect(anthropic.ServiceUnavailableError, gone, error_code="no_usable_account")
    expect(anthropic.InternalServerError, ask(["defect"]), type="api_error")
    late = ask(["raise", "UpstreamTimeout"])
    expect(anthropic.GatewayTimeoutError, late, type="timeout_error")


def check_late_error(client: Anthropic) -> None:
    steps = (["text", "so far"], ["wait", 0.1], ["raise", "UpstreamMoved"])
    texts: list[str] = []

    def go() -> None:
        with client.messages.stream(**say(*steps)) as stream:
            texts.extend(stream.text_stream)

    found = expect(anthropic.APIStatusError, go, type="api_error")
    assert "a scripted UpstreamMoved" in found.message
    assert found.error_code == "upstream_moved"
    assert texts == ["so far"]


def check_models(client: Anthropic) -> None:
    page = client.models.list(limit=1)
    listed = {model.id: model for model in page}
    assert {"echo", "echo/echo", MODEL, "scripted/deep/er/model"} <= set(listed)
    assert page.first_id is not None and page.has_more is False
    for name in ("echo", "scripted/play"):
        model = client.models.retrieve(name)
        assert (model.id, model.type) == (name, "model")
        assert model.display_name and model.created_at.year >= 2025
    missing = lambda: client.models.retrieve("deep/nobody")  # noqa: E731 - one use
    expect(anthropic.NotFoundError, missing, error_code="model_not_found")


def check_raw(client: Anthropic) -> None:
    raw = client.messages.with_raw_response.create(**say(["text", "hi"], ["finish"]))
    assert raw.headers["request-id"].startswith("req_")
    assert raw.headers["x-kimi-proxy-route"] == MODEL
    message = raw.parse()
    assert message._request_id == raw.headers["request-id"]


def check_retries(client: Anthropic) -> None:
    """The client's own retries, as the headers ask for them; see the diary."""
    patient = client.with_options(max_retries=2)
    for name, step in (("busy", BUSY), ("hopeless", HOPELESS)):
        asked = say(step, metadata={"user_id": f"messages-retries-{name}"})
        try:
            patient.messages.create(**asked)
        except anthropic.APIStatusError as exc:
            assert exc.status_code in {429, 503}
        else:
            raise AssertionError("no error")


def check_many(client: Anthropic, number: int) -> None:
    def one(n: int) -> str:
        with client.messages.stream(**say(*parts(poem(n)))) as stream:
            return stream.get_final_text()

    with ThreadPoolExecutor(number) as threads:
        assert list(threads.map(one, range(number))) == list(map(poem, range(number)))


async def check_async(base_url: str, number: int) -> None:
    async with AsyncAnthropic(
        base_url=base_url, auth_token=KEY, api_key=None, max_retries=0
    ) as client:
        assert "echo" in [model.id async for model in client.models.list()]
        whole = await client.messages.create(**say(*CALLS, tools=TOOLS))
        assert whole.stop_reason == "tool_use"
        counted = await client.messages.count_tokens(
            model=MODEL, messages=[{"role": "user", "content": POEM}]
        )
        assert counted.input_tokens > 0
        try:
            await client.messages.create(**say(model="nobody"))
        except anthropic.NotFoundError as exc:
            assert exc.error_code == "model_not_found"
        else:
            raise AssertionError("no error")

        async def one(n: int) -> str:
            async with client.messages.stream(**say(*parts(poem(n)))) as stream:
                return await stream.get_final_text()

        texts = await asyncio.gather(*(one(n) for n in range(number)))
        assert texts == list(map(poem, range(number)))


def run(base_url: str, number: int) -> None:
    """All checks; `number` streams at a time."""
    with Anthropic(base_url=base_url, api_key=KEY, max_retries=0, timeout=60) as client:
        for check in (
            check_answers,
            check_helper,
            check_tools,
            check_runner,
            check_formats,
            check_ends,
            check_sources,
            check_counts,
            check_errors,
            check_late_error,
            check_models,
            check_raw,
            check_retries,
        ):
            check(client)
        check_many(client, number)
    asyncio.run(check_async(base_url, number))
