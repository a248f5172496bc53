"""The Responses API, as far as clients need it (clients sheet §3.5)."""

from collections.abc import Iterator, Mapping
from typing import Any

from emulators.openai.answer import Choice
from emulators.openai.chat import scripted_choices
from emulators.openai.completion import tokens
from emulators.openai.event_stream import Say, Step, play
from emulators.openai.stored import Item
from emulators.openai.stored_file import found
from emulators.openai.world import Call

JSON = dict[str, Any]


def respond(call: Call) -> Any:
    """Answer an input; None: it was streamed."""
    body = call.json()
    call.world.model(body.get("model"))
    given = call.need(body, "input", str, list)
    text = given if isinstance(given, str) else _last_text(given)
    with call.running(body["model"]):
        return _answer(call, body, text)


def _answer(call: Call, body: JSON, text: str) -> Any:
    messages = [{"role": "user", "content": text}]
    (choice, *_) = scripted_choices(call, {**body, "messages": messages})
    response = _response(call, body, text, choice)
    if body.get("store", True):
        call.world.stored.add(Item("response", call.key.name, response))
    if not body.get("stream"):
        return response
    steps: list[Step] = [
        Say({"type": kind, "sequence_number": number, **fields}, event=kind)
        for number, (kind, fields) in enumerate(_events(response, choice))
    ]
    writer = call.exchange.stream("text/event-stream; charset=utf-8")
    play(writer, steps, call.world.knobs.spelling)
    return None


def response(call: Call) -> Any:
    """Return a stored response."""
    return found(call, "response").document


def delete(call: Call) -> Any:
    """Forget a stored response."""
    item = found(call, "response")
    call.world.stored.remove(item)
    return {"id": item.id, "object": "response", "deleted": True}


def _last_text(items: list[Any]) -> str:
    last = items[-1] if items and isinstance(items[-1], dict) else {}
    content = last.get("content")
    if isinstance(content, list):
        parts = [part for part in content if isinstance(part, dict)]
        return "".join(str(part.get("text", "")) for part in parts)
    return content if isinstance(content, str) else ""


def _response(call: Call, body: Mapping[str, Any], text: str, choice: Choice) -> JSON:
    counts = tokens(text), tokens(choice.text)
    return {
        "id": call.world.new_id("resp_"),
        "object": "response",
        "created_at": call.world.now(),
        "status": "completed",
        "model": body["model"],
        "output": list(_output(call, choice)),
        "parallel_tool_calls": True,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools", []),
        "error": None,
        "incomplete_details": None,
        "instructions": body.get("instructions"),
        "metadata": body.get("metadata") or {},
        "previous_response_id": body.get("previous_response_id"),
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "top_p": body.get("top_p", 1.0),
        "text": body.get("text") or {"format": {"type": "text"}},
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "usage": {
            "input_tokens": counts[0],
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": counts[1],
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": sum(counts),
        },
    }


def _output(call: Call, choice: Choice) -> Iterator[JSON]:
    if choice.text or not choice.tools:
        part = {"type": "output_text", "text": choice.text, "annotations": []}
        yield {
            "id": call.world.new_id("msg_"),
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [part],
        }
    for tool in choice.tools:
        yield {
            "id": call.world.new_id("fc_"),
            "type": "function_call",
            "call_id": tool.id,
            "name": tool.name,
            "arguments": tool.arguments,
            "status": "completed",
        }


def _events(response: JSON, choice: Choice) -> Iterator[tuple[str, JSON]]:
    begun = {**response, "status": "in_progress", "output": [], "usage": None}
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}
    for index, item in enumerate(response["output"]):
        started = {**item, "status": "in_progress"}
        where = {"output_index": index, "item_id": item["id"]}
        if item["type"] == "message":
            started["content"] = []
        else:
            started["arguments"] = ""
        added = {"output_index": index, "item": started}
        yield "response.output_item.added", added
        if item["type"] == "message":
            yield from _text_events(where, item["content"][0], choice)
        else:
            kind = "response.function_call_arguments"
            yield f"{kind}.delta", {**where, "delta": item["arguments"]}
            yield f"{kind}.done", {**where, "arguments": item["arguments"]}
        yield "response.output_item.done", {"output_index": index, "item": item}
    yield "response.completed", {"response": response}


def _text_events(where: JSON, part: JSON, choice: Choice) -> Iterator[tuple[str, JSON]]:
    place = {**where, "content_index": 0}
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for piece in choice.deltas():
        fields = {**place, "delta": piece, "logprobs": []}
        yield "response.output_text.delta", fields
    done = {**place, "text": part["text"], "logprobs": []}
    yield "response.output_text.done", done
    yield "response.content_part.done", {**place, "part": part}
