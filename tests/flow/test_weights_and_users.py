"""Who has a chat of his own at a provider is not drawn away from it by weights."""

from __future__ import annotations

import pytest

from kimi_proxy.attempt import Trace
from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.conversations import ChatPolicy, Mode
from kimi_proxy.router import Route, Router
from kimi_proxy.storage import Store
from tests.fakes import HandClock
from tests.flow.stage import Stage, build_stage


def asked(stage: Stage, user: str) -> set[str]:
    """Which providers answer this user, asked many times."""
    found = set()
    for number in range(16):
        message = Message("user", f"question {number}")
        request = ChatRequest("m", (message,), stream=True, user=user)
        stream = stage.gateway.open(request, stage.scope(), Trace())
        list(stream)
        found.add(stream.route.provider)
    return found


@pytest.mark.parametrize("mode", ["user", "stateless"])
def test_a_user_stays_where_chats_are_kept_for_users(
    hand: HandClock, hand_store: Store, mode: Mode
) -> None:
    accounts = {"one": ("a",), "two": ("a",)}
    policy = ChatPolicy(mode)
    stage = build_stage(hand.clock, hand_store, accounts, chats=policy)
    chain = [Route(name, "model", weight=1) for name in accounts]
    stage.gateway._router = Router(dict(stage.providers), {"m": chain})
    visited = [asked(stage, user) for user in ("anna", "bert", "carl", "dora", "emil")]
    assert set.union(*visited) == {"one", "two"}
    assert all(len(found) == 1 for found in visited) == (mode == "user")
