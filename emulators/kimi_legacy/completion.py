"""The completion call: what is asked, and the stream that answers (sheet §4, §5)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emulators.kimi_legacy.chat import Chat, Turn
from emulators.kimi_legacy.conversation import known_agent
from emulators.kimi_legacy.event_stream import EventStream
from emulators.kimi_legacy.refusal import Refused, bad_request
from emulators.kimi_legacy.script import EDITS, steps_of
from emulators.kimi_legacy.world import Call, World
from emulators.stream import Shape

_FILE_KEYS = frozenset(
    "detail done file file_info id name parse_status size upload_progress "
    "upload_status".split()
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the service looked at: the first message only (sheet §4)."""

    text: str
    kimiplus_id: str
    use_search: bool
    use_research: bool
    refs: tuple[str, ...]
    body: Mapping[str, Any]


def complete(world: World, call: Call) -> None:
    """Answer a question, or go on after the output limit, as an event stream."""
    chat = world.chats.find(call.params["id"], call.account)
    prompt = _prompt(world, call)
    turn = _resumed(world, call, chat)
    resumed = turn is not None
    if turn is None:
        turn = _begun(world, call, chat, prompt)
    call.exchange.note(facts=_facts(call, chat, turn, resumed))
    _stream(world, call, chat, turn, resumed)


def _prompt(world: World, call: Call) -> Prompt:
    messages = call.need("messages", list)
    first = messages[0] if messages else None
    if not isinstance(first, dict) or first.get("role") != "user":
        raise bad_request("the first message must be the user's")
    if not isinstance(first.get("content"), str):
        raise bad_request("the content of a message must be text")
    call.need("extend", dict, {})
    call.need("use_math", bool, False)
    return Prompt(
        text=first["content"],
        kimiplus_id=known_agent(world, call.need("kimiplus_id", str, "kimi")),
        use_search=call.need("use_search", bool, False),
        use_research=call.need("use_research", bool, False),
        refs=_refs(world, call),
        body=call.body,
    )


def _refs(world: World, call: Call) -> tuple[str, ...]:
    """Return the ids of the files asked about; raises Refused for unready ones."""
    refs = call.need("refs", list, [])
    described = call.need("refs_file", list, [])
    for file_id in refs:
        file = world.files.find(str(file_id), call.account)
        if file.status() != "parsed":
            raise Refused("the file is not parsed")
    if [_described(entry) for entry in described] != refs:
        raise bad_request("refs_file must describe each file of refs, as ready")
    return tuple(refs)


def _described(entry: Any) -> Any:
    if not isinstance(entry, dict) or not entry.keys() >= _FILE_KEYS:
        return None
    ready = (
        entry["done"] is True
        and entry["parse_status"] == entry["upload_status"] == "success"
        and entry["upload_progress"] == 100
    )
    return entry["id"] if ready else None


def _begun(world: World, call: Call, chat: Chat, prompt: Prompt) -> Turn:
    answer = world.script(prompt.text, prompt.body)
    turn = Turn(
        world.chats.turn_ids(),
        prompt.text,
        answer,
        searched=prompt.use_search,
        refs=prompt.refs,
    )
    world.chats.occupy(chat, turn)
    if prompt.use_research:
        try:
            world.research.spend(call.account, world.knobs.research_total)
        except Refused:
            turn.end()
            raise
    chat.turns.append(turn)
    return turn


def _resumed(world: World, call: Call, chat: Chat) -> Turn | None:
    """Return the turn that `"action": "continue"` names; None for a new question."""
    if "action" not in call.body:
        return None
    last = chat.turns[-1] if chat.turns else None
    if call.body["action"] != "continue" or last is None or not last.at_limit:
        raise bad_request("there is nothing to continue")
    if call.body.get("segment_id") != last.segment_id:
        raise bad_request("segment_id must be the id of the last req event")
    world.chats.occupy(chat, last)
    last.restart()
    return last


def _stream(world: World, call: Call, chat: Chat, turn: Turn, resumed: bool) -> None:
    knobs = replace(world.knobs)
    steps = steps_of(turn, knobs, first=len(chat.turns) == 1, resumed=resumed)
    for name, edit in EDITS.items():
        fault = call.exchange.fault(name)
        if fault is not None:
            steps = edit(steps, fault.params)
            chat.forbidden |= fault.params.get("moderated", False)
    cut = call.exchange.fault("cut")
    shape = Shape(chunked=knobs.chunked, pieces=tuple(knobs.split))
    writer = call.exchange.stream("text/event-stream; charset=utf-8", shape)
    params = cut.params if cut is not None else {}
    EventStream(
        writer,
        turn,
        knobs,
        cut_at=params.get("at_byte", 0) if cut is not None else None,
        rst=params.get("rst", False),
    ).play(steps)


def _facts(call: Call, chat: Chat, turn: Turn, resumed: bool) -> dict[str, Any]:
    messages: Sequence[Any] = call.body["messages"]
    return {
        "chat": chat.id,
        "segment": turn.segment_id,
        "prompt": turn.prompt,
        "resumed": resumed,
        "ignored_messages": len(messages) - 1,
    }
