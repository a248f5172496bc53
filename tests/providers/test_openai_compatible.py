"""The OpenAI-compatible provider: payload, chunks, whole answers, errors; no I/O."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from kimi_proxy.chat import ChatRequest, Message, ToolCall
from kimi_proxy.errors import (
    AccountExhausted,
    ContextTooLong,
    GatewayError,
    ModelForbidden,
    TokenDead,
    UpstreamCut,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamRateLimited,
    UpstreamRejected,
)
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_compatible import payload
from kimi_proxy.providers.openai_error import error_of


def sse(*documents: Any, end: bytes = b"data: [DONE]\n\n") -> bytes:
    frames = [b"data: " + orjson.dumps(document) + b"\n\n" for document in documents]
    return b"".join(frames) + end


def delta(reason: str | None = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": fields, "finish_reason": reason}]}


def events(wire: bytes, step: int = 7) -> list[Event]:
    def blocks() -> Iterator[bytes]:
        yield from (wire[i : i + step] for i in range(0, len(wire), step))

    return list(streamed(blocks()))


FULL = sse(
    delta(role="assistant", content=""),
    delta(reasoning_content="hm"),
    delta(content="你好 🎉"),
    delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "f"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": "{}"}}]),
    delta("tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 5}},
)


@pytest.mark.parametrize("step", [1, 2, 7, 10_000])
def test_a_stream_becomes_events_however_it_is_split(step: int) -> None:
    assert events(FULL, step) == [
        ReasoningDelta("hm"),
        TextDelta("你好 🎉"),
        ToolCallDelta(0, "c1", "f", ""),
        ToolCallDelta(0, None, None, "{}"),
        Usage(3, 5),
        Finished("tool_calls"),
    ]


def test_tool_calls_are_numbered_from_zero_and_named_once() -> None:
    name = {"id": "c1", "function": {"name": "f", "arguments": ""}}
    wire = sse(
        delta(tool_calls=[{"index": 1, **name}]),
        delta(tool_calls=[{"index": 1, **name, "function": {"arguments": "{}"}}]),
        delta(tool_calls=[{"index": 1, **name}]),
        delta(tool_calls=[{"index": 3, **name, "id": "c2"}]),
        delta("tool_calls"),
    )
    assert events(wire) == [
        ToolCallDelta(0, "c1", "f", ""),
        ToolCallDelta(0, None, None, "{}"),
        ToolCallDelta(0, None, None, ""),
        ToolCallDelta(1, "c2", "f", ""),
        Finished("tool_calls"),
    ]


def test_a_call_without_an_id_gets_one() -> None:
    bare = {"function": {"name": "f", "arguments": "{}"}}
    wire = sse(
        delta(tool_calls=[{"index": 0, **bare}]),
        delta(tool_calls=[{"index": 1, "id": "", **bare}]),
        delta("tool_calls"),
    )
    first, second, _ = events(wire)
    assert isinstance(first, ToolCallDelta) and isinstance(second, ToolCallDelta)
    assert first.id and second.id and first.id != second.id


def test_a_call_that_never_says_what_it_calls_is_garbled() -> None:
    nameless = {"index": 0, "id": "c1", "function": {"arguments": "{}"}}
    with pytest.raises(UpstreamGarbled, match="no name"):
        events(sse(delta(tool_calls=[nameless]), delta("tool_calls")))


def test_a_stream_cut_at_any_byte_before_its_finish_reason_is_no_success() -> None:
    end = FULL.index(b'"finish_reason":"tool_calls"')
    for cut in range(end):
        with pytest.raises(UpstreamCut):
            events(FULL[:cut])


def test_an_unfinished_event_at_the_end_is_a_cut_although_the_reason_came() -> None:
    with pytest.raises(UpstreamCut):
        events(sse(delta("stop"), end=b"data: {"))


def test_usage_inside_the_last_choice_counts_too() -> None:
    last = delta("stop")
    last["choices"][0]["usage"] = {"prompt_tokens": 1, "completion_tokens": 2}
    assert events(sse(delta(content="x"), last))[-2] == Usage(1, 2)


def test_an_error_inside_the_stream_is_raised() -> None:
    limited = {"error": {"message": "slow down", "type": "rate_limit_reached_error"}}
    with pytest.raises(UpstreamRateLimited, match="slow down"):
        events(sse(delta(content="x"), limited))


def test_garbage_in_the_stream_is_garbled() -> None:
    with pytest.raises(UpstreamGarbled):
        events(b"data: nonsense\n\n")


def test_a_whole_answer_folds_to_the_same_result_as_its_stream() -> None:
    message = {
        "reasoning_content": "hm",
        "content": "你好 🎉",
        "tool_calls": [{"id": "c1", "function": {"name": "f", "arguments": "{}"}}],
    }
    document = {
        "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5},
    }
    assert collect(whole(orjson.dumps(document))) == collect(events(FULL))


@pytest.mark.parametrize("document", [{}, {"choices": []}, {"choices": [{}]}])
def test_an_answer_without_a_finish_reason_is_garbled(document: Any) -> None:
    with pytest.raises(UpstreamGarbled):
        list(whole(orjson.dumps(document)))


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "context_length_exceeded", ContextTooLong),
        (400, None, UpstreamRejected),
        (401, "invalid_api_key", TokenDead),
        (402, None, AccountExhausted),
        (403, None, ModelForbidden),
        (429, None, UpstreamRateLimited),
        (429, "insufficient_quota", AccountExhausted),
        (429, "engine_overloaded_error", UpstreamOverloaded),
        (500, None, UpstreamFailed),
        (529, None, UpstreamOverloaded),
    ],
)
def test_a_refusal_is_known_by_its_code_first(
    status: int, code: str | None, error: type[GatewayError]
) -> None:
    told = error_of(status, {"error": {"message": "no", "code": code}}, 90)
    assert type(told) is error and told.retry_after == 90


@pytest.mark.parametrize("document", [None, [], {"error": "text"}, {"detail": "x"}])
def test_a_refusal_of_any_shape_is_understood(document: Any) -> None:
    assert isinstance(error_of(503, document, None), UpstreamFailed)


def test_an_echoed_key_is_not_repeated() -> None:
    told = error_of(401, {"error": {"message": "bad key sk-made-up-0123456789"}}, None)
    assert "made-up" not in told.message


def test_the_payload_keeps_roles_calls_and_only_known_sampling() -> None:
    call = ToolCall("c1", "f", "{}")
    request = ChatRequest(
        model="m",
        messages=(
            Message("user", "hi"),
            Message("assistant", "", tool_calls=(call,)),
            Message("tool", "42", tool_call_id="c1"),
        ),
        stream=True,
        effort="low",
        sampling={"temperature": 0.5, "novelty": 3},
    )
    body = payload(request)
    assert body["stream_options"] == {"include_usage": True}
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "tool"]
    assert body["messages"][1]["tool_calls"][0]["id"] == "c1"
    assert body["messages"][2]["tool_call_id"] == "c1"
    assert body["temperature"] == 0.5 and body["reasoning_effort"] == "low"
    assert "novelty" not in body


def test_where_no_reason_is_given_the_end_mark_is_the_end() -> None:
    said = {"code": 0, "message": "Success", **delta(content="hi")}
    wire = sse(said, {"choices": [], "usage": {"prompt_tokens": 1}})
    assert list(streamed(iter([wire]), reasons=False))[-1] == Finished("stop")
    with pytest.raises(UpstreamCut):
        list(streamed(iter([sse(said, end=b"")]), reasons=False))
    with pytest.raises(UpstreamCut):
        list(streamed(iter([sse(end=b"data: [DONE]\n\n")]), reasons=False))


def test_a_whole_answer_without_a_reason_is_one_where_none_is_given() -> None:
    choice = {"index": 0, "message": {"role": "assistant", "content": "hi"}}
    answer = orjson.dumps({"code": 0, "choices": [choice]})
    assert collect(whole(answer, reasons=False)).text == "hi"
    with pytest.raises(UpstreamGarbled):
        list(whole(b'{"choices":[]}', reasons=False))
