"""POST …/v1/messages: the same models in Anthropic's dialect (sheet §1, §4)."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from emulators.openai.answer import Answer, Choice, cut, text_of
from emulators.openai.chat import named
from emulators.openai.completion import finish_reason, limited, tokens
from emulators.openai.event_stream import EDITS, Say, Step, play
from emulators.openai.knob import Spelling
from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal, Refused
from emulators.openai.world import Call

JSON = dict[str, Any]
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "content_filter": "refusal",
}
MOST_STOPS = 5


def respond(call: Call) -> Any:
    """Answer; None: it was streamed or played back."""
    body = call.json()
    call.world.model(body.get("model"))
    _check(call, body)
    with call.running(body["model"]):
        return _answer(call, body)


def _answer(call: Call, body: Mapping[str, Any]) -> Any:
    scripted = call.world.script(_as_chat(body))
    if isinstance(scripted, Refusal):
        raise Refused(scripted)
    if isinstance(scripted, Recording):
        scripted.play(call.exchange)
        return None
    choice = named(call, scripted.choices[0])
    choice = limited(choice, body["max_tokens"], body.get("stop_sequences") or ())
    message = _message(call, body, choice)
    if body.get("stream"):
        _stream(call, message, scripted)
        return None
    if scripted.first_delay and not call.exchange.pause(scripted.first_delay):
        return None
    return message


def shaped(refusal: Refusal) -> Refusal:
    """Return a refusal in Anthropic's shape; a page or an empty body stays."""
    if not isinstance(refusal.document, dict) or refusal.text is not None:
        return refusal
    told = refusal.document["error"]
    document = {"type": "error", "error": told}
    return Refusal(refusal.status, document, headers=refusal.headers)


def _check(call: Call, body: Mapping[str, Any]) -> None:
    invalid = call.world.rules.invalid
    call.need(body, "max_tokens", int)
    messages = call.need(body, "messages", list)
    if not messages or any(
        m.get("role") not in ("user", "assistant") for m in messages
    ):
        raise Refused(invalid("messages must be the user's and the assistant's"))
    if len(body.get("stop_sequences") or ()) > MOST_STOPS:
        raise Refused(invalid(f"at most {MOST_STOPS} stop_sequences"))
    choice = body.get("tool_choice")
    if choice is not None and choice.get("type") not in ("auto", "any", "none"):
        raise Refused(invalid("tool_choice must be auto, any or none"))


def _as_chat(body: Mapping[str, Any]) -> JSON:
    """Return the request as scripts see it."""
    rows = [{"role": m["role"], "content": text_of(m)} for m in body["messages"]]
    return {**body, "messages": rows}


def _message(call: Call, body: Mapping[str, Any], choice: Choice) -> JSON:
    count = sum(tokens(text_of(message)) for message in body["messages"])
    return {
        "id": call.world.new_id("msg_"),
        "type": "message",
        "role": "assistant",
        "model": body["model"],
        "content": list(_blocks(choice)),
        "stop_reason": _REASONS[finish_reason(choice)],
        "stop_sequence": None,
        "usage": {
            "input_tokens": count,
            "output_tokens": tokens(choice.text + choice.reasoning),
        },
    }


def _blocks(choice: Choice) -> Iterator[JSON]:
    if choice.reasoning:
        thought = {"type": "thinking", "thinking": choice.reasoning}
        yield {**thought, "signature": "made-up"}
    if choice.text:
        yield {"type": "text", "text": choice.text}
    for call in choice.tools:
        made = {"type": "tool_use", "id": call.id, "name": call.name}
        yield {**made, "input": json.loads(call.arguments)}


def _stream(call: Call, message: JSON, answer: Answer) -> None:
    steps: list[Step] = []
    delay = answer.first_delay
    for event in _events(message):
        told = event["type"] == "content_block_delta"
        steps.append(Say(event, delay if told else 0, told, event["type"]))
        delay = answer.delay if told else delay
    while (fault := call.exchange.fault(*EDITS)) is not None:
        steps = EDITS[fault.name](steps, fault.params)
    writer = call.exchange.stream("text/event-stream; charset=utf-8")
    play(writer, steps, Spelling())


def _events(message: JSON) -> Iterator[JSON]:
    begun = {
        **message,
        "content": [],
        "stop_reason": None,
        "usage": {**message["usage"], "output_tokens": 0},
    }
    yield {"type": "message_start", "message": begun}
    for index, block in enumerate(message["content"]):
        place = {"index": index}
        yield {"type": "content_block_start", **place, "content_block": _empty(block)}
        for delta in _deltas(block):
            yield {"type": "content_block_delta", **place, "delta": delta}
        yield {"type": "content_block_stop", **place}
    delta = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    usage = {"output_tokens": message["usage"]["output_tokens"]}
    yield {"type": "message_delta", "delta": delta, "usage": usage}
    yield {"type": "message_stop"}


def _empty(block: JSON) -> JSON:
    empty: JSON = {"text": "", "thinking": "", "signature": "", "input": {}}
    return {**block, **{key: empty[key] for key in block if key in empty}}


def _deltas(block: JSON) -> Iterator[JSON]:
    if block["type"] == "text":
        for text in cut(block["text"], 8):
            yield {"type": "text_delta", "text": text}
    elif block["type"] == "thinking":
        for text in cut(block["thinking"], 8):
            yield {"type": "thinking_delta", "thinking": text}
        yield {"type": "signature_delta", "signature": block["signature"]}
    else:
        for text in cut(json.dumps(block["input"]), 8):
            yield {"type": "input_json_delta", "partial_json": text}
