"""Upstream chats that are gone on with: which one a request continues, and with what.

A chat is kept in the journal with what its next turn needs. It is found again by the id
that the client was told, by the history that the client sends again, or by the user it
names. Whatever does not fit exactly begins a new chat with the whole history.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from kimi_proxy.chat import ChatRequest, Message, Thread, ToolCall
from kimi_proxy.errors import ConversationBusy, InvalidRequest, NotFound
from kimi_proxy.events import ChatResult
from kimi_proxy.journal import Entry, Journal
from kimi_proxy.resemblance import chained, digest, system_marks, tools_mark
from kimi_proxy.storage import Document, Documents

_PREFIX = "talk/"
_PARAM = "conversation_id"
Mode = Literal["stateless", "auto", "user"]


@dataclass(frozen=True, slots=True)
class ChatPolicy:
    """How a provider's chats are used; `ttl` is in seconds without use."""

    mode: Mode = "stateless"
    ttl: float = 3600.0


@dataclass(frozen=True, slots=True)
class Kept:
    """A chat that rests: where it is, and the request as it goes on there.

    `required`: the client named it, so nothing else will do. `spare`: the client may
    have nothing but this chat, so it is kept even if this turn fails.
    """

    key: str
    account: str
    facts: Document
    request: ChatRequest
    required: bool
    spare: bool


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
        self._by_user = policy.mode == "user" and request.user is not None
        # Of several answers to one question only one can be gone on with.
        self.keeps = request.choices == 1 and (
            request.conversation is not None or policy.mode == "auto" or self._by_user
        )
        self.request = replace(request, keeps=self.keeps)
        # One chat serves one model and one set of tools.
        self._seed = digest([owner, request.model, tools_mark(request)])
        self._systems: list[str] = []

    def find(self) -> Kept | None:
        """The chat to go on with, if there is one.

        Raises `NotFound` or `ConversationBusy` where the client has named one.
        """
        if not self.keeps or self._whole.conversation == "":
            return None
        history, tail = _parted(self._whole.messages)
        required = self._whole.conversation is not None
        if required and not tail:
            raise InvalidRequest("the last message must be a new one", param="messages")
        found = self._look_up(history) if tail else None
        if found is not None and self._all.journal.rests(found[1]):
            return self._going_on(*found, history, tail)
        if not required:
            return None
        if found is not None and "due" not in found[1]:
            raise _busy()
        told = f"there is no such conversation; each answer tells its own as {_PARAM}"
        raise NotFound(f"{told}, which is not its id", param=_PARAM)

    def _going_on(
        self, key: str, document: Document, history: list[Message], tail: list[Message]
    ) -> Kept:
        facts = document["kept"]
        if not history:
            tail = _named_results(tail, dict(facts.get("calls", ())))
        thread = Thread(
            document["chat"], facts["head"], facts["tools"] == tools_mark(self._whole)
        )
        turn = self._new_systems(facts["systems"], history, tail)
        # A client that sends the new message only has said the rest before.
        past = tuple(history) or tuple(m for m in tail if m not in turn)
        named = self._whole.conversation is not None
        return Kept(
            key=key,
            account=document["account"],
            facts=facts,
            request=replace(
                self.request, messages=tuple(turn), follows=thread, past=past
            ),
            required=named,
            spare=named or self._by_user,
        )

    def _new_systems(
        self, known: list[str], history: list[Message], tail: list[Message]
    ) -> list[Message]:
        """The turn that is new, without directions that the chat has already.

        Directions that are others than in the last turn go up whole.
        """
        marks = system_marks(self._whole.messages)
        self._systems = known
        if not marks or marks == known:
            return [m for m in tail if m.role != "system"] or tail
        same = len(known) if marks[: len(known)] == known else 0
        before = len(system_marks(history))
        old = [m for m in history if m.role == "system"][same:]
        new: list[Message] = []
        for message in tail:
            if message.role == "system":
                before += 1
                if before <= same:
                    continue
            new.append(message)
        return [*old, *new]

    def _look_up(self, history: Sequence[Message]) -> tuple[str, Document] | None:
        """The journal's entry of the chat, if it is this owner's and still as known."""
        named = self._whole.conversation
        chained = self._chained(history) if history and named is None else None
        index = named if named is not None else self._index(chained)
        if index is None:
            return None
        found = self._all.find(self._place, index)
        if found is None:
            return None
        document = found[1]
        if named is None and not self._by_user:
            # In use it has no facts; once it went on, it has more than this history.
            if document.get("kept", {}).get("history") != chained:
                return None
        kept = document.get("kept")
        return found if kept and kept["owner"] == self._owner else None

    def _index(self, chained: str | None) -> str | None:
        """What the client's chat is found by, of a history that is `chained`."""
        if self._by_user:
            return f"user-{digest([self._owner, self._whole.model, self._whole.user])}"
        return f"history-{chained}" if chained else None

    def _chained(self, messages: Sequence[Message]) -> str:
        return chained(self._seed, messages)

    def resume(self, kept: Kept) -> Entry | None:
        """Take the chat up; None when another request was faster.

        Raises `ConversationBusy` when the client insists on it.
        """
        journal = self._all.journal
        entry = journal.resume(kept.key, kept.facts, spare=kept.spare)
        if entry is None and kept.required:
            raise _busy()
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
        messages = (*self._whole.messages, said)
        chained = self._chained(messages)
        pointers = [entry.chat]
        if self._whole.conversation is None:
            pointers.append(self._index(chained))
        for pointer in pointers:
            self._all.documents.put(
                f"{self._place}/{pointer}", {"key": entry.key}, ttl=self._policy.ttl
            )
        facts = {
            "owner": self._owner,
            "head": head,
            "history": chained,
            "calls": [(call.id, call.name) for call in said.tool_calls],
            "systems": system_marks(messages) or self._systems,
            "tools": tools_mark(self._whole),
        }
        entry.keep(facts, self._policy.ttl)


class Conversations:
    """Makes a `Talk` for a request; `documents` point from what clients know to the
    journal's entries."""

    def __init__(self, journal: Journal, documents: Documents) -> None:
        self.journal = journal
        self.documents = documents

    def talk(
        self, provider: str, policy: ChatPolicy, owner: str, request: ChatRequest
    ) -> Talk:
        return Talk(
            self, provider=provider, policy=policy, owner=owner, request=request
        )

    def has(self, provider: str, chat: str) -> bool:
        """Whether the provider has this chat, whosever it is."""
        return self.find(f"{_PREFIX}{provider}", chat) is not None

    def find(self, place: str, index: str) -> tuple[str, Document] | None:
        """An entry of the journal, by what a client knows of it."""
        pointer = self.documents.get(f"{place}/{index}")
        document = pointer and self.journal.documents.get(pointer["key"])
        return (pointer["key"], document) if pointer and document else None


def _busy() -> ConversationBusy:
    return ConversationBusy(
        "another request of this conversation is running", param=_PARAM
    )


def _parted(messages: Sequence[Message]) -> tuple[list[Message], list[Message]]:
    """What was said up to the last answer, and the turn that is new.

    Results of tools get the names of the calls they answer, which stay behind.
    """
    ends = [at for at, m in enumerate(messages, start=1) if m.role == "assistant"]
    cut = ends[-1] if ends else 0
    names = {call.id: call.name for m in messages[:cut] for call in m.tool_calls}
    return list(messages[:cut]), _named_results(messages[cut:], names)


def _named_results(
    messages: Sequence[Message], names: Mapping[str, str]
) -> list[Message]:
    """The messages, results of tools with the names of the calls they answer, in the
    order of these."""
    places = {call_id: place for place, call_id in enumerate(names)}
    results = [m for m in messages if m.role == "tool"]
    results.sort(key=lambda m: places.get(m.tool_call_id or "", len(places)))
    ordered = iter(results)
    return [_named(next(ordered), names) if m.role == "tool" else m for m in messages]


def _named(result: Message, names: Mapping[str, str]) -> Message:
    return replace(result, name=result.name or names.get(result.tool_call_id or ""))
