"""Upstream chats that are gone on with: which one a request continues, and with what.

A chat is kept in the journal with what its next turn needs. It is found again by the id
that the client was told, by the history that the client sends again, or by the user it
names. Whatever does not fit exactly begins a new chat with the whole history.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import orjson

from kimi_proxy.chat import Attachment, ChatRequest, Message, Thread, ToolCall
from kimi_proxy.clock import Clock
from kimi_proxy.errors import ConversationBusy, NotFound
from kimi_proxy.events import ChatResult
from kimi_proxy.journal import Entry, Journal
from kimi_proxy.storage import Document, Documents

_PREFIX = "talk/"
Mode = Literal["stateless", "auto", "user"]


@dataclass(frozen=True, slots=True)
class ChatPolicy:
    """How a provider's chats are used; `ttl` is in seconds without use."""

    mode: Mode = "stateless"
    ttl: float = 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A chat that rests: where it is, and the request as it goes on there.

    `required`: the client named it, so nothing else will do.
    """

    key: str
    account: str
    facts: Document
    request: ChatRequest
    required: bool


class Talk:
    """One request's part in the conversations of one provider.

    `owner` keeps clients apart: nobody goes on with a chat of somebody else's.
    """

    def __init__(
        self,
        conversations: "Conversations",
        *,
        provider: str,
        policy: ChatPolicy,
        owner: str,
        request: ChatRequest,
    ) -> None:
        self._all = conversations
        self._policy = policy
        self._place = f"{_PREFIX}{provider}"
        self._owner = owner
        self._whole = request
        self.keeps = request.conversation is not None or (
            policy.mode == "auto"
            or (policy.mode == "user" and request.user is not None)
        )
        self.request = replace(request, keeps=self.keeps)
        # One chat serves one model and one set of tools.
        self._seed = _digest([owner, request.model, _tools(request)])

    def find(self) -> Kept | None:
        """The chat to go on with, if there is one; raises `NotFound` for a wrong id."""
        if not self.keeps or self._whole.conversation == "":
            return None
        history, tail = _parted(self._whole.messages)
        found = self._look_up(history)
        required = self._whole.conversation is not None
        if found is None or not tail:
            if required:
                raise NotFound("no such conversation", param="conversation_id")
            return None
        key, document = found
        facts = document["kept"]
        if not history and facts.get("system") == _system(tail):
            tail = [m for m in tail if m.role != "system"] or tail
        thread = Thread(document["chat"], facts["head"])
        return Kept(
            key=key,
            account=document["account"],
            facts=facts,
            request=replace(self.request, messages=tuple(tail), follows=thread),
            required=required,
        )

    def _look_up(self, history: Sequence[Message]) -> tuple[str, Document] | None:
        """The journal's entry of the chat, if it is this owner's and still as known."""
        named = self._whole.conversation
        index = named if named is not None else self._index(history)
        if index is None:
            return None
        pointer = self._all.documents.get(f"{self._place}/{index}")
        document = pointer and self._all.journal.documents.get(pointer["key"])
        if not pointer or not document or "kept" not in document:
            return None
        facts = document["kept"]
        by_history = named is None and self._policy.mode == "auto"
        if by_history and facts["history"] != self._chained(history):
            return None  # it went on without this client's last words, or otherwise
        return (pointer["key"], document) if facts["owner"] == self._owner else None

    def _index(self, history: Sequence[Message]) -> str | None:
        if self._policy.mode == "user":
            return f"user-{_digest([self._owner, self._whole.model, self._whole.user])}"
        return f"history-{self._chained(history)}" if history else None

    def _chained(self, messages: Sequence[Message]) -> str:
        digest = self._seed
        for message in messages:
            digest = _digest([digest, *_canonical(message)])
        return digest

    def resume(self, kept: Kept) -> Entry | None:
        """Take the chat up; None when another request was faster.

        Raises `ConversationBusy` when the client insists on it.
        """
        entry = self._all.journal.resume(kept.key, kept.facts)
        if entry is None and kept.required:
            raise ConversationBusy("another request of this conversation is running")
        return entry

    def keep(self, entry: Entry, head: str | None, result: ChatResult) -> None:
        """Remember the chat as it is after this turn; raises `StateUnavailable`."""
        said = Message(
            "assistant",
            result.text,
            tool_calls=tuple(
                ToolCall(c.id, c.name, c.arguments) for c in result.tool_calls
            ),
        )
        messages = self._whole.messages
        facts = {
            "owner": self._owner,
            "head": head,
            "history": self._chained((*messages, said)),
            "system": _system(messages),
        }
        entry.keep(facts, self._policy.ttl)
        pointers = [entry.chat]
        if self._whole.conversation is None:
            pointers.append(self._index((*messages, said)))
        for pointer in pointers:
            self._all.documents.put(
                f"{self._place}/{pointer}", {"key": entry.key}, ttl=self._policy.ttl
            )


class Conversations:
    """Makes a `Talk` for a request; `documents` point from what clients know to the
    journal's entries."""

    def __init__(self, journal: Journal, documents: Documents, clock: Clock) -> None:
        self.journal = journal
        self.documents = documents
        self.clock = clock

    def talk(
        self, provider: str, policy: ChatPolicy, owner: str, request: ChatRequest
    ) -> Talk:
        return Talk(
            self, provider=provider, policy=policy, owner=owner, request=request
        )


def _parted(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """What was said up to the last answer, and the turn that is new.

    Results of tools get the names of the calls they answer, which stay behind.
    """
    ends = [at for at, m in enumerate(messages, start=1) if m.role == "assistant"]
    cut = ends[-1] if ends else 0
    names = {call.id: call.name for m in messages[:cut] for call in m.tool_calls}
    tail = [
        replace(m, name=m.name or names.get(m.tool_call_id or ""))
        if m.role == "tool"
        else m
        for m in messages[cut:]
    ]
    return list(messages[:cut]), tail


def _canonical(message: Message) -> list[Any]:
    """What makes two messages the same: clients trim text and write JSON anew."""
    return [
        message.role,
        message.text.strip(),
        [[call.name, _arguments(call.arguments)] for call in message.tool_calls],
        [_attached(attachment) for attachment in message.attachments],
    ]


def _arguments(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text


def _attached(attachment: Attachment) -> list[str | None]:
    data = attachment.data
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    return [attachment.kind, digest, attachment.url, attachment.file_id]


def _system(messages: Sequence[Message]) -> str:
    return _digest([m.text.strip() for m in messages if m.role == "system"])


def _tools(request: ChatRequest) -> list[Any]:
    return [[t.name, t.description, t.parameters] for t in request.tools]


def _digest(value: Any) -> str:
    packed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(packed).hexdigest()
