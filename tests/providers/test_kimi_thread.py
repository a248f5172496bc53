"""Kimi by either wire: a chat goes on where it was made."""

from collections.abc import Iterator

import pytest

from kimi_proxy.chat import ChatRequest, Message, Thread
from kimi_proxy.errors import UpstreamNotFound, UpstreamUnsupported
from kimi_proxy.events import Event, collect
from kimi_proxy.providers.base import Lease
from tests.providers.fake_wire import CN, UUID, Pair
from tests.providers.legacy_account import scope

LEGACY_ID = "cn000000000000000001"


@pytest.fixture
def pair() -> Pair:
    return Pair()


def going_on(pair: Pair, chat: str, model: str = "both") -> Iterator[Event]:
    request = ChatRequest(
        model, (Message("user", "and?"),), follows=Thread(chat), keeps=True
    )
    return pair.kimi.stream(request, Lease("a", CN, scope(), pair.notes))


@pytest.mark.parametrize(("chat", "wire"), [(UUID, "connect"), (LEGACY_ID, "legacy")])
def test_a_chat_goes_on_on_the_wire_it_was_made_on(
    pair: Pair, chat: str, wire: str
) -> None:
    assert collect(going_on(pair, chat)).text == wire
    assert pair.asked() == [(wire, "both")]


def test_a_chat_that_goes_on_is_never_tried_on_the_other_wire(pair: Pair) -> None:
    pair.connect.fails = UpstreamUnsupported("no such call")
    with pytest.raises(UpstreamUnsupported):
        list(going_on(pair, UUID))
    assert pair.asked() == [("connect", "both")]


def test_a_chat_on_a_wire_that_is_switched_off_is_not_found() -> None:
    pair = Pair("connect")
    with pytest.raises(UpstreamNotFound):
        list(going_on(pair, LEGACY_ID))
    assert pair.asked() == []
