"""POST /v1/completions: the older way to ask."""

from typing import Any

from emulators.openai.chat import scripted_choices
from emulators.openai.completion import tokens
from emulators.openai.event_stream import Done, Say, Step, play
from emulators.openai.world import Call


def complete(call: Call) -> Any:
    """Continue a text; None: it was streamed."""
    body = call.json()
    call.world.model(body.get("model"))
    prompt = call.need(body, "prompt", str, list)
    text = prompt if isinstance(prompt, str) else "".join(map(str, prompt))
    (choice, *_) = scripted_choices(call, {**body, "messages": _messages(text)})
    head = {
        "id": call.world.new_id("cmpl-"),
        "object": "text_completion",
        "created": call.world.now(),
        "model": body["model"],
    }
    end = choice.finish_reason or "stop"
    if body.get("stream"):
        rows = [*((piece, None) for piece in choice.deltas()), ("", end)]
        steps: list[Step] = [Say({**head, "choices": [_row(*row)]}) for row in rows]
        writer = call.exchange.stream("text/event-stream; charset=utf-8")
        play(writer, [*steps, Done()], call.world.knobs.spelling)
        return None
    counts = tokens(text), tokens(choice.text)
    usage = {
        "prompt_tokens": counts[0],
        "completion_tokens": counts[1],
        "total_tokens": sum(counts),
    }
    return {**head, "choices": [_row(choice.text, end)], "usage": usage}


def _messages(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _row(text: str, finish: str | None) -> dict[str, Any]:
    return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
