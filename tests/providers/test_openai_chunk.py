"""What vendors put into their chunks: other words, other places, other types."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import orjson
import pytest
from requests.structures import CaseInsensitiveDict

from kimi_proxy.errors import (
    GatewayError,
    UpstreamCut,
    UpstreamFailed,
    UpstreamGarbled,
    UpstreamOverloaded,
    UpstreamRateLimited,
)
from kimi_proxy.events import Event, Finished, Relayed, Usage, collect
from kimi_proxy.providers import openai_account, openai_model
from kimi_proxy.providers.openai_answer import streamed, whole
from kimi_proxy.providers.openai_error import refused
from kimi_proxy.upstream import Reply

NOW = 1_800_000_000.0
ODD: list[Any] = [
    *(None, 0, 1, -1, "", "x", "0", "stop", True, 1.5, [], {}, [1], ["a"], [[]]),
    *({"a": 1}, [None], [{}], {"message": 1}),
]
CALL = {"index": 0, "id": "a", "type": "function", "function": {"name": "f"}}
DETAILS = {
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
COUNTS = {"prompt_tokens": 1, "completion_tokens": 2}


def delta(finish: str | None = None, **said: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


def sse(*documents: Any, end: bytes = b"data: [DONE]\n\n") -> bytes:
    lines = (b"data: " + orjson.dumps(document) + b"\n\n" for document in documents)
    return b"".join(lines) + end


def events(*documents: Any, **options: Any) -> list[Event]:
    return list(streamed(iter([sse(*documents)]), **options))


def mutants(document: Any) -> Iterator[Any]:
    """The document with each of its values replaced by each odd one."""
    yield from ODD
    if isinstance(document, dict | list):
        names = document if isinstance(document, dict) else range(len(document))
        for name in list(names):
            for odd in mutants(document[name]):
                changed = copy.copy(document)
                changed[name] = odd
                yield changed


STREAM: list[Any] = [
    delta(role="assistant", content="", reasoning="r", refusal="no"),
    delta(reasoning_details=[{"type": "reasoning.text", "text": "t"}]),
    delta(content=[{"type": "thinking", "thinking": [{"text": "t"}]}]),
    delta(tool_calls=[{**CALL, "function": {"name": "f", "arguments": "{}"}}]),
    delta("stop"),
    {"choices": [], "usage": {**COUNTS, **DETAILS}},
]


@pytest.mark.parametrize("at", range(len(STREAM)))
@pytest.mark.parametrize("relays", [True, False])
def test_no_value_of_an_odd_type_is_a_defect_of_ours(at: int, relays: bool) -> None:
    for odd in mutants(STREAM[at]):
        documents = [*STREAM[:at], odd, *STREAM[at + 1 :]]
        try:
            told = events(*documents, relays=relays, names={"f": "g"})
        except GatewayError:
            continue
        meant = [m for e in told if isinstance(e, Relayed) for m in e.events]
        for one in [e for e in told if not isinstance(e, Relayed)] + meant:
            assert isinstance(getattr(one, "text", ""), str)
            assert isinstance(getattr(one, "arguments", ""), str)
            if isinstance(one, Usage):
                counts = (one.prompt_tokens, one.completion_tokens)
                more = (one.reasoning_tokens, one.cached_tokens)
                assert all(isinstance(count, int) for count in counts + more)


REFUSAL = {
    "error": {
        "message": "m",
        "code": "c",
        "details": [{"retryDelay": "1s"}, {"violations": [{"quotaId": "PerDay"}]}],
    },
    "base_resp": {"status_code": 1002, "status_msg": "m"},
    "detail": [{"msg": "m"}],
}
ROW = {
    "id": "a",
    "architecture": {"input_modalities": ["text"], "modality": "text+image->text"},
    "supports_thinking_type": "only",
    "think_efforts": {"support": True, "valid_efforts": ["low"]},
    "capabilities": {"vision": True, "reasoning_effort": ["low"]},
    "top_provider": {"max_completion_tokens": 4},
}
USAGES = {"usage": {"limit": "1", "used": "1"}, "limits": [{"detail": {"limit": "1"}}]}


def test_nor_is_one_in_an_error_a_list_or_an_account() -> None:
    for odd in mutants(REFUSAL):
        for status in (400, 403, 429, 503):
            reply = Reply(status, CaseInsensitiveDict(), orjson.dumps(odd))
            assert isinstance(refused(reply, NOW), GatewayError)
    for odd in mutants({"data": [ROW]}):
        if isinstance(odd, dict):
            openai_model.listed(odd, "made up")
    accounts: list[tuple[openai_account.Account, Any]] = [
        ("kimi-code", USAGES),
        ("moonshot", {"data": {"available_balance": 1.0}}),
    ]
    for kind, document in accounts:
        for odd in mutants(document):
            try:
                openai_account.read(kind, orjson.dumps(odd), NOW)
            except GatewayError:
                continue


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("stop", "stop"),
        ("eos", "stop"),
        ("length", "length"),
        ("model_length", "length"),
        ("model_context_window_exceeded", "length"),
        ("sensitive", "content_filter"),
    ],
)
def test_every_vendors_word_for_the_end_is_understood(told: str, meant: str) -> None:
    assert events(delta(content="hi"), delta(told))[-1] == Finished(meant)  # type: ignore[arg-type]  # one of them


@pytest.mark.parametrize(
    ("told", "kind"),
    [
        ("error", UpstreamFailed),
        ("network_error", UpstreamFailed),
        ("abort", UpstreamFailed),
        ("insufficient_system_resource", UpstreamOverloaded),
    ],
)
@pytest.mark.parametrize("relays", [True, False])
def test_an_answer_that_was_given_up_is_no_answer(
    told: str, kind: type[GatewayError], relays: bool
) -> None:
    with pytest.raises(kind, match="broke its answer off"):
        events(delta(content="half"), delta(told), relays=relays)
    choice = {"message": {"content": "half"}, "finish_reason": told}
    with pytest.raises(kind):
        list(whole(orjson.dumps({"choices": [choice]}), relays=relays))


THOUGHT = "1+1 is"


@pytest.mark.parametrize(
    "said",
    [
        {"reasoning_content": THOUGHT},
        {"reasoning": THOUGHT},
        {"thinking": THOUGHT},
        {"reasoning": THOUGHT, "reasoning_details": [{"text": THOUGHT}]},
        {"reasoning_content": None, "reasoning": THOUGHT},
        {"reasoning_details": [{"type": "reasoning.text", "text": THOUGHT}]},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": THOUGHT}]},
        {"content": [{"type": "thinking", "thinking": [{"text": THOUGHT}]}]},
        {"content": [{"type": "thinking", "thinking": THOUGHT}]},
    ],
)
@pytest.mark.parametrize("relays", [True, False])
def test_thinking_is_found_under_every_name(said: dict[str, Any], relays: bool) -> None:
    parts = [{"type": "text", "text": "Two"}, {"type": "text", "text": "."}]
    stream = [delta(**said), delta(content=parts), delta("stop")]
    result = collect(events(*stream, relays=relays))
    assert (result.reasoning, result.text) == (THOUGHT, "Two.")


def call(index: int | None, name: str | None, arguments: Any, **more: Any) -> Any:
    function = {"arguments": arguments} | ({"name": name} if name else {})
    numbered = {} if index is None else {"index": index}
    return {"tool_calls": [{**numbered, "function": function, **more}]}


PARALLEL = {
    # Servers before Gemini (new-api#2701): every call is the first.
    "same-number": [call(0, "f", '{"a":1}', id="x"), call(0, "g", "{}", id="y")],
    "no-number": [call(None, "f", '{"a":1}', id="x"), call(None, "g", "{}", id="y")],
    # Older vLLM: each delta has another id.
    "new-ids": [
        *(call(0, "f", '{"a"', id="x"), call(0, None, ":1}", id="z")),
        *(call(1, "g", "{", id="y"), call(1, None, "}", id="w")),
    ],
    # Names and ids come again with every delta.
    "repeated": [
        *(call(0, "f", '{"a"', id="x"), call(0, "f", ":1}", id="x")),
        call(1, "g", "{}", id="y"),
    ],
    "from-one-backwards": [
        *(call(3, "f", '{"a":1}', id="x"), call(1, "g", "{", id="y")),
        *(call(1, None, "}"), call(3, None, "")),
    ],
    "objects": [call(0, "f", {"a": 1}, id="x"), call(1, "g", {}, id="y")],
}


@pytest.mark.parametrize("relays", [True, False])
@pytest.mark.parametrize("odd", PARALLEL)
def test_calls_are_kept_apart_however_they_are_numbered(odd: str, relays: bool) -> None:
    stream = [*(delta(**said) for said in copy.deepcopy(PARALLEL[odd]))]
    told = events(*stream, delta("tool_calls"), relays=relays)
    calls = collect(told).tool_calls
    assert [(c.id, c.name, orjson.loads(c.arguments)) for c in calls] == [
        ("x", "f", {"a": 1}),
        ("y", "g", {}),
    ]
    for one in (e for e in told if isinstance(e, Relayed)):
        for choice in orjson.loads(one.data)["choices"]:
            for piece in choice["delta"].get("tool_calls", ()):
                assert piece.get("index", 0) in (0, 1)
                assert isinstance(piece["function"]["arguments"], str)


LIMITED = {"error": {"message": "slow down", "type": "rate_limit_reached_error"}}


@pytest.mark.parametrize(
    "body", [orjson.dumps(LIMITED), b"\n" + orjson.dumps(LIMITED) + b"\n"]
)
def test_an_error_that_is_no_event_is_understood_in_place_of_a_stream(
    body: bytes,
) -> None:
    with pytest.raises(UpstreamRateLimited, match="slow down"):
        list(streamed(iter([body])))


@pytest.mark.parametrize("body", [b"", b"{}", b"[1]", b'{"choices": []}', b"oops"])
def test_any_other_rest_is_a_cut(body: bytes) -> None:
    with pytest.raises(UpstreamCut):
        list(streamed(iter([body])))


def test_words_of_success_are_no_error() -> None:
    """xfyun.cn/doc/spark: every object says so."""
    fine = {"code": 0, "message": "Success", "sid": "made-up"}
    stream = [{**fine, **delta("stop", content="hi")}, {**fine, "usage": COUNTS}]
    assert collect(events(*stream)).text == "hi"
    for code in (10013, "10013", ""):
        with pytest.raises(GatewayError):
            events({"code": code, "message": "made-up trouble"})


def test_a_number_that_is_none_is_garbled() -> None:
    with pytest.raises(UpstreamGarbled):
        events({"choices": [{"index": "first", "delta": {}, "finish_reason": "stop"}]})


@pytest.mark.parametrize("relays", [True, False])
def test_an_event_of_nothing_keeps_the_line_alive(relays: bool) -> None:
    first, last = sse(delta(content="hi"), end=b""), sse(delta("stop"))
    for nothing in (b"data:\n\n", b"data: \n\n", b"event: ping\ndata:  \n\n"):
        blocks = iter([nothing + first + nothing + last])
        assert collect(streamed(blocks, relays=relays)).text == "hi"


SAYING = b'{"choices":[{"index":0,"%b":{"content":"%b"},"finish_reason":%b}]}'
HALVES = {
    rb"a\ud83d": "a\ufffd",
    rb"\uDE42b": "\ufffdb",
    rb"\ud83d\ud83d\ude42": "\ufffd🙂",
    rb"\\ud83d\n\ud83d\ude42": "\\ud83d\n🙂",
    rb"\\\ud83d\"": '\\\ufffd"',
    rb"\u4f60": "你",
}


@pytest.mark.parametrize("said", HALVES)
def test_half_a_letter_is_no_garbage(said: bytes) -> None:
    """RFC 8259 §8.2: JSON may hold what no UTF-8 can."""
    chunks = [SAYING % (b"delta", said, b"null"), SAYING % (b"delta", b"", b'"stop"')]
    wire = b"".join(b"data: " + one + b"\n\n" for one in chunks)
    assert collect(streamed(iter([wire]))).text == HALVES[said]
    first = next(streamed(iter([wire]), relays=True))
    assert isinstance(first, Relayed) and first.data == chunks[0]
    body = SAYING % (b"message", said, b'"stop"')
    answer = collect(whole(body, relays=True))
    assert (answer.text, answer.relayed is not None) == (HALVES[said], True)
    told = orjson.loads(answer.relayed or b"")["choices"][0]["message"]["content"]
    assert told == HALVES[said]
    assert (answer.relayed == body) == ("\ufffd" not in HALVES[said])


@pytest.mark.parametrize("body", [rb'{"a":"\ud83"}', b'{"a":"\xff"}', rb'{"a":\ud83d}'])
def test_what_is_no_json_stays_none(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        list(whole(body))
