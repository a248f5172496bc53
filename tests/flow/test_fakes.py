"""The fakes do what the real ones promise, so that what they prove is true."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import ClientGone, TokenDead, UpstreamCut
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.providers.base import (
    ChecksTokens,
    Credential,
    KeepsChats,
    Lease,
    ListsModels,
    RefreshesTokens,
)
from kimi_proxy.scope import Scope
from tests.fakes import (
    WHOLE,
    FakeProvider,
    HandClock,
    Hold,
    MakeChat,
    make_scope,
    raised,
)
from tests.flow.waiting import Caller, until

REQUEST = ChatRequest("model", (Message("user", "one"), Message("user", "two")))


class Log:
    """A chat log that keeps what it is told, in order."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self.told: list[Any] = []

    def sending(self, fingerprint: str) -> None:
        self.told.append((fingerprint, len(self._provider.chats)))

    def opened(self, chat_id: str) -> None:
        self.told.append(chat_id)


def lease(provider: FakeProvider, scope: Scope) -> Lease:
    return Lease("a", Credential(access="fake-access-a"), scope, Log(provider))


@pytest.fixture
def provider(hand: HandClock) -> FakeProvider:
    return FakeProvider(now=hand.now)


@pytest.fixture
def scope(hand: HandClock) -> Scope:
    return make_scope(hand.clock)


def test_it_can_everything_a_provider_may_be_able_to_do(
    provider: FakeProvider,
) -> None:
    for ability in (RefreshesTokens, ListsModels, ChecksTokens, KeepsChats):
        assert isinstance(provider, ability)


def test_nothing_happens_before_the_first_event_is_asked_for(
    provider: FakeProvider, scope: Scope
) -> None:
    stream = provider.stream(REQUEST, lease(provider, scope))
    assert provider.calls == []
    assert next(stream) == TextDelta("hello")
    assert provider.running == 1
    assert list(stream) == [Finished("stop")]
    assert (provider.running, provider.closed) == (0, 1)


def test_the_chat_is_journalled_before_it_is_made_and_named_after(
    provider: FakeProvider, scope: Scope
) -> None:
    given = lease(provider, scope)
    list(provider.stream(REQUEST, given))
    assert given.chat.told == [("one|two", 0), "chat-1"]  # type: ignore[attr-defined]
    assert provider.find_chats(Credential(), "one|two", 0, scope) == ["chat-1"]
    assert provider.find_chats(Credential(), "one", 0, scope) == []
    assert provider.find_chats(Credential(), "one|two", 2e9, scope) == []
    provider.delete_chat(Credential(), "chat-1", scope)
    assert provider.chats == {}


def test_a_chat_may_be_made_and_its_name_never_heard(
    provider: FakeProvider, scope: Scope
) -> None:
    provider.script = lambda call: [MakeChat(named=False), UpstreamCut("cut")]
    given = lease(provider, scope)
    with pytest.raises(UpstreamCut):
        list(provider.stream(REQUEST, given))
    assert given.chat.told == [("one|two", 0)]  # type: ignore[attr-defined]
    assert list(provider.chats) == ["chat-1"]


def test_closing_it_ends_the_stream(provider: FakeProvider, scope: Scope) -> None:
    stream: Any = provider.stream(REQUEST, lease(provider, scope))
    next(stream)
    stream.close()
    assert provider.running == 0


def test_a_silence_lasts_until_it_is_over_or_the_client_leaves(
    provider: FakeProvider, scope: Scope
) -> None:
    hold = Hold(threading.Event())
    provider.script = lambda call: [hold, *WHOLE]
    stream: Any = provider.stream(REQUEST, lease(provider, scope))
    caller = Caller(lambda: next(stream))
    until(hold.reached.is_set)
    assert not caller.over
    hold.until.set()
    assert caller.result() == TextDelta("hello")
    stream.close()
    held = Hold(threading.Event())
    provider.script = lambda call: [held]
    leaving = Caller(lambda: list(provider.stream(REQUEST, lease(provider, scope))))
    until(held.reached.is_set)
    scope.cancel(ClientGone("left"))
    assert isinstance(leaving.error(), ClientGone)
    assert provider.running == 0


def test_it_fails_as_it_is_told(provider: FakeProvider, scope: Scope) -> None:
    provider.script = raised(UpstreamCut("cut"))
    with pytest.raises(UpstreamCut):
        list(provider.stream(REQUEST, lease(provider, scope)))
    provider.faults["delete_chat"] = [UpstreamCut("cut")]
    with pytest.raises(UpstreamCut):
        provider.delete_chat(Credential(), "x", scope)
    provider.delete_chat(Credential(), "x", scope)


def test_refresh_tokens_rotate_and_die(
    provider: FakeProvider, scope: Scope, hand: HandClock
) -> None:
    first = provider.refresh(Credential(refresh="fake-refresh-0"), scope)
    second = provider.refresh(first, scope)
    assert first.refresh != second.refresh
    assert second.access_expires == hand.now() + 900
    provider.dead = {second.refresh or ""}
    for credential in (second, Credential()):
        with pytest.raises(TokenDead):
            provider.refresh(credential, scope)


def test_it_reads_its_own_tokens_and_no_others(provider: FakeProvider) -> None:
    both = provider.read_token("fake-access-1,fake-refresh-1")
    assert (both.access, both.refresh) == ("fake-access-1", "fake-refresh-1")
    with pytest.raises(ValueError, match="not a token"):
        provider.read_token("sesame")


def test_the_clock_moves_by_hand_only(hand: HandClock) -> None:
    now, monotonic = hand.now(), hand.monotonic()
    assert (hand.now(), hand.monotonic()) == (now, monotonic)
    hand.advance(5)
    hand.set_back(100)
    assert hand.clock.now() == now - 95
    assert hand.clock.monotonic() == monotonic + 5
