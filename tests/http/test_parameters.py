"""Parameters by upstream: done, done in its place, named as ignored, or refused."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from emulators.kimi_connect import Answer, KimiConnectEmulator
from tests.http import expect, grammar
from tests.http.conftest import Build, House
from tests.http.scripted import Step, chat

PATH = "/v1/chat/completions"
SAMPLING = {
    "temperature": 0.5,
    "top_p": 0.9,
    "presence_penalty": 1,
    "frequency_penalty": 1,
    "seed": 7,
    "logit_bias": {"1": 2},
    "logprobs": True,
    "top_logprobs": 3,
    "verbosity": "low",
    "top_k": 40,
    "min_p": 0.1,
    "repetition_penalty": 1.1,
    "prediction": {"type": "content", "content": "x"},
    "service_tier": "flex",
    "store": True,
}
# What clients send with every request, and ask for nothing by it.
NEUTRAL = {
    "top_p": 1,
    "presence_penalty": 0,
    "frequency_penalty": 0.0,
    "repetition_penalty": 1.0,
    "logit_bias": {},
    "logprobs": False,
    "top_logprobs": 0,
    "service_tier": "auto",
    "store": False,
    "stop": [],
    "seed": None,
}
TOOL = {
    "type": "function",
    "function": {"name": "f", "parameters": {"type": "object", "required": ["a"]}},
}
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "x", "schema": {"type": "object"}},
}
STOOD_IN = {
    "tools": [TOOL],
    "tool_choice": "auto",
    "response_format": FORMAT,
    "stop": ["END"],
    "max_tokens": 50,
}


@pytest.fixture
def house(build: Build) -> House:
    return build()


def ask(house: House, *steps: Step, **fields: Any) -> Any:
    return house.client.post(PATH, json=chat(*steps, **fields))


class TestChoices:
    """`n`: each choice is an answer of its own."""

    STEPS: tuple[Step, ...] = (
        ["think", "hm"],
        ["text", "a"],
        ["usage", 7, 11, 3, 2],
        ["finish"],
    )

    @pytest.mark.parametrize("n", [1, 2, 8])
    def test_whole(self, house: House, n: int) -> None:
        answer = ask(house, *self.STEPS, n=n, stream=False)
        body = answer.get_json()
        assert [choice["index"] for choice in body["choices"]] == list(range(n))
        message = {"role": "assistant", "content": "a", "reasoning_content": "hm"}
        for choice in body["choices"]:
            assert choice["message"] == message
            assert choice["finish_reason"] == "stop"
        assert body["usage"]["prompt_tokens"] == 7 * n
        assert body["usage"]["completion_tokens"] == 11 * n
        assert body["usage"]["total_tokens"] == 18 * n
        emulated = answer.headers.get("x-kimi-proxy-emulated")
        assert emulated == ("n" if n > 1 else None)

    @pytest.mark.parametrize("n", [1, 3, 8])
    def test_streamed(self, house: House, n: int) -> None:
        options = {"stream_options": {"include_usage": True}}
        data = ask(house, *self.STEPS, n=n, **options).data
        assert data.count(b"[DONE]") == 1 and data.endswith(b"data: [DONE]\n\n")
        frames = [json.loads(line[6:]) for line in data.split(b"\n\n")[:-2]]
        *chunks, last = frames
        assert last["choices"] == []
        assert last["usage"]["total_tokens"] == 18 * n
        choices = [choice for chunk in chunks for choice in chunk["choices"]]
        assert all(chunk["usage"] is None for chunk in chunks)
        for index in range(n):
            own = [c for c in choices if c["index"] == index]
            assert [c["delta"].get("role") for c in own] == ["assistant", *[None] * 3]
            assert [c["finish_reason"] for c in own] == [None, None, None, "stop"]
            assert "".join(c["delta"].get("content", "") for c in own) == "a"

    def test_calls_begin_at_zero_in_each(self, house: House) -> None:
        steps = (["call", 0, "c1", "f", "{}"], ["finish"])
        body = ask(house, *steps, n=2, stream=False).get_json()
        assert [c["finish_reason"] for c in body["choices"]] == ["tool_calls"] * 2
        data = ask(house, *steps, n=2).data
        assert data.count(b'"tool_calls":[{"index":0') == 2

    def test_one_that_fails_fails_the_answer(self, house: House) -> None:
        steps = (["raise", "UpstreamFailed"],)
        expect.error(ask(house, *steps, n=2, stream=False), 503, "upstream_failed")

    def test_there_is_a_most(self, house: House) -> None:
        answer = ask(house, ["finish"], n=9)
        expect.error(answer, 400, "unsupported_parameter", "n")

    def test_a_conversation_goes_on_with_one_only(self, house: House) -> None:
        answer = ask(house, ["finish"], n=2, conversation_id="some-chat")
        expect.error(answer, 400, "unsupported_parameter", "n")


def test_what_is_done_in_the_upstreams_place_is_named(house: House) -> None:
    answer = ask(house, ["text", "{}"], ["finish"], **STOOD_IN)
    named = answer.headers["x-kimi-proxy-emulated"]
    assert named == "tools, stop, response_format, max_tokens"
    assert "x-kimi-proxy-ignored" not in answer.headers
    assert grammar.read(answer.data).text == "{}"


@pytest.mark.parametrize("stream", [True, False])
def test_a_tiny_max_tokens_is_no_error(house: House, stream: bool) -> None:
    for field in ("max_tokens", "max_completion_tokens"):
        steps = (["think", "one two three"], ["text", "four"], ["finish"])
        answer = ask(house, *steps, stream=stream, **{field: 1})
        if stream:
            found = grammar.read(answer.data)
            assert (found.text, found.reason) == ("", "length")
            continue
        (choice,) = answer.get_json()["choices"]
        assert choice["finish_reason"] == "length"
        assert choice["message"]["content"] == ""


@pytest.mark.parametrize("stream", [True, False])
def test_no_json_is_no_success(house: House, stream: bool) -> None:
    wanted = {"type": "json_object"}
    answer = ask(
        house, ["text", "No."], ["finish"], stream=stream, response_format=wanted
    )
    expect.error(answer, 503, "invalid_answer")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"type": "nothing"}, "not a valid JSON Schema"),
        ({"$ref": "http://127.0.0.1:9/x"}, "lacks what it refers to"),
    ],
)
def test_a_wrong_schema_is_refused_before_an_account_is_used(
    house: House, schema: Any, words: str
) -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for stream in (True, False):
        answer = ask(house, ["finish"], tag="a", stream=stream, response_format=wanted)
        path = "response_format.json_schema.schema"
        found = expect.error(answer, 400, None, path)
        assert words in found["message"]
    assert house.diary.words("a") == []


WRONG_TOOLS: dict[str, Any] = {
    "a string": "x",
    "of another type": {"type": "string"},
    "of other types": {"type": ["null", "array"]},
}


@pytest.mark.parametrize("schema", WRONG_TOOLS.values(), ids=WRONG_TOOLS)
def test_arguments_that_are_no_object_are_refused(house: House, schema: Any) -> None:
    tool = {"type": "function", "function": {"name": "g", "parameters": schema}}
    answer = ask(house, ["finish"], tag="a", tools=[TOOL, tool])
    expect.error(answer, 400, None, "tools[1].function.parameters")
    assert house.diary.words("a") == []


CALL = '<tool_call>{"name": "f", "arguments": %s}</tool_call>'


def test_a_call_that_is_wrong_twice_is_an_error(house: House) -> None:
    wrong = CALL % "{}"
    for stream in (True, False):
        answer = ask(house, ["text", wrong], ["finish"], stream=stream, tools=[TOOL])
        # The second answer repeats the correction, which has the wrong call in it.
        expect.error(answer, 503, "invalid_answer")
    answer = ask(house, ["text", f"Hm.\n{wrong}"], ["finish"], tools=[TOOL])
    found = grammar.read(answer.data)
    assert found.text == "Hm."
    assert found.error is not None and found.error["code"] == "invalid_answer"
    assert not found.done


def test_a_call_is_streamed_as_it_is_whole(house: House) -> None:
    steps = (["text", "Hm.\n" + CALL % '{"a": 1}'], ["finish"])
    stream = grammar.read(ask(house, *steps, tools=[TOOL]).data)
    (choice,) = ask(house, *steps, tools=[TOOL], stream=False).get_json()["choices"]
    assert stream.reason == choice["finish_reason"] == "tool_calls"
    one, other = stream.message(), choice["message"]
    for message in (one, other):
        (call,) = message["tool_calls"]
        assert call.pop("id").startswith("call_")
    assert one == other


def ask_plainly(house: House, model: str, **fields: Any) -> Any:
    messages = [{"role": "user", "content": "hi"}]
    return house.client.post(PATH, json={"model": model, "messages": messages} | fields)


@pytest.fixture
def kimi() -> Iterator[KimiConnectEmulator]:
    with KimiConnectEmulator() as emulator:
        emulator.answer = Answer("one two three")
        yield emulator


def kimi_house(build: Build, kimi: KimiConnectEmulator, strict: bool) -> House:
    provider = {
        "type": "kimi",
        "wire": "connect",
        "tokens": [{"name": "a", "token": kimi.add_account("a").refresh}],
        "hosts": dict.fromkeys(("api", "auth", "legacy"), kimi.url),
        "strict_params": strict,
    }
    return build(providers={"kimi": provider})


def test_kimi_honours_none_of_the_sampling_and_says_so(
    build: Build, kimi: KimiConnectEmulator
) -> None:
    house = kimi_house(build, kimi, strict=False)
    answer = ask_plainly(house, "kimi", **SAMPLING, stop=["END"], max_tokens=50)
    named = answer.headers["x-kimi-proxy-ignored"]
    assert named == ", ".join(sorted(SAMPLING))
    usage = answer.get_json()["usage"]
    assert usage["estimated"] is True
    assert usage["prompt_tokens_details"] == {"cached_tokens": 0}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert usage["total_tokens"] > 4


def test_a_strict_upstream_refuses_them_and_takes_the_rest(
    build: Build, kimi: KimiConnectEmulator
) -> None:
    house = kimi_house(build, kimi, strict=True)
    for name, value in SAMPLING.items():
        answer = ask_plainly(house, "kimi", **{name: value})
        found = expect.error(answer, 400, "unsupported_parameter", name)
        assert "kimi" in found["message"]
    assert kimi.chats() == ()
    assert ask_plainly(house, "kimi", stop=["END"], max_tokens=50).status_code == 200


def test_values_that_ask_for_nothing_are_neither_refused_nor_named(
    build: Build, kimi: KimiConnectEmulator
) -> None:
    answer = ask_plainly(kimi_house(build, kimi, strict=True), "kimi", **NEUTRAL)
    assert answer.status_code == 200, answer.data
    assert not [name for name, _ in answer.headers if "ignored" in name]
