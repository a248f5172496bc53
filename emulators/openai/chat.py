"""POST /v1/chat/completions, and the completions it stored."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from emulators.openai.answer import Answer, Choice
from emulators.openai.completion import (
    Completion,
    limited,
    prompt_tokens,
)
from emulators.openai.event_stream import EDITS, Done, Say, Step, play
from emulators.openai.model import Model
from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal, Refused
from emulators.openai.request_check import stop_words
from emulators.openai.stored import Item, page
from emulators.openai.world import Call
from emulators.server import Shape

EVENT_STREAM = "text/event-stream; charset=utf-8"


def complete(call: Call) -> Any:
    """Answer a chat request by script; None: it was streamed or played back."""
    body, world = call.json(), call.world
    model = world.model(body.get("model"))
    world.rules.check(body, model, call)
    _check_length(call, body, model)
    with call.running(model.id):
        scripted = world.rules.adapt(world.script(body), body, call)
        if isinstance(scripted, Refusal):
            raise Refused(scripted)
        if isinstance(scripted, Recording):
            scripted.play(call.exchange)
            return None
        return _answer(call, body, scripted)


def scripted_choices(call: Call, body: Mapping[str, Any]) -> tuple[Choice, ...]:
    """Return what the script says to messages that came by another door."""
    scripted = call.world.script(body)
    if isinstance(scripted, Refusal):
        raise Refused(scripted)
    if isinstance(scripted, Recording):
        raise TypeError("a recording answers chat requests only")
    return tuple(named(call, choice) for choice in scripted.choices)


def whole(call: Call, body: Mapping[str, Any]) -> Any:
    """Return the whole answer to a request that came in a file."""
    scripted = call.world.script(body)
    if not isinstance(scripted, Answer):
        raise TypeError("a batch needs an answer")
    return _completion(call, body, scripted).whole()


def _check_length(call: Call, body: Mapping[str, Any], model: Model) -> None:
    most = body.get("max_completion_tokens") or body.get("max_tokens") or 0
    count = prompt_tokens(body)
    if count + most > model.context:
        raise Refused(call.world.rules.too_long(model, count + most))


def _answer(call: Call, body: Mapping[str, Any], answer: Answer) -> Any:
    completion = _completion(call, body, answer)
    if body.get("store"):
        _store(call, body, completion)
    if body.get("stream") and call.exchange.fault("not_streamed") is None:
        _stream(call, completion)
        return None
    content = [chunk for chunk in completion.chunks() if chunk.content]
    pause = answer.first_delay + answer.delay * max(0, len(content) - 1)
    limit = call.world.knobs.answer_limit
    if pause and not call.exchange.pause(min(pause, limit)):
        return None
    if pause > limit:
        raise Refused(call.world.rules.too_slow())
    return completion.whole()


def _completion(call: Call, body: Mapping[str, Any], answer: Answer) -> Completion:
    knobs, choices = call.world.knobs, answer.choices
    if len(choices) == 1:
        choices *= body.get("n") or 1
    most = body.get("max_completion_tokens") or body.get("max_tokens")
    stop = stop_words(body.get("stop"))
    wanted = body.get("top_logprobs") or 0
    return Completion(
        id=call.world.new_id(knobs.id_prefix),
        created=call.world.now(),
        model=body["model"],
        answer=answer,
        choices=tuple(named(call, limited(c, most, stop)) for c in choices),
        prompt_tokens=prompt_tokens(body),
        logprobs=wanted if body.get("logprobs") else None,
        usage_place=answer.usage_place or knobs.usage_place,
        include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        reasoning_key=knobs.reasoning_key,
    )


def named(call: Call, choice: Choice) -> Choice:
    """Return a choice whose tool calls all have ids."""
    new_id = call.world.new_id
    tools = tuple(replace(c, id=c.id or new_id("call_")) for c in choice.tools)
    return replace(choice, tools=tools)


def _stream(call: Call, completion: Completion) -> None:
    exchange, knobs = call.exchange, call.world.knobs
    steps: list[Step] = []
    delay = completion.answer.first_delay
    for chunk in completion.chunks():
        steps.append(Say(chunk.document, delay if chunk.content else 0, chunk.content))
        delay = completion.answer.delay if chunk.content else delay
    steps.append(Done())
    while (fault := exchange.fault(*EDITS)) is not None:
        steps = EDITS[fault.name](steps, fault.params)
    cut = exchange.fault("cut")
    params: Mapping[str, Any] = cut.params if cut else {}
    shape = Shape(
        chunked=knobs.chunked,
        pieces=knobs.split,
        cut_at=params.get("at_byte", 0) if cut else None,
        rst=params.get("rst", False),
    )
    typed = exchange.fault("typed")
    kind = typed.params.get("content_type", "text/plain") if typed else EVENT_STREAM
    play(exchange.stream(kind, shape), steps, knobs.spelling)


def _store(call: Call, body: Mapping[str, Any], completion: Completion) -> None:
    document = {**completion.whole(), "metadata": body.get("metadata") or {}}
    item = Item("chat.completion", call.key.name, document, body["messages"])
    call.world.stored.add(item)


def stored_list(call: Call) -> Any:
    """Return the stored completions of the key."""
    items = call.world.stored.all("chat.completion", call.key.name)
    model = call.exchange.request.query.get("model")
    rows = [item.document for item in items]
    return page([row for row in rows if model in (None, row["model"])])


def stored_one(call: Call) -> Any:
    """Return a stored completion."""
    return _stored(call).document


def stored_messages(call: Call) -> Any:
    """Return the messages a stored completion answered."""
    item = _stored(call)
    return page([{"id": f"{item.id}-{n}", **m} for n, m in enumerate(item.content)])


def stored_update(call: Call) -> Any:
    """Replace the metadata of a stored completion."""
    item = _stored(call)
    item.document["metadata"] = call.need(call.json(), "metadata", dict)
    return item.document


def stored_delete(call: Call) -> Any:
    """Forget a stored completion."""
    item = _stored(call)
    call.world.stored.remove(item)
    return {"object": "chat.completion.deleted", "id": item.id, "deleted": True}


def _stored(call: Call) -> Item:
    name = call.params["id"]
    item = call.world.stored.get("chat.completion", call.key.name, name)
    if item is None:
        raise Refused(call.world.rules.not_found("completion", name))
    return item
