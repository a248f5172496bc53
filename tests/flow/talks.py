"""An upstream whose chats can be gone on with, and clients that talk to it."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from kimi_proxy.attempt import EventStream, Trace
from kimi_proxy.chat import ChatRequest, Message, ToolCall
from kimi_proxy.clock import Clock
from kimi_proxy.conversations import ChatPolicy
from kimi_proxy.errors import UpstreamNotFound
from kimi_proxy.events import ChatResult, Collector, Event, Finished, TextDelta
from kimi_proxy.providers.base import Lease
from kimi_proxy.storage import Store
from tests.fakes import Chat, FakeProvider, Hold
from tests.flow.stage import Stage, build_stage


@dataclass(frozen=True, slots=True)
class Turn:
    """One question as the upstream got it."""

    account: str
    chat: str
    head: str | None
    request: ChatRequest

    @property
    def text(self) -> str:
        return "|".join(f"{m.role}:{m.text}" for m in self.request.messages)

    @property
    def follows(self) -> bool:
        return self.request.follows is not None


@dataclass(slots=True)
class Room:
    """A chat as the upstream has it: whose it is, and the ids of its answers."""

    account: str
    answers: list[str] = field(default_factory=list)


class TalkingProvider(FakeProvider):
    """Answers `re: <last words>`; a turn must follow an answer of the account's own
    chat. `plays` are what the next turns do instead; a `Hold` comes before the words.

    `linear`: it names no messages, as the legacy wire does.
    """

    honours = frozenset({"tools", "attachments"})

    def __init__(self, *args: Any, linear: bool = False) -> None:
        super().__init__(*args)
        self.linear = linear
        self.turns: list[Turn] = []
        self.rooms: dict[str, Room] = {}
        self.plays: list[Sequence[Event | Hold | BaseException]] = []
        self._numbers = itertools.count(1)
        self._mutex = threading.Lock()

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        chat = self._enter(request, lease)
        head = None if request.follows is None else request.follows.head
        with self._mutex:
            self.turns.append(Turn(lease.account, chat, head, request))
            play = self.plays.pop(0) if self.plays else None
        answer = f"{chat}-answer-{next(self._numbers)}"
        end = Finished("stop", chat, None if self.linear else answer)
        if play is None:
            play = [TextDelta(f"re: {request.messages[-1].text}"), Finished("stop")]
        for step in play:
            lease.scope.check()
            match step:
                case Hold(until, reached):
                    reached.set()
                    while not until.wait(0.005):
                        lease.scope.check()
                case BaseException():
                    raise step
                case Finished(reason):
                    self.rooms[chat].answers.append(answer)
                    yield replace(end, reason=reason)
                case _:
                    yield step

    def _enter(self, request: ChatRequest, lease: Lease) -> str:
        if request.follows is None:
            lease.chat.sending("|".join(m.text for m in request.messages))
            with self._mutex:
                chat = f"talk-{next(self._numbers)}"
                self.rooms[chat] = Room(lease.account)
                self.chats[chat] = Chat("", self._now())
            lease.chat.opened(chat)
            return chat
        thread = request.follows
        room = self.rooms.get(thread.chat)
        if room is None or room.account != lease.account:
            raise UpstreamNotFound("no such chat")
        if not self.linear and thread.head not in room.answers:
            raise UpstreamNotFound("no such message")
        return thread.chat

    def delete_chat(self, *args: Any) -> None:
        super().delete_chat(*args)
        self.rooms.pop(args[1], None)


class Town:
    """A gateway over one talking upstream, and its sweeper."""

    def __init__(self, stage: Stage, provider: TalkingProvider) -> None:
        self.stage = stage
        self.provider = provider

    @property
    def turns(self) -> list[Turn]:
        return self.provider.turns

    def open(
        self,
        messages: Sequence[Message],
        owner: str = "me",
        only: Sequence[str] = (),
        **fields: Any,
    ) -> EventStream:
        request = ChatRequest(
            fields.pop("model", "fake/model"), tuple(messages), stream=True, **fields
        )
        scope = fields.pop("scope", None) or self.stage.scope()
        return self.stage.gateway.open(request, scope, Trace(), only=only, owner=owner)

    def ask(
        self, messages: Sequence[Message], owner: str = "me", **fields: Any
    ) -> ChatResult:
        collector = Collector()
        for event in self.open(messages, owner, **fields):
            collector.add(event)
        return collector.result()

    def entries(self) -> list[dict[str, Any]]:
        return [document for _, document in self.stage.store.live.scan("chat/")]

    def sweep(self) -> list[str]:
        """One pass; what is deleted upstream by now."""
        self.stage.sweeper.sweep()
        return self.provider.deleted


def town(
    clock: Clock,
    store: Store,
    mode: str = "auto",
    *,
    provider: TalkingProvider | None = None,
    accounts: Sequence[str] = ("a", "b"),
    ttl: float = 3600.0,
    most: int = 1000,
    linear: bool = False,
) -> Town:
    made = provider or TalkingProvider("fake", clock.now, linear=linear)
    stage = build_stage(
        clock,
        store,
        accounts={"fake": accounts},
        make=lambda name: made,
        chats=ChatPolicy(mode, ttl),  # type: ignore[arg-type]  # any mode by its name
        most=most,
        concurrency=2,
    )
    return Town(stage, made)


def user(text: str, **fields: Any) -> Message:
    return Message("user", text, **fields)


def bot(text: str, *calls: ToolCall) -> Message:
    return Message("assistant", text, tool_calls=calls)


def system(text: str) -> Message:
    return Message("system", text)
