"""Answers on the wire: OpenAI's chunks, one whole object, and Anthropic's events."""

import json
from collections.abc import Iterator
from typing import Any

from emulators.kilo.knob import Answer, Knobs

_CREATED = 1_790_000_000


def usage(prompt: str, answer: Answer) -> dict[str, int]:
    """Return made-up counts that add up."""
    asked, said = len(prompt) // 4 + 1, len("".join(answer.pieces)) // 4 + 1
    return {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
    }


def chunks(model: str, prompt: str, answer: Answer) -> Iterator[dict[str, Any]]:
    """Yield the chunks of a stream (§3), the one with the usage last."""

    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**_head(model, "chat.completion.chunk"), "choices": [choice]}

    for thought in answer.thinking:
        yield chunk({"role": "assistant", "content": "", "reasoning": thought})
    for piece in answer.pieces:
        yield chunk({"role": "assistant", "content": piece})
    for number, call in enumerate(answer.calls):
        half = len(call.arguments) // 2
        for part, named in ((call.arguments[:half], True), (call.arguments[half:], 0)):
            function = {"arguments": part, **({"name": call.name} if named else {})}
            told = {"index": number, "type": "function", "function": function}
            told |= {"id": call.id} if named else {}
            yield chunk({"tool_calls": [told]})
    yield chunk({}, answer.finish_reason)
    head = _head(model, "chat.completion.chunk")
    yield {**head, "choices": [], "usage": usage(prompt, answer)}


def whole(model: str, prompt: str, answer: Answer) -> dict[str, Any]:
    """Return the answer in one piece."""
    message: dict[str, Any] = {"role": "assistant", "content": "".join(answer.pieces)}
    if answer.thinking:
        message["reasoning"] = "".join(answer.thinking)
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    reason = answer.finish_reason
    choice = {"index": 0, "message": message, "finish_reason": reason}
    head = _head(model, "chat.completion")
    return {**head, "choices": [choice], "usage": usage(prompt, answer)}


def _head(model: str, kind: str) -> dict[str, Any]:
    return {"id": "gen-1", "object": kind, "created": _CREATED, "model": model}


def broken_off(code: int = 502, message: str = "Provider disconnected") -> Any:
    """Return the chunk of an error after the first byte (§3)."""
    choice = {"index": 0, "delta": {"content": ""}, "finish_reason": "error"}
    return {"error": {"message": message, "code": code}, "choices": [choice]}


def encoded(value: Any, knobs: Knobs, event: str = "") -> bytes:
    """Return one event of a stream as the knobs want it written."""
    end = "\r\n" if knobs.crlf else "\n"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    lines = [f": made-up comment{end}{end}"] if knobs.comments else []
    lines += [f"event: {event}{end}"] if event else []
    lines.append(f"data:{'' if knobs.tight else ' '}{text}{end}{end}")
    return "".join(lines).encode()


def anthropic(model: str, answer: Answer) -> Iterator[tuple[str, Any]]:
    """Yield the events of the old Anthropic address (§7)."""
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": model,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    yield "message_start", {"type": "message_start", "message": message}
    for index, (kind, key, pieces) in enumerate(
        (
            ("thinking_delta", "thinking", answer.thinking),
            ("text_delta", "text", answer.pieces),
        )
    ):
        for piece in pieces:
            delta = {"type": kind, key: piece}
            told = {"type": "content_block_delta", "index": index, "delta": delta}
            yield "content_block_delta", told
    yield "message_stop", {"type": "message_stop"}
