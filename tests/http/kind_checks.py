"""What the official openai client must get of every surface, on every kind of upstream.

    python -m tests.http.kind_checks BASE_URL

Any version of the client from 1.x, and nothing else but `both_ways`: this runs in an
environment that has nothing else, too. The upstreams are those of `every_kind`, whose
models say what stands behind "Say: ".
"""

import json
import sys
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import openai
from openai import AsyncOpenAI, OpenAI
from pydantic import BaseModel

from tests.http.both_ways import (
    Check,
    Every,
    Final,
    play_all,
    play_all_in_a_loop,
)

KEY = "kp-every-kind-made-up-key"
POEM = "床前明月光 — naïve café 😀 end"
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c636000000002000148afa4710000000049454e44ae426082"
)
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<< /Root 1 0 R >>\n%%EOF"
CALL = '<tool_call>\n{"name": "Weather", "arguments": {"city": "Rome"}}\n</tool_call>'
Steps = Generator[Any, Any, None]


class Person(BaseModel):
    """A person of the past."""

    name: str
    age: int


class Weather(BaseModel):
    """The weather in a city."""

    city: str


@dataclass(frozen=True)
class Kind:
    """An upstream: its model, and what it has.

    `embeds` and `completes` are models, empty where it has none; then `lacks` is the
    status and the code of the refusal. It `sees` pictures, `reads` documents, `counts`
    tokens. `short` is one whose prompts have no room for the description of a tool.
    `unknown` is the code for a model that it does not have.
    """

    name: str
    model: str
    embeds: str = ""
    completes: str = ""
    lacks: tuple[int, str] = (400, "unsupported_parameter")
    sees: bool = False
    reads: bool = False
    short: bool = False
    counts: bool = False
    unknown: str = "model_not_found"

    @property
    def path(self) -> str:
        return f"{self.name}/{self.model}"


# An API that has no such call; one of Kilo's that nobody has told of.
_NO_CALL = (501, "upstream_unsupported")
_NO_PATH = (404, "upstream_not_found")
KINDS = (
    Kind("connect", "k2d6-chat", sees=True, reads=True),
    Kind("legacy", "kimi", sees=True, reads=True),
    Kind(
        "openai",
        "gpt-4o",
        embeds="text-embedding-3-small",
        completes="gpt-3.5-turbo",
        sees=True,
        reads=True,
        counts=True,
    ),
    Kind("moonshot", "kimi-k2.6", lacks=_NO_CALL, sees=True, reads=True, counts=True),
    Kind("kimi-code", "kimi-for-coding", lacks=_NO_CALL, sees=True, counts=True),
    Kind("kilo", "anthropic/claude-sonnet-4.5", lacks=_NO_PATH, sees=True, counts=True),
    Kind("qodo", "gpt-5.1", unknown="upstream_rejected"),
    Kind("qodo-ide", "gpt-4o", unknown="upstream_rejected"),
    Kind("site", "kimi-k2-instruct", short=True),
    Kind("echo", "echo"),
)


def say(text: str) -> list[Any]:
    return [{"role": "user", "content": f"Say: {text}"}]


def refused(error: openai.APIStatusError, status: int, code: str) -> None:
    told = (error.status_code, error.code)
    assert told == (status, code), (told, error.message)
    if status >= 500:  # the client itself would ask again
        assert error.response.headers["x-should-retry"] == "false"


def check_chat(client: Any, kind: Kind) -> Steps:
    chats = client.chat.completions
    asked = {"model": kind.path, "messages": say(POEM)}
    whole = yield chats.create(**asked)
    assert POEM in whole.choices[0].message.content, whole
    assert whole.choices[0].finish_reason == "stop"
    assert whole.usage.prompt_tokens > 0 and whole.usage.completion_tokens > 0
    counted = {"include_usage": True}
    chunks = yield Every(chats.create(**asked, stream=True, stream_options=counted))
    *said, last = chunks
    text = "".join(c.choices[0].delta.content or "" for c in said)
    assert POEM in text, text
    assert said[-1].choices[0].finish_reason == "stop"
    assert last.choices == [] and last.usage.total_tokens > 0
    final = yield Final(chats.stream(**asked), "get_final_completion")
    assert final.choices[0].message.content == text


def check_chat_json(client: Any, kind: Kind) -> Steps:
    chats = client.chat.completions
    messages = say(json.dumps({"name": "Li Bai", "age": 61}))
    asked = {"model": kind.path, "messages": messages, "response_format": Person}
    whole = yield chats.parse(**asked)
    assert whole.choices[0].message.parsed == Person(name="Li Bai", age=61), whole
    final = yield Final(chats.stream(**asked), "get_final_completion")
    assert final.choices[0].message.parsed == Person(name="Li Bai", age=61), final
    plain = {**asked, "response_format": {"type": "json_object"}}
    whole = yield chats.create(**plain)
    assert json.loads(whole.choices[0].message.content)["age"] == 61


def check_chat_tools(client: Any, kind: Kind) -> Steps:
    chats = client.chat.completions
    tool = openai.pydantic_function_tool(Weather)
    asked = {"model": kind.path, "messages": say(CALL), "tools": [tool]}
    if kind.short:
        try:
            yield chats.create(**asked)
        except openai.BadRequestError as error:
            return refused(error, 400, "context_length_exceeded")
        raise AssertionError("a description of tools fits")
    whole = yield chats.parse(**asked)
    final = yield Final(chats.stream(**asked), "get_final_completion")
    for answer in (whole, final):
        (call,) = answer.choices[0].message.tool_calls
        assert call.function.parsed_arguments == Weather(city="Rome")
        assert answer.choices[0].finish_reason == "tool_calls"
    given = whole.choices[0].message.tool_calls[0]
    called = {
        "id": given.id,
        "type": "function",
        "function": {"name": "Weather", "arguments": given.function.arguments},
    }
    history = [
        *asked["messages"],
        {"role": "assistant", "content": None, "tool_calls": [called]},
        {"role": "tool", "tool_call_id": given.id, "content": "Sunny."},
        *say(POEM),
    ]
    after = yield chats.create(**{**asked, "messages": history})
    assert POEM in after.choices[0].message.content, after


def check_responses(client: Any, kind: Kind) -> Steps:
    make = client.responses.create
    asked = {"model": kind.path, "input": say(POEM)}
    whole = yield make(**asked)
    assert whole.status == "completed" and POEM in whole.output_text, whole
    events = yield Every(make(**asked, stream=True))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == whole.output_text
    final = yield Final(client.responses.stream(**asked), "get_final_response")
    assert final.output_text == whole.output_text
    more = {**asked, "input": "Say: and more", "previous_response_id": whole.id}
    second = yield make(**more)
    assert "and more" in second.output_text
    stored = yield client.responses.retrieve(second.id)
    assert stored.output_text == second.output_text
    yield client.responses.delete(second.id)
    if hasattr(client.responses, "input_tokens"):  # not yet in 1.x
        counted = yield client.responses.input_tokens.count(**more)
        assert counted.input_tokens > whole.usage.input_tokens


def check_responses_json(client: Any, kind: Kind) -> Steps:
    text = json.dumps({"name": "Li Bai", "age": 61})
    asked = {"model": kind.path, "input": say(text), "text_format": Person}
    whole = yield client.responses.parse(**asked)
    assert whole.output_parsed == Person(name="Li Bai", age=61), whole
    final = yield Final(client.responses.stream(**asked), "get_final_response")
    assert final.output_parsed == Person(name="Li Bai", age=61), final


def check_responses_tools(client: Any, kind: Kind) -> Steps:
    tool = {"type": "function", "name": "Weather", "strict": True}
    schema = {**Weather.model_json_schema(), "additionalProperties": False}
    tools = [{**tool, "parameters": schema}]
    asked = {"model": kind.path, "input": say(CALL), "tools": tools}
    if kind.short:
        try:
            yield client.responses.create(**asked)
        except openai.BadRequestError as error:
            return refused(error, 400, "context_length_exceeded")
        raise AssertionError("a description of tools fits")
    whole = yield client.responses.create(**asked)
    final = yield Final(client.responses.stream(**asked), "get_final_response")
    for answer in (whole, final):
        call = answer.output[-1]
        assert (call.type, call.name) == ("function_call", "Weather"), answer
        assert json.loads(call.arguments) == {"city": "Rome"}
    output = {"type": "function_call_output", "call_id": whole.output[-1].call_id}
    result = [{**output, "output": "Sunny."}, *say(POEM)]
    told = {**asked, "input": result, "previous_response_id": whole.id}
    after = yield client.responses.create(**told)
    assert POEM in after.output_text, after


def check_completions(client: Any, kind: Kind) -> Steps:
    make = client.completions.create
    asked = {"model": f"{kind.name}/{kind.completes}", "prompt": f"Say: {POEM}"}
    if kind.completes:
        whole = yield make(**asked)
        assert POEM in whole.choices[0].text, whole
        chunks = yield Every(make(**asked, stream=True))
        assert POEM in "".join(chunk.choices[0].text for chunk in chunks)
        return
    for stream in (False, True):
        try:
            yield make(**{**asked, "model": kind.path}, stream=stream)
        except openai.APIStatusError as error:
            refused(error, *kind.lacks)
        else:
            raise AssertionError("it completes texts")


def check_embeddings(client: Any, kind: Kind) -> Steps:
    make = client.embeddings.create
    if kind.embeds:
        name = f"{kind.name}/{kind.embeds}"
        made = yield make(model=name, input=["one", "two"])
        again = yield make(model=name, input="two", encoding_format="float")
        assert len(made.data) == 2 and made.usage.prompt_tokens > 0
        assert made.data[1].embedding == again.data[0].embedding
        return
    try:
        yield make(model=kind.path, input="one")
    except openai.APIStatusError as error:
        return refused(error, *kind.lacks)
    raise AssertionError("it embeds")


def check_files(client: Any, kind: Kind) -> Steps:
    """A file of the gateway's is a part of a question, where such files are taken."""
    sent = (("p.png", PNG, "image/png"), ("p.pdf", PDF, "application/pdf"))
    for file, taken in zip(sent, (kind.sees, kind.reads), strict=True):
        made = yield client.files.create(file=file, purpose="user_data")
        words = {"type": "input_text", "text": f"Say: {POEM}"}
        of_type = "input_image" if file is sent[0] else "input_file"
        part = {"type": of_type, "file_id": made.id}
        message = {"role": "user", "content": [part, words]}
        try:
            told = yield client.responses.create(model=kind.path, input=[message])
        except openai.BadRequestError as error:
            assert not taken, error
            refused(error, 400, "unsupported_parameter")
            assert "takes no" in error.message, error
        else:
            assert taken and POEM in told.output_text, told
        content = yield client.files.content(made.id)
        assert content.content == file[1]
        gone = yield client.files.delete(made.id)
        assert gone.deleted


def check_models(client: Any, kind: Kind) -> Steps:
    model = yield client.models.retrieve(kind.path)
    assert (model.id, model.object) == (kind.path, "model")
    listed = yield client.models.list()
    assert model in listed.data
    for make in (client.chat.completions.create, client.responses.create):
        told = "messages" if make == client.chat.completions.create else "input"
        asked: Any = {"model": f"{kind.name}/nobody-has-it", told: say("hi")}
        for stream in (False, True):
            try:
                yield make(**asked, stream=stream)
            except (openai.NotFoundError, openai.BadRequestError) as error:
                assert error.code == kind.unknown, error
            else:
                raise AssertionError("a model that nobody has answers")


CHECKS: dict[str, Check] = {
    "chat": check_chat,
    "chat as JSON": check_chat_json,
    "chat with tools": check_chat_tools,
    "responses": check_responses,
    "responses as JSON": check_responses_json,
    "responses with tools": check_responses_tools,
    "completions": check_completions,
    "embeddings": check_embeddings,
    "files": check_files,
    "models": check_models,
}


def run(base_url: str, kind: Kind) -> None:
    """All checks with a sync and with an async client; the first error is raised."""
    place: Any = {"base_url": base_url, "api_key": KEY, "max_retries": 0}
    with OpenAI(**place) as client:
        play_all(CHECKS, client, kind)
    play_all_in_a_loop(CHECKS, lambda: AsyncOpenAI(**place), kind)


if __name__ == "__main__":
    for kind in KINDS:
        run(sys.argv[1], kind)
    print(f"all well with openai {openai.__version__}")
