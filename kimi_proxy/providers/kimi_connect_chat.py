"""Chats of the Connect wire, after the fact: delete, cancel, find (sheet §10)."""

import hashlib
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from kimi_proxy.errors import UpstreamGarbled, UpstreamNotFound
from kimi_proxy.providers.base import Credential
from kimi_proxy.providers.kimi_connect_call import CHAT_SERVICE, Call, Caller, report
from kimi_proxy.scope import Scope

_OLD_CHAT_SERVICE: Final = "kimi.chat.v1.ChatService"
_FEED_SERVICE: Final = "kimi.gateway.feed.v1.FeedService"
_PAGE: Final = 50
_PAGES: Final = 4
# The feed is newest first, but a chat may be pinned to its top: so many chats older
# than what is looked for end the search.
_OLDER: Final = 5


def fingerprint(prompt: str) -> str:
    """What a chat is known again by: the SHA-256 of its first message, in hex."""
    return hashlib.sha256(prompt.encode()).hexdigest()


def delete(caller: Caller, credential: Credential, chat_id: str, scope: Scope) -> None:
    """Delete a chat, by the older package where the newer one is not there."""
    new = Call(CHAT_SERVICE, "DeleteChat", {"chatId": chat_id}, credential, scope)
    reply = caller.post(new)
    # A 404 without a Connect code is a missing path, not a missing chat.
    if reply.status == 501 or (reply.status == 404 and not report(reply).code):
        old = {"chat_id": chat_id}
        reply = caller.post(
            Call(_OLD_CHAT_SERVICE, "DeleteChat", old, credential, scope)
        )
    if reply.status == 200 or report(reply).code == "not_found":
        return
    raise caller.refusal(reply)


def cancel(
    caller: Caller,
    credential: Credential,
    chat_id: str,
    message_id: str | None,
    scope: Scope,
) -> None:
    """Stop what the chat generates."""
    body = {"chatId": chat_id} | ({"messageId": message_id} if message_id else {})
    caller.ask(Call(CHAT_SERVICE, "CancelChat", body, credential, scope))


def find(
    caller: Caller, credential: Credential, wanted: str, since: float, scope: Scope
) -> list[str]:
    """Ids of chats made after `since` (epoch seconds) whose only question is `wanted`.

    Only an equal fingerprint counts, and a chat with a second question was taken up
    by a person: neither kind must ever be deleted.
    """
    found, older = [], 0
    for chat_id in _feed(caller, credential, scope):
        try:
            messages = _messages(caller, credential, chat_id, scope)
        except UpstreamNotFound:
            continue  # deleted meanwhile
        times = [_time(message.get("createTime")) for message in messages]
        if any(time is not None and time < since for time in times):
            older += 1
            if older == _OLDER:
                break
            continue
        questions = [_words(m) for m in messages if _is_question(m)]
        if len(questions) == 1 and fingerprint(questions[0]) == wanted:
            found.append(chat_id)
    return found


def _feed(caller: Caller, credential: Credential, scope: Scope) -> Iterator[str]:
    """Ids of the account's chats, newest first, from a bounded number of pages."""
    page = ""
    for _ in range(_PAGES):
        body = {"pageSize": _PAGE} | ({"pageToken": page} if page else {})
        answer = caller.ask(Call(_FEED_SERVICE, "ListFeeds", body, credential, scope))
        for item in _objects(answer, "items"):
            chat = item.get("chat")
            ident = chat.get("id") if isinstance(chat, dict) else None
            if item.get("type") == "FEED_TYPE_CHAT" and isinstance(ident, str):
                yield ident
        page = answer.get("nextPageToken") or ""
        if not page:
            return


def _messages(
    caller: Caller, credential: Credential, chat_id: str, scope: Scope
) -> list[Mapping[str, Any]]:
    """The newest messages of a chat; a fresh chat has no more than these."""
    body = {"chatId": chat_id, "pageSize": 100}
    answer = caller.ask(Call(CHAT_SERVICE, "ListMessages", body, credential, scope))
    return _objects(answer, "messages")


def _objects(answer: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    # Proto-JSON leaves an empty list out.
    listed = answer.get(name, [])
    if not isinstance(listed, list):
        raise UpstreamGarbled(f"Kimi's list of {name} is malformed")
    return [item for item in listed if isinstance(item, dict)]


def _is_question(message: Mapping[str, Any]) -> bool:
    return str(message.get("role")).lower().endswith("user")


def _words(message: Mapping[str, Any]) -> str:
    texts = [block.get("text") for block in _objects(message, "blocks")]
    words = [text.get("content") for text in texts if isinstance(text, dict)]
    return "".join(word for word in words if isinstance(word, str))


def _time(value: object) -> float | None:
    """Epoch seconds of an RFC 3339 time; None for anything else."""
    if not isinstance(value, str):
        return None
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
