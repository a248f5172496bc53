"""The Chat RPC: one request envelope in, a stream of envelopes out (§4–§6, §8)."""

import uuid
from collections.abc import Iterator, Sequence

from emulators.exchange import Exchange
from emulators.fault import Fault
from emulators.kimi_connect.answer import Answer, Answering
from emulators.kimi_connect.caller import Caller, authenticate, check_protocol, locale
from emulators.kimi_connect.error import ConnectError, Refusal, planned
from emulators.kimi_connect.frame import TRAILER, data_frame, only_message
from emulators.kimi_connect.mischief import SCRIPT_FAULTS, SHAPE_FAULTS, apply, shape
from emulators.kimi_connect.prompt import Prompt, parse
from emulators.kimi_connect.script import Scene, Script, Step
from emulators.kimi_connect.turn import Player
from emulators.kimi_connect.world import Message, Turn, World
from emulators.stream import Shape

CONTENT_TYPE = "application/connect+json"


def chat(world: World, exchange: Exchange, answering: Answering) -> None:
    """Answer one Chat request."""
    request = exchange.request
    try:
        check_protocol(request, CONTENT_TYPE)
    except Refusal as refusal:
        exchange.json(refusal.error.body(locale(request)), refusal.error.status)
        return
    try:
        caller = authenticate(world, request)
    except Refusal as refusal:
        if world.knobs.expired_in_trailer:
            _refuse(exchange, refusal)
        else:
            exchange.json(refusal.error.body(locale(request)), refusal.error.status)
        return
    try:
        prompt = parse(world, caller, only_message(request.body))
        _generate(world, exchange, caller, prompt, answering)
    except Refusal as refusal:
        _refuse(exchange, refusal)


def _refuse(exchange: Exchange, refusal: Refusal) -> None:
    """Answer HTTP 200 with nothing but an error trailer."""
    error = {"error": refusal.error.body(locale(exchange.request))}
    exchange.note(facts={"refused": refusal.error.code})
    exchange.stream(CONTENT_TYPE).write(data_frame(error, TRAILER))


def _generate(
    world: World,
    exchange: Exchange,
    caller: Caller,
    prompt: Prompt,
    answering: Answering,
) -> None:
    chat_id = prompt.chat.id if prompt.chat else str(uuid.uuid4())
    turn = Turn(caller.account.name, chat_id, exchange.connection)
    exchange.connection.wakeable()
    try:
        # Who is refused because another turn runs does not use a planned fault up.
        world.turns.begin(turn, world.knobs.turns_per_account)
        faults = [fault for name in SCRIPT_FAULTS if (fault := exchange.fault(name))]
        if error := _by_http(faults):
            world.turns.end(turn)
            body = error.body(locale(exchange.request))
            exchange.json(body, error.status, _retry(faults))
            return
        scene = _scene(world, caller, prompt, chat_id, answering)
        facts = _facts(caller, scene)
        exchange.note(facts=facts)
        script = Script(scene)
        steps: Iterator[Step] = script.steps()
        for fault in faults:
            steps = apply(steps, fault.name, fault.params)
        writer = exchange.stream(CONTENT_TYPE, _form(exchange), headers=_retry(faults))
        Player(world, turn, scene, writer).play(steps, script)
        exchange.note(facts={**facts, "turn_ended_at": turn.ended_at})
    finally:
        world.turns.end(turn)
        exchange.connection.release()


def _by_http(faults: Sequence[Fault]) -> ConnectError | None:
    """The error that comes in place of a stream, if one is planned."""
    for fault in faults:
        if fault.params.get("where") == "http":
            return planned(fault.params)
    return None


def _retry(faults: Sequence[Fault]) -> dict[str, str]:
    for fault in faults:
        if "retry_after" in fault.params:
            return {"Retry-After": str(fault.params["retry_after"])}
    return {}


def _form(exchange: Exchange) -> Shape:
    form = Shape()
    for name in sorted(SHAPE_FAULTS):
        if fault := exchange.fault(name):
            form = shape(name, fault.params, form)
    return form


def _scene(
    world: World,
    caller: Caller,
    prompt: Prompt,
    chat_id: str,
    answering: Answering,
) -> Scene:
    """Store the turn's two messages, in a new chat or in the one continued."""
    answer = answering
    if not isinstance(answer, Answer):
        answer = answer(prompt.text, prompt.body)
    chat = prompt.chat or world.chats.create(caller.account, chat_id)
    parent = prompt.parent_id or str(uuid.uuid4())
    user = Message(
        id=str(uuid.uuid4()),
        parent_id=parent,
        role="user",
        status="MESSAGE_STATUS_COMPLETED",
        blocks=[dict(block) for block in prompt.blocks],
    )
    assistant = Message(
        id=str(uuid.uuid4()),
        parent_id=user.id,
        role="assistant",
        status="MESSAGE_STATUS_GENERATING",
        blocks=[],
    )
    with world.chats.lock:
        chat.messages += [user, assistant]
        chat.status = "STATUS_GENERATING"
        chat.last_request = prompt.last_request
    new = prompt.chat is None
    return Scene(chat, new, user, assistant, prompt, answer, world.knobs)


def _facts(caller: Caller, scene: Scene) -> dict[str, object]:
    return {
        "chat_id": scene.chat.id,
        "message_id": scene.assistant.id,
        "model": scene.prompt.model,
        "bucket": "old" if caller.old_build else "current",
        "new_chat": scene.new,
    }
