"""What an OpenAI-compatible upstream says is handed on in its own words."""

from typing import Any

import orjson
import pytest

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import UpstreamCut, UpstreamFailed, UpstreamRateLimited
from kimi_proxy.events import (
    Event,
    Finished,
    ReasoningDelta,
    Relayed,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_compatible import payload

COUNTS = {"prompt_tokens": 3, "completion_tokens": 5, "odd_tokens": 1}


def chunk(delta: Any, reason: str | None = None, index: int = 0, **more: Any) -> Any:
    choice = {"index": index, "delta": delta, "finish_reason": reason, **more}
    return {"id": "up-1", "model": "m-2", "choices": [choice], "odd": [1, {"a": None}]}


def wire(*documents: Any, mark: bytes = b"data: ", end: bytes = b"\n\n") -> bytes:
    frames = [mark + orjson.dumps(d) + end for d in documents]
    return b"".join(frames) + mark + b"[DONE]" + end


def relayed(data: bytes, step: int = 5, *, tells_usage: bool = False) -> list[Event]:
    blocks = (data[i : i + step] for i in range(0, len(data), step))
    return list(streamed(blocks, relays=True, tells_usage=tells_usage))


def words(events: list[Event]) -> list[Any]:
    return [orjson.loads(e.data) for e in events if isinstance(e, Relayed)]


ODD = [
    chunk({"role": "assistant", "content": "", "refusal": None}),
    chunk({"reasoning_content": "hm"}),
    chunk(
        {"content": "你好"}, logprobs={"content": [{"token": "你", "logprob": -0.5}]}
    ),
    chunk({"content": "other"}, index=1),
    chunk({"annotations": [{"type": "url_citation"}]}),
    chunk(
        {
            "tool_calls": [
                {"index": 0, "id": "a", "type": "function", "function": {"name": "f"}},
                {"index": 1, "id": "b", "type": "function", "function": {"name": "g"}},
            ]
        }
    ),
    chunk({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
    chunk({}, "tool_calls"),
    chunk({}, "stop", 1),
]


@pytest.mark.parametrize("step", [1, 3, 10_000])
@pytest.mark.parametrize(
    ("mark", "end"), [(b"data: ", b"\n\n"), (b"data:", b"\r\n\r\n")]
)
def test_every_chunk_comes_as_it_was(step: int, mark: bytes, end: bytes) -> None:
    data = b": hello\n\n" + wire(*ODD, mark=mark, end=end)
    events = relayed(data, step)
    assert words(events) == ODD
    assert events[-1] == Finished("tool_calls")


def test_what_a_chunk_means_is_told_beside_it() -> None:
    said = [m for e in relayed(wire(*ODD)) if isinstance(e, Relayed) for m in e.events]
    assert said == [
        ReasoningDelta("hm"),
        TextDelta("你好"),
        ToolCallDelta(0, "a", "f", ""),
        ToolCallDelta(1, "b", "g", ""),
        ToolCallDelta(1, None, None, "{}"),
    ]


def test_a_chunk_is_not_written_anew() -> None:
    odd = b'{"choices": [ {"delta":{"content":"\\u4f60"},"finish_reason":"stop"} ] }'
    (event, _) = relayed(b"data: " + odd + b"\n\ndata: [DONE]\n\n")
    assert event == Relayed(odd, (TextDelta("你"),))


def test_lines_within_a_chunk_are_joined() -> None:
    data = (
        b'data: {"choices":[\ndata: {"delta":{"content":"x"},"finish_reason":"stop"}]}'
    )
    (event, _) = relayed(data + b"\n\n")
    assert isinstance(event, Relayed) and b"\n" not in event.data


def test_counts_alone_are_for_clients_that_asked_for_them() -> None:
    counts = {"choices": [], "usage": COUNTS}
    data = wire(chunk({"content": "x"}, "stop"), counts)
    assert words(relayed(data, tells_usage=True))[-1] == counts
    hidden = relayed(data)
    assert len(words(hidden)) == 1 and hidden[-1] == Finished("stop")


def test_counts_in_moonshots_place_are_told_apart() -> None:
    data = wire(chunk({"content": "x"}, "stop", usage=COUNTS))
    assert relayed(data)[-2:] == [Usage(3, 5), Finished("stop")]


def test_an_error_after_the_role_comes_before_anything_was_handed_on() -> None:
    limit = {"error": {"message": "later", "type": "rate_limit_reached_error"}}
    role = chunk({"role": "assistant", "content": ""})
    events = streamed(iter([wire(role, limit)]), relays=True)
    with pytest.raises(UpstreamRateLimited):
        next(events)


def test_an_error_as_finish_reason_is_one() -> None:
    with pytest.raises(UpstreamFailed):
        relayed(wire(chunk({"content": "x"}), chunk({}, "error")))


@pytest.mark.parametrize("missing", [0, 1])
def test_each_choice_has_to_end(missing: int) -> None:
    ends = [chunk({}, "stop", index) for index in (0, 1) if index != missing]
    data = wire(chunk({"content": "a"}), chunk({"content": "b"}, index=1), *ends)
    with pytest.raises(UpstreamCut):
        relayed(data)


def test_numbers_with_gaps_are_put_right_in_its_own_words_too() -> None:
    call = {"index": 2, "id": "a", "function": {"name": "f", "arguments": ""}}
    more = {"index": 2, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    data = wire(chunk({"tool_calls": [call]}), chunk({"tool_calls": [more]}, "stop"))
    first, second = (
        w["choices"][0]["delta"]["tool_calls"][0] for w in words(relayed(data))
    )
    assert first == {**call, "index": 0}
    assert second == {"index": 0, "function": {"arguments": "{}"}}


def test_a_whole_answer_comes_as_it_was() -> None:
    message = {"role": "assistant", "content": "x", "odd": 1}
    choices = [
        {"index": n, "message": message, "finish_reason": "stop"} for n in (0, 1)
    ]
    body = orjson.dumps({"choices": choices, "usage": COUNTS}) + b" "
    assert list(whole(body, relays=True)) == [
        Relayed(body, (TextDelta("x"), Usage(3, 5))),
        Finished("stop"),
    ]


@pytest.mark.parametrize(("relays", "asked"), [(True, 3), (False, None)])
def test_all_choices_are_asked_for_only_if_all_can_be_handed_on(
    relays: bool, asked: int | None
) -> None:
    body = {"messages": [{"role": "user", "content": "hi"}], "n": 3, "odd": 1}
    hello = (Message("user", "hi"),)
    request = ChatRequest("m", hello, choices=3, body=body, relays=relays)
    assert payload(request).get("n") == asked
    assert payload(request)["odd"] == 1
