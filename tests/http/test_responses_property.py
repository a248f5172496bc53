"""Responses by property: streams in the grammar, round trips, odd bodies."""

import json
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kimi_proxy.chat import ChatRequest, Message, ToolCall
from kimi_proxy.dialects import responses_request
from kimi_proxy.dialects.contract import Stamp
from kimi_proxy.dialects.responses_answer import OpenAIResponses
from kimi_proxy.dialects.responses_request import Asked
from kimi_proxy.dialects.responses_thought import seal, unseal
from kimi_proxy.errors import InvalidRequest, NotFound, UpstreamCut
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    FinishReason,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
    collect,
)
from tests.http import responses_grammar

STAMP = Stamp("0123456789abcdef" * 2, 1_700_000_000, "m")
REQUEST = ChatRequest("m", (Message("user", "x"),))
CUSTOM = {"type": "custom", "name": "free"}
SPACE = {"type": "namespace", "name": "ns", "tools": [CUSTOM, {"name": "f"}]}
TOOLS: list[Any] = [{"name": "f"}, CUSTOM, {"type": "local_shell"}, SPACE]
NAMES = ("f", "free", "local_shell", "ns__f", "ns__free", "unknown")
FEW = settings(max_examples=150, deadline=None)


class Nothing:
    """A store without anything in it."""

    def history(self, response_id: str) -> Sequence[Any]:
        raise NotFound(response_id)

    def item(self, item_id: str) -> Any:
        raise NotFound(item_id)


def asked(**body: Any) -> Asked:
    return responses_request.parse(
        {"model": "m", "input": "x", "tools": TOOLS, **body}, Nothing()
    )


# No half of a surrogate pair: what of it arrives is another test's matter.
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
values = st.dictionaries(texts, texts | st.integers(), max_size=3)


@st.composite
def arguments(draw: st.DrawFn, name: str) -> str:
    if name in ("free", "ns__free"):
        return json.dumps({"input": draw(texts)})
    if name == "local_shell":
        return json.dumps({"command": draw(st.lists(texts, min_size=1, max_size=3))})
    return json.dumps(draw(values))


@st.composite
def calls(draw: st.DrawFn, first: int) -> list[Event]:
    """Some calls, their pieces as they may come, one within the other or not."""
    pieces: list[list[Event]] = []
    for number in range(draw(st.integers(1, 3))):
        index, name = first + number, draw(st.sampled_from(NAMES))
        text = draw(arguments(name))
        cut = draw(st.integers(0, len(text)))
        begin = ToolCallDelta(index, f"call_{index}", name, "")
        rest = [ToolCallDelta(index, None, None, p) for p in (text[:cut], text[cut:])]
        pieces.append([begin, *rest])
    if draw(st.booleans()):
        return [event for piece in pieces for event in piece]
    # Begun in their order, their arguments mixed.
    mixed = [event for piece in pieces for event in piece[1:2]]
    mixed += [event for piece in pieces for event in piece[2:]]
    return [*(piece[0] for piece in pieces), *mixed]


@st.composite
def said(draw: st.DrawFn) -> list[Event]:
    """What a provider may say before the end."""
    events: list[Event] = []
    made = 0
    for kind in draw(st.lists(st.sampled_from("tttrrccuk"), max_size=8)):
        if kind == "t":
            events.append(TextDelta(draw(texts)))
        elif kind == "r":
            events.append(ReasoningDelta(draw(texts)))
        elif kind == "c":
            events.append(Citation("https://example.org/", draw(texts)))
        elif kind == "u":
            events.append(Usage(3, 4))
        else:
            some = draw(calls(made))
            made += len({e.index for e in some if isinstance(e, ToolCallDelta)})
            events += some
    return events


def streamed(question: Asked, events: list[Event]) -> responses_grammar.Stream:
    encoder = OpenAIResponses(question, lambda _: True).encoder(REQUEST, STAMP)
    body = b"".join(map(encoder.feed, events))
    ended = encoder.finished
    return responses_grammar.read(
        body + (encoder.finish() if ended else encoder.fail(UpstreamCut("cut")))
    )


def told_calls(response: dict[str, Any]) -> list[tuple[str, str]]:
    """Id and arguments of each call, as the gateway reads them again."""
    items = [i for i in response["output"] if i["type"].endswith("_call")]
    if not items:
        return []
    (turn,) = asked(input=items).chat.messages
    return [(call.id, call.name) for call in turn.tool_calls]


reasons: st.SearchStrategy[FinishReason] = st.sampled_from(
    ["stop", "length", "tool_calls", "content_filter"]
)


@FEW
@given(said(), reasons, st.booleans(), st.booleans())
def test_whatever_is_said_is_told_in_the_grammar(
    events: list[Event], reason: FinishReason, summary: bool, sealed: bool
) -> None:
    question = asked(
        reasoning={"summary": "auto" if summary else None},
        include=["reasoning.encrypted_content"] if sealed else [],
    )
    whole = collect([*events, Finished(reason)])
    stream = streamed(question, [*events, Finished(reason)])
    assert stream.text == whole.text
    assert stream.thought == whole.reasoning
    assert told_calls(stream.response) == [(c.id, c.name) for c in whole.tool_calls]
    dialect = OpenAIResponses(question, lambda _: True)
    document = json.loads(dialect.written([whole], REQUEST, STAMP))
    responses_grammar.check_response(document, "completed", "incomplete")
    assert document["status"] == stream.response["status"]
    assert document["usage"] == stream.response["usage"]
    assert responses_grammar.text_of(document) == whole.text


@FEW
@given(said())
def test_whatever_breaks_off_is_told_in_the_grammar(events: list[Event]) -> None:
    stream = streamed(asked(), events)
    assert stream.kinds[-1] == "failed"


@FEW
@given(
    texts, texts, st.lists(st.tuples(st.sampled_from(NAMES[:5]), values), max_size=3)
)
def test_what_was_told_comes_back_as_it_was(
    text: str, thought: str, called: list[tuple[str, dict[str, Any]]]
) -> None:
    events: list[Event] = [ReasoningDelta(thought), TextDelta(text)]
    for index, (name, value) in enumerate(called):
        given = {"input": text} if "free" in name else value
        given = {"command": [text]} if name == "local_shell" else given
        events.append(ToolCallDelta(index, f"c{index}", name, json.dumps(given)))
    response = streamed(asked(), [*events, Finished("stop")]).response
    for strip in (set(), {"id", "status"}):
        items = [
            {k: v for k, v in item.items() if k not in strip}
            for item in response["output"]
        ]
        asked_on = [*items, {"role": "user", "content": "x"}]
        turn, _ = asked(input=asked_on).chat.messages
        assert (turn.role, turn.text, turn.reasoning) == ("assistant", text, thought)
        again = [_meant(call) for call in turn.tool_calls]
        first = collect([*events, Finished("stop")]).tool_calls
        assert again == [_meant(ToolCall(c.id, c.name, c.arguments)) for c in first]


def _meant(call: ToolCall) -> tuple[str, str, Any]:
    return call.id, call.name, json.loads(call.arguments)


@FEW
@given(st.text())
def test_a_sealed_thought_is_the_same_thought(text: str) -> None:
    packed = seal(text)
    assert unseal(packed) == text.encode("utf-8", "replace").decode()


words = st.sampled_from(
    [
        *("message", "reasoning", "function_call", "function_call_output", "user"),
        *("assistant", "item_reference", "custom_tool_call", "input_text", "x", ""),
        *("local_shell_call", "output_text", "input_image", "auto", "namespace"),
    ]
)
fields = st.sampled_from(
    [
        *("type", "role", "content", "id", "call_id", "name", "arguments", "output"),
        *("summary", "encrypted_content", "action", "input", "text", "image_url"),
        *("tools", "format", "command", "namespace", "parameters"),
    ]
)
leaves = st.none() | st.booleans() | st.integers() | words


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, max_size=3)
    return inner | lists | st.dictionaries(fields, inner, max_size=4)


odd = nested(nested(nested(leaves)))
places = st.sampled_from(
    [
        *("input", "instructions", "tools", "tool_choice", "text", "reasoning", "user"),
        *("include", "metadata", "conversation", "previous_response_id", "stream"),
    ]
)


@settings(max_examples=500, deadline=None)
@given(st.dictionaries(places, odd, max_size=4))
def test_whatever_is_sent_is_understood_or_refused(body: dict[str, Any]) -> None:
    try:
        question = asked(**body)
    except (InvalidRequest, NotFound):
        return
    assert question.chat.messages
    json.dumps([question.told, question.items])
