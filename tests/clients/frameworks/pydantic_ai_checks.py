"""What pydantic-ai must get from a gateway: three kinds of model, before two upstreams.

Runs in the environment of requirements-frameworks.txt; GATEWAY and GATEWAY_KEY say
where the gateway is. It ends with an AssertionError at the first wrong answer.
"""

import asyncio
import os
from importlib.metadata import version

from pydantic import BaseModel
from pydantic_ai import (
    Agent,
    BinaryContent,
    ModelHTTPError,
    NativeOutput,
    PromptedOutput,
    ThinkingPart,
    ToolOutput,
)
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

GATEWAY, KEY = os.environ["GATEWAY"], os.environ["GATEWAY_KEY"]


class Person(BaseModel):
    """A person of the past."""

    name: str
    age: int


LI_BAI = Person(name="Li Bai", age=61)
ASKED = "Who was 'Li Bai', who died at 61?"


def models(name):
    openai = OpenAIProvider(base_url=f"{GATEWAY}/v1", api_key=KEY)
    yield OpenAIChatModel(name, provider=openai)
    yield OpenAIResponsesModel(name, provider=openai)
    anthropic = AnthropicProvider(base_url=GATEWAY, api_key=KEY)
    # By itself it believes that of models of Anthropic's own only.
    profile = {"supports_json_schema_output": True}
    yield AnthropicModel(name, provider=anthropic, profile=profile)


async def check_words(model):
    agent = Agent(model, instructions="Be brief.")
    first = await agent.run("hello there")
    assert first.output == "You said: hello there", first.output
    assert first.usage.input_tokens > 0 and first.usage.output_tokens > 0
    async with agent.run_stream("and more", message_history=first.all_messages()) as s:
        pieces = [piece async for piece in s.stream_text(delta=True, debounce_by=None)]
    assert "".join(pieces) == "You said: and more", pieces
    assert len(pieces) > 1


async def check_structured(model):
    kinds = [Person, ToolOutput(Person), NativeOutput(Person), PromptedOutput(Person)]
    for kind in kinds:
        agent = Agent(model, output_type=kind)
        whole = await agent.run(ASKED)
        assert whole.output == LI_BAI, (kind, whole.output)
        async with agent.run_stream(ASKED) as stream:
            seen = [one async for one in stream.stream_output(debounce_by=None)]
        assert seen[-1] == LI_BAI, (kind, seen)


async def check_tools(model):
    added = []
    agent = Agent(model, output_type=Person)
    words = Agent(model)

    @agent.tool_plain
    @words.tool_plain
    def look_up(name: str) -> str:
        """Find a person."""
        added.append(name)
        return "found"

    assert (await agent.run(ASKED)).output == LI_BAI
    said = await words.run(ASKED)
    assert said.output == "These have answered: look_up.", said.output
    async with words.run_stream(ASKED) as stream:
        assert await stream.get_output() == said.output
    assert added == ["Li Bai"] * 3


async def check_picture(model):
    png = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010800000000"
        "3a7e9b550000000a49444154789c636000000002000148afa471"
        "0000000049454e44ae426082"
    )
    asked = ["What is this?", BinaryContent(png, media_type="image/png")]
    assert "What is this?" in (await Agent(model).run(asked)).output


async def check_thinking(model):
    """It is shown to who asks for it, and comes back with the next turn."""
    settings = {
        "openai_reasoning_effort": "high",
        "openai_reasoning_summary": "auto",
        "anthropic_thinking": {"type": "enabled", "budget_tokens": 1024},
        "max_tokens": 2000,
    }
    agent = Agent(model, model_settings=settings)

    @agent.tool_plain
    def look_up(name: str) -> str:
        """Find a person."""
        return "found"

    first = await agent.run(ASKED)
    thoughts = [p for m in first.all_messages() for p in m.parts if is_thought(p)]
    assert {p.content for p in thoughts} == {"I do as I am told."}, first.all_messages()
    assert len(thoughts) == 2
    async with agent.run_stream(ASKED, message_history=first.all_messages()) as stream:
        assert "have answered" in await stream.get_output()


def is_thought(part):
    return isinstance(part, ThinkingPart)


async def check_error(kind):
    try:
        await Agent(kind).run("hello")
    except ModelHTTPError as error:
        assert error.status_code == 404, error
        assert "nobody" in str(error.body), error
        return
    raise AssertionError("a model that nobody has answers")


async def main():
    for name in ("gpt-4o", "kimi"):
        for model in models(name):
            for check in (check_words, check_structured, check_tools, check_picture):
                try:
                    await check(model)
                except Exception as error:
                    error.add_note(f"{check.__name__} of {model!r}")
                    raise
    for model in models("kimi"):
        await check_thinking(model)
    for model in models("nobody"):
        await check_error(model)
    print(f"all well with pydantic-ai {version('pydantic-ai-slim')}")


asyncio.run(main())
