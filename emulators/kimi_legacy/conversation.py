"""The JSON calls around a conversation (legacy sheet §2.2 and §3).

Each takes the world and a call and returns the JSON answer.
"""

from typing import Any

from emulators.kimi_legacy.chat import Chat, Turn, hits
from emulators.kimi_legacy.refusal import Refused, agent_not_found, bad_request
from emulators.kimi_legacy.world import Call, World


def refresh(world: World, call: Call) -> Any:
    """Return a new pair of tokens for a refresh token."""
    token = call.exchange.request.bearer
    pair = world.credentials.rotate(token, world.knobs.strict_rotation)
    return {"access_token": pair.access, "refresh_token": pair.refresh}


def user(world: World, call: Call) -> Any:
    """Return who the token belongs to."""
    account = world.credentials.account(call.account)
    return {"id": account.user_id, "name": account.name, "status": "normal"}


def create(world: World, call: Call) -> Any:
    """Make a conversation."""
    name = call.need("name", str)
    call.need("is_example", bool, False)
    call.need("enter_method", str, "new_chat")
    agent = known_agent(world, call.need("kimiplus_id", str, "kimi"))
    chat = world.chats.create(call.account, name, agent)
    call.exchange.note(facts={"chat": chat.id})
    return chat.row()


def delete(world: World, call: Call) -> Any:
    """Remove a conversation; fails, though it worked, after a moderated answer."""
    chat = world.chats.delete(call.params["id"], call.account)
    if chat.forbidden or call.exchange.fault("delete_fails"):
        raise Refused("made-up server error", error_type="internal", status=500)
    return {}


def listed(world: World, call: Call) -> Any:
    """Return the account's conversations, newest first."""
    agent = call.need("kimiplus_id", str, "")
    offset, size = call.need("offset", int, 0), call.need("size", int, 50)
    chats = [c for c in world.chats.all(call.account) if agent in ("", c.kimiplus_id)]
    return {"items": [chat.row() for chat in chats[offset : offset + size]]}


def scroll(world: World, call: Call) -> Any:
    """Return the last segments of a conversation, oldest first."""
    last = call.need("last", int)
    segments = list(_chat(world, call).segments())
    return {"items": segments[-last:] if last > 0 else []}


def token_size(world: World, call: Call) -> Any:
    """Return an invented count of tokens: one per four characters."""
    _chat(world, call)
    content = call.need("content", str)
    call.need("refs", list, [])
    return {"tokens": (len(content) + 3) // 4}


def pre_n2s(world: World, call: Call) -> Any:
    """Accept the warm-up of a search."""
    _chat(world, call)
    call.need("messages", list)
    call.need("use_search", bool)
    return {}


def suggestion(world: World, call: Call) -> Any:
    """Return one follow-up question."""
    return {"items": [{"text": f"More about {call.need('query', str)}"}]}


def research_usage(world: World, call: Call) -> Any:
    """Return the quota of research mode."""
    return world.research.usage(call.account, world.knobs.research_total)


def rag_refs(world: World, call: Call) -> Any:
    """Resolve the citation numbers of answers."""
    return {"items": [_refs(world, call, q) for q in call.need("queries", list)]}


def known_agent(world: World, agent: str) -> str:
    """Return `kimi` or a 20-character agent id the service knows; raises Refused."""
    if agent != "kimi" and agent not in world.knobs.agents:
        raise agent_not_found()
    return agent


def _chat(world: World, call: Call) -> Chat:
    return world.chats.find(call.params["id"], call.account)


def _refs(world: World, call: Call, query: Any) -> dict[str, Any]:
    if not isinstance(query, dict) or "z_idx" not in query:
        raise bad_request("a query needs chat_id, sid and z_idx")
    chat = world.chats.find(str(query.get("chat_id")), call.account)
    for turn in chat.turns:
        if turn.answer_id == query.get("sid"):
            return {"refs": _documents(turn)}
    raise bad_request("sid is no answer of this conversation")


def _documents(turn: Turn) -> list[dict[str, Any]]:
    found = turn.answer.search if hits(turn) else ()
    return [
        {
            "ref_id": number,
            "ref_doc": {
                "title": hit.title,
                "url": hit.url,
                "source_label": "example.org",
                "published_time_str": "2026-09-01",
                "rag_segments": [{"text": hit.snippet}],
            },
        }
        for number, hit in enumerate(found, start=1)
    ]
