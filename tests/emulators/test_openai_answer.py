"""The OpenAI emulator's scripted answers, whole and streamed, in every spelling."""

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest
from openai import OpenAI

from emulators.openai import (
    Answer,
    Choice,
    OpenAIEmulator,
    Refusal,
    Spelling,
    ToolCall,
    in_turn,
)
from tests.emulators.openai_client import Api

USAGE = {"stream_options": {"include_usage": True}}


@pytest.fixture
def emulator() -> Iterator[OpenAIEmulator]:
    with OpenAIEmulator() as running:
        running.add_key("alice")
        yield running


@pytest.fixture
def api(emulator: OpenAIEmulator) -> Iterator[Api]:
    client = Api(emulator, emulator.world.keys.named("alice").secret)
    yield client
    client.leave()


def test_the_default_answer_quotes_the_last_user_message(api: Api) -> None:
    parts = [{"type": "text", "text": "wo"}, {"type": "text", "text": "rld"}]
    messages = [
        {"role": "user", "content": "hello"},
        {"role": "assistant", "content": "hi"},
        {"role": "user", "content": parts},
    ]
    whole = api.ask(messages=messages).json()
    (choice,) = whole["choices"]
    assert choice["message"]["content"] == "You said: world"
    assert choice["finish_reason"] == "stop" and choice["logprobs"] is None
    assert whole["object"] == "chat.completion" and whole["model"] == "gpt-4o"
    assert whole["id"].startswith("chatcmpl-") and whole["system_fingerprint"]
    assert "".join(api.stream(messages=messages).deltas()) == "You said: world"


def test_a_stream_has_the_role_once_the_finish_once_and_ends_with_done(
    api: Api,
) -> None:
    reply = api.stream()
    assert reply.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert reply.done and reply.deltas("role") == ["assistant"]
    finishes = [event["choices"][0]["finish_reason"] for event in reply.events]
    assert finishes == [None] * (len(finishes) - 1) + ["stop"]
    assert {event["object"] for event in reply.events} == {"chat.completion.chunk"}
    assert len({(event["id"], event["created"]) for event in reply.events}) == 1
    assert not any("usage" in event for event in reply.events)


def test_pieces_are_exact_or_sizes(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.answer = Answer(Choice(pieces=("a", "", "bc")))
    assert api.stream().deltas()[1:] == ["a", "", "bc"]
    emulator.answer = Answer(Choice("abcdefg", pieces=3))
    assert api.stream().deltas()[1:] == ["abc", "def", "g"]
    with pytest.raises(ValueError, match="join"):
        Choice("abc", pieces=("a", "b"))


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_reasoning_comes_before_the_text_under_the_vendors_key(
    emulator: OpenAIEmulator, api: Api, key: str
) -> None:
    emulator.knobs.reasoning_key = key
    emulator.answer = Answer(Choice("Two.", reasoning="one and one is"))
    message = api.ask().json()["choices"][0]["message"]
    assert message[key] == "one and one is" and message["content"] == "Two."
    reply = api.stream()
    assert "".join(reply.deltas(key)) == "one and one is"
    kinds = [next(iter(e["choices"][0]["delta"])) for e in reply.events[1:-1]]
    assert kinds == [key] * 2 + ["content"]


def test_tool_calls_come_in_deltas_one_after_the_other(
    emulator: OpenAIEmulator, api: Api
) -> None:
    calls = (
        ToolCall("f", '{"a": 1}', id="c1", pieces=3),
        ToolCall("g", "{}", pieces=9),
    )
    emulator.answer = Answer(Choice(tools=calls))
    choice = api.ask().json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert choice["message"]["content"] is None
    first, second = choice["message"]["tool_calls"]
    assert first == {
        "id": "c1",
        "type": "function",
        "function": {"name": "f", "arguments": '{"a": 1}'},
    }
    assert second["id"].startswith("call_")
    deltas = [delta for (delta,) in api.stream().deltas("tool_calls")]
    assert [delta["index"] for delta in deltas] == [0, 0, 0, 0, 1, 1]
    assert deltas[0]["function"] == {"name": "f", "arguments": ""}
    assert "id" not in deltas[1] and "name" not in deltas[1]["function"]
    joined = "".join(d["function"]["arguments"] for d in deltas if d["index"] == 0)
    assert joined == '{"a": 1}'


def test_parallel_tool_calls_may_alternate(emulator: OpenAIEmulator, api: Api) -> None:
    calls = tuple(ToolCall(name, "[12345678]", pieces=5) for name in "fg")
    emulator.answer = Answer(Choice("text", tools=calls, parallel=True))
    deltas = [delta for (delta,) in api.stream().deltas("tool_calls")]
    assert [delta["index"] for delta in deltas] == [0, 1, 0, 1, 0, 1]


def test_a_refusal_and_annotations_are_told(emulator: OpenAIEmulator, api: Api) -> None:
    note = {"type": "url_citation", "url_citation": {"url": "https://example.org"}}
    emulator.answer = Answer(
        (Choice(refusal="I will not."), Choice("x", annotations=(note,)))
    )
    first, second = api.ask(n=2).json()["choices"]
    assert first["message"]["refusal"] == "I will not."
    assert first["message"]["content"] is None
    assert second["message"]["annotations"] == [note]
    reply = api.stream(n=2)
    assert "".join(reply.deltas("refusal")) == "I will not."
    assert reply.deltas("annotations", index=1) == [[note]]


def test_several_choices_are_interleaved(emulator: OpenAIEmulator, api: Api) -> None:
    emulator.answer = Answer((Choice("aaaa", pieces=1), Choice("bb", pieces=1)))
    reply = api.stream(n=2)
    order = [event["choices"][0]["index"] for event in reply.events]
    assert order == [0, 1, 0, 1, 0, 1, 0, 1, 0, 0]
    assert "".join(reply.deltas(index=0)) == "aaaa"
    assert "".join(reply.deltas(index=1)) == "bb"
    emulator.answer = Answer("same")
    assert len(api.ask(n=3).json()["choices"]) == 3


def test_log_probabilities_come_when_asked_for(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer(Choice(pieces=("你", "好")))
    rows = api.ask(logprobs=True, top_logprobs=2).json()["choices"][0]["logprobs"]
    assert [row["token"] for row in rows["content"]] == ["你", "好"]
    assert rows["content"][0]["bytes"] == list("你".encode())
    assert len(rows["content"][0]["top_logprobs"]) == 2
    events = api.stream(logprobs=True).events
    told = [e["choices"][0]["logprobs"] for e in events]
    assert told[0] is None and told[1]["content"][0]["token"] == "你"
    assert all(e["choices"][0]["logprobs"] is None for e in api.stream().events)


def test_unknown_fields_may_stand_at_every_level(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer(
        Choice(
            "x",
            tools=(ToolCall("f", fields={"x_call": 1}),),
            fields={"x_choice": 2},
            message_fields={"x_message": 3},
        ),
        fields={"x_top": 4},
        usage={"x_usage": 5},
    )
    whole = api.ask().json()
    choice = whole["choices"][0]
    assert whole["x_top"] == 4 and choice["x_choice"] == 2
    assert choice["message"]["x_message"] == 3 and whole["usage"]["x_usage"] == 5
    assert choice["message"]["tool_calls"][0]["x_call"] == 1
    reply = api.stream(**USAGE)
    assert all(event["x_top"] == 4 for event in reply.events)
    assert all(e["choices"][0]["x_choice"] == 2 for e in reply.events[:-1])
    assert reply.deltas("x_message") == [3]
    assert reply.events[-1]["usage"]["x_usage"] == 5


def usages(events: list[Any]) -> tuple[list[int], list[int]]:
    """Return which chunks tell usage at the top, and which in the choice."""
    top = [n for n, event in enumerate(events) if event.get("usage")]
    inner = [
        n for n, e in enumerate(events) if e["choices"] and "usage" in e["choices"][0]
    ]
    return top, inner


@pytest.mark.parametrize(
    ("place", "asked", "unasked"),
    [
        ("extra", ([4], []), ([], [])),
        ("choice", ([], [3]), ([], [3])),
        ("both", ([4], [3]), ([], [3])),
        ("last", ([3], []), ([3], [])),
        ("every", ([0, 1, 2, 3], []), ([0, 1, 2, 3], [])),
        ("never", ([], []), ([], [])),
    ],
)
def test_usage_stands_where_the_vendor_puts_it(
    emulator: OpenAIEmulator,
    api: Api,
    place: str,
    asked: tuple[list[int], list[int]],
    unasked: tuple[list[int], list[int]],
) -> None:
    emulator.knobs.usage_place = place
    emulator.answer = Answer(Choice(pieces=("a", "b")))
    events = api.stream(**USAGE).events
    assert usages(events) == asked
    if place == "extra":
        assert all(event["usage"] is None for event in events[:-1])
        assert events[-1]["choices"] == []
    assert usages(api.stream().events) == unasked
    assert ("usage" in api.ask().json()) == (place != "never")


def test_an_answer_may_overrule_the_place_of_usage(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer("abcd", usage_place="last", usage={"prompt_tokens": 99})
    assert api.stream().events[-1]["usage"]["prompt_tokens"] == 99


def test_the_token_limit_and_stop_sequences_end_an_answer(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = Answer(Choice("abcdefghEND and more", reasoning="hmm."))
    choice = api.ask(max_completion_tokens=2).json()["choices"][0]
    assert choice["message"]["content"] == "abcd"
    assert choice["finish_reason"] == "length"
    choice = api.ask(stop=["END", "xyz"]).json()["choices"][0]
    assert choice["message"]["content"] == "abcdefgh"
    assert choice["finish_reason"] == "stop"
    assert "".join(api.stream(max_tokens=3).deltas()) == "abcdefgh"


def test_a_script_may_look_at_the_request_or_go_in_turn(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.answer = lambda body: Answer(f"n={body.get('n')}")
    assert api.ask(n=1).json()["choices"][0]["message"]["content"] == "n=1"
    emulator.answer = in_turn(Answer("one"), Refusal(503, {"error": "no"}), Answer("3"))
    replies = [api.ask() for _ in range(4)]
    assert [reply.status for reply in replies] == [200, 503, 200, 200]


SPELLINGS = {
    "crlf": Spelling(end="\r\n"),
    "cr": Spelling(end="\r"),
    "tight": Spelling(tight=True),
    "comments": Spelling(comments=True),
    "bom": Spelling(bom=True),
    "multi-line": Spelling(multi_line=True),
    "fields": Spelling(event="message", ids=True, retry=3000),
    "ascii": Spelling(ascii=True),
    "all": Spelling("\r\n", True, True, True, True, "x", True, 1, False, True),
}


def read(body: bytes) -> list[Any]:
    """Return the data of each event, as the standard of event streams reads it."""
    text = body.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    found: list[Any] = []
    data: list[str] = []
    for line in text.split("\n"):
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            found.append("\n".join(data))
            data = []
    return [item if item == "[DONE]" else json.loads(item) for item in found]


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_spelling_changes_the_bytes_and_not_the_meaning(
    emulator: OpenAIEmulator, api: Api, name: str
) -> None:
    spelling = SPELLINGS[name]
    emulator.answer = Answer("你好 🙂 héllo")
    plain = read(api.stream().body)
    emulator.knobs.spelling = spelling
    body = api.stream().body
    odd = read(body)
    assert (odd[-1] == "[DONE]") == spelling.done
    texts = [e["choices"][0]["delta"] for e in odd if e != "[DONE]"]
    assert texts == [e["choices"][0]["delta"] for e in plain[:-1]]
    assert body.startswith(b"\xef\xbb\xbf") == spelling.bom
    assert (b"data:{" in body) == spelling.tight
    assert (b": made-up comment" in body) == spelling.comments
    assert (b"\r" in body) == ("\r" in spelling.end)
    assert (b"\nid:" in body.replace(b"\r\n", b"\n")) == spelling.ids
    assert (b"retry:" in body) == (spelling.retry is not None)
    assert (b"event:" in body) == bool(spelling.event)
    assert ("你".encode() in body) != spelling.ascii


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7])
def test_bytes_may_be_split_anywhere(
    emulator: OpenAIEmulator, api: Api, size: int, chunked: bool
) -> None:
    emulator.knobs.split, emulator.knobs.chunked = (size,), chunked
    emulator.answer = Answer("你好")
    reply = api.stream()
    assert "".join(reply.deltas()) == "你好"
    assert ("transfer-encoding" in reply.headers) == chunked


def test_whole_answers_are_compressed_for_those_who_take_it(
    emulator: OpenAIEmulator, api: Api
) -> None:
    emulator.knobs.gzip = True
    assert api.ask().json()["choices"]
    accepting = {"Accept-Encoding": "gzip, deflate"}
    reply = api.call("GET", "/models", headers=accepting)
    assert reply.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(reply.body))["object"] == "list"


def test_the_official_client_reads_all_of_it(emulator: OpenAIEmulator) -> None:
    key = emulator.world.keys.named("alice").secret
    client = OpenAI(base_url=emulator.base_url, api_key=key, max_retries=0)
    calls = (ToolCall("f", '{"a": 1}'), ToolCall("g", '{"b": 2}'))
    emulator.answer = Answer(Choice("Hi.", reasoning="hm", tools=calls, parallel=True))
    with client.chat.completions.stream(
        model="gpt-4o", messages=[{"role": "user", "content": "x"}]
    ) as stream:
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Hi." and message.tool_calls is not None
    assert [c.function.arguments for c in message.tool_calls] == [
        '{"a": 1}',
        '{"b": 2}',
    ]
    client.close()
