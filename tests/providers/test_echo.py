"""The echo provider: the last question, whole, in pieces, with no account."""

import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.errors import ClientGone, ModelNotFound
from kimi_proxy.events import Event, Finished, ReasoningDelta, TextDelta, collect
from kimi_proxy.providers.base import Credential, Lease, ListsModels, Provider
from kimi_proxy.providers.echo import Echo
from kimi_proxy.scope import Scope, Timeouts
from tests.providers.legacy_account import Notes

# A busy machine is slow, which is no fault of the code.
PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def lease() -> Lease:
    scope = Scope(Timeouts(), time.monotonic)
    return Lease("", Credential(), scope, Notes())


def asked(*texts: str) -> ChatRequest:
    return ChatRequest("echo", tuple(Message("user", text) for text in texts))


def answer(request: ChatRequest) -> list[Event]:
    return list(Echo("echo").stream(request, lease()))


@PATIENT
@given(st.text(max_size=200))
def test_the_answer_is_the_last_question(text: str) -> None:
    events = answer(asked("before", text))
    assert collect(events).text == text
    assert events[-1] == Finished("stop")
    assert TextDelta("") not in events


@pytest.mark.parametrize("text", ["one two three four five six", "你好世界" * 20])
def test_it_streams_in_pieces(text: str) -> None:
    assert len(answer(asked(text))) > 2


def test_other_roles_are_not_echoed() -> None:
    messages = (Message("user", "q"), Message("assistant", "a"), Message("tool", "t"))
    assert collect(answer(ChatRequest("echo", messages))).text == "q"


def test_no_question_gives_an_empty_answer() -> None:
    events = answer(ChatRequest("echo", (Message("system", "s"),)))
    assert events == [Finished("stop")]


def test_it_counts_no_tokens() -> None:
    assert collect(answer(asked("hi"))).usage is None


def test_it_thinks_only_when_asked_to() -> None:
    messages = (Message("user", "q"),)
    thinking = answer(ChatRequest("echo", messages, effort="low"))
    assert isinstance(thinking[0], ReasoningDelta)
    for effort in (None, "none"):
        events = answer(ChatRequest("echo", messages, effort=effort))  # type: ignore[arg-type]  # both are efforts
        assert not any(isinstance(event, ReasoningDelta) for event in events)


def test_it_has_one_model_and_refuses_others() -> None:
    provider: Provider = Echo("echo")
    assert isinstance(provider, ListsModels)
    assert [m.id for m in provider.known_models()] == ["echo"]
    assert provider.models(None, lease().scope) == provider.known_models()
    with pytest.raises(ModelNotFound):
        next(provider.stream(ChatRequest("other", ()), lease()))


def test_it_stops_when_the_client_left() -> None:
    held = lease()
    events = Echo("echo").stream(asked("one two three four five six seven"), held)
    next(events)
    held.scope.cancel(ClientGone("gone"))
    with pytest.raises(ClientGone):
        next(events)
