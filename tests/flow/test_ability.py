"""What a route cannot do goes to the next one, or is refused by its field."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.attempt import Trace
from kimi_proxy.chat import Attachment, ChatRequest, Message, Model, Need
from kimi_proxy.errors import (
    ContextTooLong,
    GatewayError,
    PoolEmpty,
    Unsupported,
    UpstreamFailed,
    UpstreamUnreachable,
)
from kimi_proxy.storage import Store
from tests.fakes import FakeProvider, HandClock, raised
from tests.flow.stage import Stage, build_stage

IMAGE = Attachment("image", "messages[0].content[1].image_url", url="https://x/y.png")
FILE = Attachment("file", "messages[0].content[1].file_id", file_id="file-1")
NEED = Need("content parts of type 'input_audio' are not supported", "messages[0]")
ABLE = {
    "plain": frozenset[str](),
    "text": frozenset({"attachments", "relay"}),
    "seeing": frozenset({"attachments"}),
    "native": frozenset({"attachments", "relay"}),
}
TAKES = {
    "text": frozenset({"text"}),
    "seeing": frozenset({"text", "image"}),
    "native": None,
}


class Able(FakeProvider):
    """A provider that honours what its name says; its model takes what it says."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.honours = ABLE[name]

    def known_models(self) -> list[Model]:
        return [Model("m", "M", self.name, modalities=TAKES.get(self.name))]


CHAINS = {
    "all": ["plain/m", "text/m", "seeing/m", "native/m"],
    "blind": ["plain/m", "text/m"],
    "deaf": ["plain/m", "seeing/m"],
}


@pytest.fixture
def stage(hand: HandClock, hand_store: Store) -> Stage:
    accounts = {name: ("a",) for name in ABLE}
    return build_stage(hand.clock, hand_store, accounts, CHAINS, Able)


def ask(stage: Stage, model: str, **fields: Any) -> str:
    """Who answered."""
    attached = fields.pop("attached", ())
    message = Message("user", "question", attachments=attached)
    request = ChatRequest(model, (message,), stream=True, **fields)
    stream = stage.gateway.open(request, stage.scope(), Trace())
    list(stream)
    return stream.route.provider


@pytest.mark.parametrize(
    ("fields", "who"),
    [
        ({}, "plain"),
        ({"attached": (IMAGE,)}, "seeing"),
        ({"attached": (FILE,)}, "native"),
        ({"attached": (IMAGE, FILE)}, "native"),
        ({"needs": (NEED,), "relays": True}, "text"),
        ({"needs": (NEED,), "relays": True, "attached": (IMAGE,)}, "native"),
    ],
)
def test_the_first_that_can_answers(
    stage: Stage, fields: dict[str, Any], who: str
) -> None:
    assert ask(stage, "all", **fields) == who


@pytest.mark.parametrize(
    ("chain", "fields", "param"),
    [
        ("blind", {"attached": (IMAGE,)}, IMAGE.param),
        ("blind", {"attached": (FILE,)}, FILE.param),
        ("seeing/m", {"attached": (FILE,)}, FILE.param),
        ("deaf", {"needs": (NEED,), "relays": True}, NEED.param),
        # An answer that has to be changed would lose what was asked for.
        (
            "all",
            {"needs": (NEED,), "relays": True, "show_reasoning": False},
            NEED.param,
        ),
    ],
)
def test_where_nobody_can_the_field_is_named_and_nobody_asked(
    stage: Stage, chain: str, fields: dict[str, Any], param: str
) -> None:
    with pytest.raises(Unsupported) as caught:
        ask(stage, chain, **fields)
    assert caught.value.param == param
    assert not any(provider.calls for provider in stage.providers.values())


def test_an_earlier_turn_s_image_counts_too(stage: Stage) -> None:
    history = (
        Message("user", "see", attachments=(IMAGE,)),
        Message("assistant", "seen"),
        Message("user", "and now?"),
    )
    request = ChatRequest("blind", history, stream=True)
    with pytest.raises(Unsupported):
        stage.gateway.open(request, stage.scope(), Trace())


@pytest.mark.parametrize(
    ("seeing", "told"),
    [
        (UpstreamFailed("broken"), UpstreamFailed),
        (ContextTooLong("too long"), ContextTooLong),
        (PoolEmpty("nobody"), PoolEmpty),
    ],
)
@pytest.mark.parametrize("chain", [("seeing/m", "text/m"), ("text/m", "seeing/m")])
def test_a_failure_is_told_rather_than_what_another_route_cannot_do(
    hand: HandClock,
    hand_store: Store,
    chain: tuple[str, ...],
    seeing: GatewayError,
    told: type[GatewayError],
) -> None:
    accounts = {"seeing": ("a",), "text": ("a",)}
    stage = build_stage(hand.clock, hand_store, accounts, {"m": chain}, Able)
    stage.providers["seeing"].script = raised(seeing)
    with pytest.raises(told):
        ask(stage, "m", attached=(IMAGE,))


def test_a_dead_upstream_of_many_accounts_leaves_attempts_for_the_next(
    hand: HandClock, hand_store: Store
) -> None:
    many = tuple(map(str, range(30)))
    accounts = {"plain": many, "seeing": many, "native": ("a",)}
    chain = {"m": ["plain/m", "seeing/m", "native/m"]}
    stage = build_stage(hand.clock, hand_store, accounts, chain, Able)
    for name in ("plain", "seeing"):
        stage.providers[name].script = raised(UpstreamUnreachable("down"))
    assert ask(stage, "m") == "native"
    assert sum(len(stage.tried(name)) for name in accounts) <= 10


def test_a_chain_longer_than_the_budget_is_tried_to_its_end(
    hand: HandClock, hand_store: Store
) -> None:
    names = [f"p{n}" for n in range(14)]
    stage = build_stage(
        hand.clock,
        hand_store,
        {name: ("a", "b") for name in names},
        {"m": [f"{name}/model" for name in names]},
    )
    for name in names[:-1]:
        stage.providers[name].script = raised(UpstreamUnreachable("down"))
    assert ask(stage, "m") == names[-1]
