"""What the official client, unmodified, must get of Responses; any version from 1.x.

    python responses_checks.py BASE_URL

As `openai_checks`: the gateway is one of `tests.http.conftest.SHARED`, the openai
package is all that this needs, and the first wrong answer is an AssertionError.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

KEY = "kp-shared-made-up-key"
PICKY = "kp-picky-made-up-key"
POEM = "床前明月光，疑是地上霜。 A quiet night — naïve café 😀👩‍🚀🇨🇳 end"
MODEL = "scripted/play"
PATCH = "*** Begin Patch\n界\n*** End Patch"
FUNCTION: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}
CUSTOM: Any = {"type": "custom", "name": "apply_patch", "description": "Edits files."}


class Person(BaseModel):
    """What a structured answer is read as."""

    name: str
    age: int


def steps(*given: Any) -> str:
    return json.dumps(list(given))


def spoken(text: str) -> str:
    """The steps that say a text in small pieces, with a silence in the middle."""
    pieces = [["text", text[i : i + 7]] for i in range(0, len(text), 7)]
    middle = len(pieces) // 2
    return steps(*pieces[:middle], ["wait", 0.4], *pieces[middle:], ["finish"])


def expect(kind: type[Exception], call: Callable[[], Any], **facts: Any) -> None:
    """`call` raises exactly this kind of exception, with these attributes."""
    try:
        call()
    except openai.OpenAIError as exc:
        assert type(exc) is kind, repr(exc)
        found = {name: getattr(exc, name) for name in facts}
        assert found == facts, found
        return
    raise AssertionError(f"no {kind.__name__}")


def check_answers(client: OpenAI) -> None:
    whole = client.responses.create(model=MODEL, input=spoken(POEM))
    assert (whole.output_text, whole.status) == (POEM, "completed")
    assert whole.usage is not None and whole.usage.output_tokens > 0
    events = list(client.responses.create(model=MODEL, input=spoken(POEM), stream=True))
    deltas = [e.delta for e in events if e.type == "response.output_text.delta"]
    assert "".join(deltas) == POEM
    last: Any = events[-1]
    assert (last.type, last.response.output_text) == ("response.completed", POEM)
    assert [e.sequence_number for e in events] == list(range(len(events)))


def check_helper(client: OpenAI) -> None:
    """The helper raises for every event that comes too early or not at all."""
    said = steps(
        ["think", "Let me "],
        ["think", "see."],
        ["text", "It rains."],
        ["cite", "https://example.org/", "Weather"],
        ["call", 0, "call_1", "weather", ""],
        ["call", 0, None, None, '{"city": '],
        ["call", 0, None, None, '"Rome"}'],
        ["call", 1, "call_2", "apply_patch", json.dumps({"input": PATCH})],
        ["usage", 11, 7, 3],
        ["finish", "tool_calls"],
    )
    reasoning: Any
    for summary in (None, "auto"):
        reasoning = {"summary": summary}
        with client.responses.stream(
            model=MODEL,
            input=said,
            tools=[FUNCTION, CUSTOM],
            reasoning=reasoning,
        ) as stream:
            kinds = [event.type for event in stream]
            final = stream.get_final_response()
        assert kinds[-1] == "response.completed"
        output: Any = final.output
        thought, message, call, patch = output
        text = thought.summary[0] if summary else thought.content[0]
        assert text.text == "Let me see."
        assert final.output_text == "It rains."
        (note,) = message.content[0].annotations
        assert (note.url, note.start_index, note.end_index) == (
            "https://example.org/",
            0,
            9,
        )
        assert (call.type, call.call_id) == ("function_call", "call_1")
        assert call.parsed_arguments == {"city": "Rome"}
        assert (patch.type, patch.input) == ("custom_tool_call", PATCH)
        assert final.usage is not None and final.usage.input_tokens == 11
        assert final.usage.output_tokens_details.reasoning_tokens == 3


def check_parse(client: OpenAI) -> None:
    said = steps(["text", '{"name": "Li Bai", "age": 61}'], ["finish"])
    whole = client.responses.parse(model=MODEL, input=said, text_format=Person)
    assert whole.output_parsed == Person(name="Li Bai", age=61)
    with client.responses.stream(model=MODEL, input=said, text_format=Person) as stream:
        assert stream.get_final_response().output_parsed == Person(
            name="Li Bai", age=61
        )


def check_stored(client: OpenAI) -> None:
    """Whichever worker is asked."""
    stored = client.responses
    first = stored.create(model="echo", input="one")
    second = stored.create(
        model="echo", input="two", previous_response_id=first.id, metadata={"a": "b"}
    )
    assert second.previous_response_id == first.id
    for _ in range(6):
        assert stored.retrieve(second.id).output_text == "two"
    items: Any = stored.input_items.list(second.id, order="asc", limit=2)
    texts = [item.content[0].text for item in items]
    assert texts == ["one", "one", "two"], "the client turns the pages"
    expect(openai.BadRequestError, lambda: stored.cancel(second.id), status_code=400)
    other = OpenAI(base_url=str(client.base_url), api_key=PICKY, max_retries=0)
    expect(openai.NotFoundError, lambda: other.responses.retrieve(second.id))
    stored.delete(second.id)
    expect(openai.NotFoundError, lambda: stored.retrieve(second.id))
    expect(
        openai.NotFoundError,
        lambda: stored.create(model="echo", input="x", previous_response_id=second.id),
        code="previous_response_not_found",
        param="previous_response_id",
    )


def check_errors(client: OpenAI) -> None:
    make = client.responses.create
    expect(
        openai.BadRequestError,
        lambda: make(model="echo", input="x", background=True),
        code="unsupported_parameter",
        param="background",
    )
    expect(
        openai.NotFoundError,
        lambda: make(model="nobody", input="x"),
        code="model_not_found",
    )
    expect(
        openai.RateLimitError,
        lambda: make(model=MODEL, input=steps(["raise", "PoolBusy"])),
        code="accounts_busy",
    )
    broken = steps(["text", "a"], ["raise", "ContentRefused"])
    last: Any = list(make(model=MODEL, input=broken, stream=True))[-1]
    assert last.type == "response.failed"
    assert last.response.error.code == "invalid_prompt"
    with client.responses.stream(model=MODEL, input=broken) as stream:
        try:
            stream.get_final_response()
        except RuntimeError:
            return
    raise AssertionError("a broken stream looks like a whole one")


def check_limits(client: OpenAI) -> None:
    cut = client.responses.create(
        model=MODEL,
        input=steps(["text", "one two three four five"], ["finish"]),
        max_output_tokens=2,
    )
    assert cut.status == "incomplete" and cut.incomplete_details is not None
    assert cut.incomplete_details.reason == "max_output_tokens"
    assert "one two three four five".startswith(cut.output_text)


async def check_async(client: AsyncOpenAI) -> None:
    """All of it once more, many at a time."""

    async def streamed(number: int) -> None:
        text = f"{number}: {POEM}"
        stream: Any = await client.responses.create(
            model=MODEL, input=spoken(text), stream=True
        )
        deltas = [e.delta async for e in stream if e.type.endswith("text.delta")]
        assert "".join(deltas) == text

    async def helped(number: int) -> None:
        text = f"{number}: {POEM}"
        async with client.responses.stream(model=MODEL, input=spoken(text)) as stream:
            assert (await stream.get_final_response()).output_text == text

    await asyncio.gather(*map(streamed, range(8)), *map(helped, range(8)))
    said = steps(["text", '{"name": "Li Bai", "age": 61}'], ["finish"])
    whole = await client.responses.parse(model=MODEL, input=said, text_format=Person)
    assert whole.output_parsed == Person(name="Li Bai", age=61)
    again = await client.responses.retrieve(whole.id)
    assert again.output_text == whole.output_text
    items = await client.responses.input_items.list(whole.id)
    assert len(items.data) == 1
    await client.responses.delete(whole.id)
    await client.close()


def run(base_url: str) -> None:
    """Check all of it."""
    client = OpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=30)
    for check in (
        check_answers,
        check_helper,
        check_parse,
        check_stored,
        check_errors,
        check_limits,
    ):
        check(client)
    client.close()
    asyncio.run(
        check_async(
            AsyncOpenAI(base_url=base_url, api_key=KEY, max_retries=0, timeout=30)
        )
    )


if __name__ == "__main__":
    run(sys.argv[1])
    print(f"openai {openai.__version__}: all as it should be")
