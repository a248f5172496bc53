"""What the official anthropic client must get on every kind of upstream.

The upstreams are those of `every_kind`; each kind's model answers to `claude-KIND-…`.
"""

import base64
import json
from typing import Any

import anthropic
from anthropic import Anthropic, AsyncAnthropic

from tests.http.both_ways import Check, Every, Final, play_all, play_all_in_a_loop
from tests.http.kind_checks import (
    CALL,
    KEY,
    PNG,
    POEM,
    Kind,
    Person,
    Steps,
    Weather,
    say,
)

FINAL = "get_final_message"


def asked(kind: Kind, text: str, **fields: Any) -> dict[str, Any]:
    model = f"claude-{kind.name}-9"
    return {"model": model, "max_tokens": 999, "messages": say(text), **fields}


def refused(error: anthropic.APIStatusError, code: str) -> None:
    assert (error.type, error.error_code) == ("invalid_request_error", code), error


def check_words(client: Any, kind: Kind) -> Steps:
    question = asked(kind, POEM)
    whole = yield client.messages.create(**question)
    (block,) = whole.content
    assert POEM in block.text
    events = yield Every(client.messages.create(**question, stream=True))
    assert (events[0].type, events[-1].type) == ("message_start", "message_stop")
    final = yield Final(client.messages.stream(**question), FINAL)
    said = yield Final(client.messages.stream(**question), "get_final_text")
    assert final.content[0].text == block.text == said
    for message in (whole, final):
        assert (message.model, message.stop_reason) == (question["model"], "end_turn")
        assert message.usage.input_tokens > 0 and message.usage.output_tokens > 0
    # The helper keeps the mark of the stream's beginning, which always is an estimate.
    estimated = whole.usage.to_dict().get("estimated", False)
    assert estimated is not kind.counts
    assert estimated or final.usage.input_tokens == whole.usage.input_tokens


def check_json(client: Any, kind: Kind) -> Steps:
    question = asked(kind, json.dumps({"name": "Li Bai", "age": 61}))
    whole = yield client.messages.parse(**question, output_format=Person)
    final = yield Final(client.messages.stream(**question, output_format=Person), FINAL)
    for message in (whole, final):
        assert message.parsed_output == Person(name="Li Bai", age=61), message


def check_tools(client: Any, kind: Kind) -> Steps:
    tool = {"name": "Weather", "input_schema": Weather.model_json_schema()}
    question = asked(kind, CALL, tools=[tool])
    if kind.short:
        try:
            yield client.messages.create(**question)
        except anthropic.BadRequestError as error:
            return refused(error, "context_length_exceeded")
        raise AssertionError("a description of tools fits")
    whole = yield client.messages.create(**question)
    final = yield Final(client.messages.stream(**question), FINAL)
    for message in (whole, final):
        call = message.content[-1]
        assert (call.type, call.name) == ("tool_use", "Weather"), message
        assert (call.input, message.stop_reason) == ({"city": "Rome"}, "tool_use")
    result = {"type": "tool_result", "tool_use_id": whole.content[-1].id}
    words = {"type": "text", "text": f"Say: {POEM}"}
    question["messages"] += [
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [{**result, "content": "Sunny."}, words]},
    ]
    after = yield client.messages.create(**question)
    assert POEM in after.content[0].text, after


def check_pictures(client: Any, kind: Kind) -> Steps:
    data = base64.b64encode(PNG).decode()
    source = {"type": "base64", "media_type": "image/png", "data": data}
    words = {"type": "text", "text": f"Say: {POEM}"}
    content = [{"type": "image", "source": source}, words]
    question = asked(kind, "", messages=[{"role": "user", "content": content}])
    try:
        told = yield client.messages.create(**question)
    except anthropic.BadRequestError as error:
        assert not kind.sees, error
        refused(error, "unsupported_parameter")
        assert "takes no" in error.message, error
    else:
        assert kind.sees and POEM in told.content[0].text, told


def check_counts(client: Any, kind: Kind) -> Steps:
    question = asked(kind, POEM)
    del question["max_tokens"]
    counted = yield client.messages.count_tokens(**question)
    assert counted.input_tokens > 0


def check_models(client: Any, kind: Kind) -> Steps:
    model = yield client.models.retrieve(kind.path)
    assert (model.id, model.type) == (kind.path, "model")
    question = {**asked(kind, POEM), "model": f"{kind.name}/nobody-has-it"}
    for stream in (False, True):
        try:
            yield client.messages.create(**question, stream=stream)
        except (anthropic.NotFoundError, anthropic.BadRequestError) as error:
            assert error.error_code == kind.unknown, error
        else:
            raise AssertionError("a model that nobody has answers")


CHECKS: dict[str, Check] = {
    "messages": check_words,
    "messages as JSON": check_json,
    "messages with tools": check_tools,
    "messages with pictures": check_pictures,
    "count_tokens": check_counts,
    "models": check_models,
}


def run(base_url: str, kind: Kind) -> None:
    """All checks with a sync and with an async client; the first error is raised."""
    place: Any = {"base_url": base_url, "api_key": KEY, "max_retries": 0}
    with Anthropic(**place) as client:
        play_all(CHECKS, client, kind)
    play_all_in_a_loop(CHECKS, lambda: AsyncAnthropic(**place), kind)
