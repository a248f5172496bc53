"""Unary RPCs about conversations (connect sheet §10).

Each function gets the world, the caller and the body (keys in snake_case), returns
the answer's JSON object, and raises Refusal.
"""

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from emulators.kimi_connect.caller import Caller
from emulators.kimi_connect.error import ERRORS, Refusal, invalid, missing
from emulators.kimi_connect.world import Chat, World

Body = Mapping[str, Any]
_LARGEST_PAGE = 100


def list_messages(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return a chat's messages, newest first."""
    chat = world.chats.get(caller.account, body.get("chat_id"))
    with world.chats.lock:
        messages = [message.json() for message in reversed(chat.messages)]
    return _page(messages, "messages", body)


def get_chat(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return one chat."""
    return {"chat": world.chats.get(caller.account, body.get("chat_id")).json()}


def list_chats(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return the chats whose name has the query, hits wrapped in `<em>`."""
    query = body.get("query") or ""
    found = []
    for chat in _visible(world, caller):
        if query in chat.name:
            name = chat.name.replace(query, f"<em>{query}</em>") if query else chat.name
            found.append({**chat.json(), "name": name})
    return _page(found, "chats", body)


def list_feeds(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Return the feed; a new chat shows up in it a while after its birth."""
    items = [
        {"type": "FEED_TYPE_CHAT", "chat": chat.json()}
        for chat in _visible(world, caller)
    ]
    return _page(items, "items", body)


def update_chat(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Replace a chat's name; a missing one clears it."""
    wanted = body.get("chat")
    if not isinstance(wanted, Mapping):
        raise invalid("chat", "value is required")
    chat = world.chats.get(caller.account, wanted.get("id"))
    chat.name = wanted.get("name") or ""
    return {"chat": chat.json()}


def delete_chat(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Delete one chat; what it generates goes on unless the knob says otherwise."""
    _delete(world, caller, body.get("chat_id"))
    return {}


def batch_delete_chats(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Delete several chats, all of which must exist."""
    chat_ids = body.get("chat_ids")
    if not isinstance(chat_ids, list) or not chat_ids:
        raise invalid("chat_ids", "value is required")
    for chat_id in chat_ids:
        world.chats.get(caller.account, chat_id)
    for chat_id in chat_ids:
        _delete(world, caller, chat_id)
    return {}


def cancel_chat(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Stop a chat's generation; a `messageId` must be one of the chat's.

    Its turn is over when the caller hears that it is cancelled.
    """
    chat = world.chats.get(caller.account, body.get("chat_id"))
    message_id = body.get("message_id")
    if message_id and message_id not in [message.id for message in chat.messages]:
        raise missing("message")
    world.turns.stop(chat.id)
    return {}


def create_chat(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Refuse: a chat is born inside the Chat stream."""
    raise Refusal(ERRORS["unimplemented"])


def create_chat_old(world: World, caller: Caller, body: Body) -> dict[str, Any]:
    """Mint an id the old way, `POST /api/chat {"name"}`."""
    name = body.get("name")
    if not isinstance(name, str) or not name:
        raise invalid("name", "value is required")
    chat = world.chats.create(caller.account, str(uuid.uuid4()), name)
    return {"id": chat.id, "name": chat.name}


def _delete(world: World, caller: Caller, chat_id: Any) -> None:
    world.chats.delete(caller.account, chat_id)
    if world.knobs.delete_stops_turn:
        world.turns.cancel(chat_id)


def _visible(world: World, caller: Caller) -> list[Chat]:
    latest = time.monotonic() - world.knobs.feed_delay
    chats = world.chats.all(caller.account.name)
    return [chat for chat in chats if chat.born <= latest]


def _page(items: Sequence[Any], name: str, body: Body) -> dict[str, Any]:
    size, token = body.get("page_size", 20), body.get("page_token") or "0"
    if not isinstance(size, int) or not 1 <= size <= _LARGEST_PAGE:
        raise invalid("page_size", f"must be between 1 and {_LARGEST_PAGE}")
    if not str(token).isdecimal():
        raise invalid("page_token", "unknown page")
    start = int(token)
    following = str(start + size) if start + size < len(items) else ""
    return {name: list(items[start : start + size]), "nextPageToken": following}
