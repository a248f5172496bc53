"""A search and thinking that nobody can do are named, never lost in silence."""

from typing import Any

import pytest

from kimi_proxy.chat import ChatRequest, Message
from kimi_proxy.providers.text_only import ignored
from tests.providers import kimi_ai_chat_wire, qodo_wire


def asking(**body: Any) -> ChatRequest:
    return ChatRequest(
        "m",
        (Message("user", "hi"),),
        search=True if {"use_search", "web_search_options"} & body.keys() else None,
        effort=body.get("reasoning_effort"),
        body=body,
    )


@pytest.mark.parametrize(
    ("body", "lost"),
    [
        ({}, ()),
        ({"use_search": True}, ("use_search",)),
        ({"web_search_options": {}}, ("web_search_options",)),
        ({"reasoning_effort": "high"}, ("reasoning_effort",)),
        ({"reasoning_effort": "none"}, ()),
        (
            {"use_search": True, "reasoning_effort": "low"},
            ("use_search", "reasoning_effort"),
        ),
    ],
)
def test_what_is_asked_for_and_not_done_is_named(
    body: dict[str, Any], lost: tuple[str, ...]
) -> None:
    assert ignored(asking(**body)) == lost


def test_what_only_the_configuration_asks_for_is_no_loss() -> None:
    assert ignored(ChatRequest("m", (), search=True, effort="high")) == ()


def test_qodo_and_the_site_say_so() -> None:
    request = asking(use_search=True)
    with qodo_wire.opened("cli") as qodo, kimi_ai_chat_wire.opened() as site:
        for wire in (qodo, site):
            lost = wire.account.provider.ignores(request, wire.model)
            assert lost == ("use_search",)
            assert wire.emulator.log.all() == ()
