"""Clients that ask, go back, edit, trim and fail at random: whatever they do, a model
has read the history that they sent, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from kimi_proxy.chat import Message
from kimi_proxy.errors import GatewayError, UpstreamNotFound, UpstreamRejected
from kimi_proxy.events import Finished, TextDelta
from kimi_proxy.storage import Store
from tests.fakes import HandClock
from tests.flow.talks import Town, Turn, bot, system, town, user

STEPS = 40
FAILURES: tuple[tuple[Any, ...], ...] = (
    (UpstreamNotFound("made up"),),
    (UpstreamRejected("made up"),),
    (TextDelta("half"), UpstreamRejected("made up")),
    (TextDelta("bad"), Finished("content_filter")),
)


class Walk:
    """One walk; `read` is what a model has read of a chat, by where the chat stood."""

    def __init__(self, place: Town, chance: Random, linear: bool) -> None:
        self.place = place
        self.chance = chance
        self.linear = linear
        self.saved: list[list[Message]] = []
        self.read: dict[str | None, list[Message]] = {}
        self.went_on = 0

    def step(self) -> None:
        """One question of one client, and what became of it."""
        place, chance = self.place, self.chance
        messages = self._question()
        place.provider.plays.clear()
        if chance.random() < 0.2:
            place.provider.plays.append(chance.choice(FAILURES))
        before, result = len(place.turns), None
        try:
            result = place.ask(messages, owner=chance.choice(["me", "me", "you"]))
        except GatewayError:
            pass
        for turn in place.turns[before:]:
            context = self._check(turn, messages)
        if result is not None and result.reason == "stop":
            turn = place.turns[-1]
            said = bot(result.text)
            self.read[self._spot(turn, answered=True)] = [*context, said]
            self.saved.append([*messages, said])

    def _question(self) -> list[Message]:
        chance = self.chance
        history = [system(f"S{chance.randrange(2)}")] * (chance.random() < 0.5)
        if self.saved and chance.random() > 0.12:
            history = list(chance.choice(self.saved[-4:]))
        if history and chance.random() < 0.15:
            self._edit(history)
        if chance.random() < 0.3:
            history = [replace(m, text=f" {m.text}  \n") for m in history]
        new = [user(f"u{chance.randrange(6)}")]
        if chance.random() < 0.1:
            new.insert(chance.randrange(2), system("by the way"))
        return [*history, *new]

    def _edit(self, history: list[Message]) -> None:
        at = self.chance.randrange(len(history))
        match self.chance.randrange(4):
            case 0:
                del history[at:]
            case 1:
                del history[at]
            case 2:
                history[at] = replace(history[at], text=f"{history[at].text}!")
            case _:
                history[at] = user(history[at].text)

    def _spot(self, turn: Turn, *, answered: bool) -> str | None:
        if self.linear:
            return turn.chat
        answers = self.place.provider.rooms[turn.chat].answers
        return answers[-1] if answered else turn.head

    def _check(self, turn: Turn, messages: Sequence[Message]) -> list[Message]:
        """That the model has read what the client said; all that it has read."""
        context = list(turn.request.messages)
        if turn.follows:
            self.went_on += 1
            context = [*self.read[self._spot(turn, answered=False)], *context]
        assert _words(context) == _words(messages)
        # Directions are not taken back, but none that hold now are missing.
        assert set(_directions(messages)) <= set(_directions(context))
        return context


def _words(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(m.role, m.text.strip()) for m in messages if m.role != "system"]


def _directions(messages: Sequence[Message]) -> list[str]:
    return [m.text.strip() for m in messages if m.role == "system"]


@pytest.mark.parametrize("linear", [False, True], ids=["heads", "linear"])
@pytest.mark.parametrize("seed", range(15))
def test_a_model_reads_what_the_client_sent_and_nothing_else(
    hand: HandClock, hand_store: Store, seed: int, linear: bool
) -> None:
    chance = Random(seed)
    place = town(
        hand.clock,
        hand_store,
        linear=linear,
        ttl=chance.choice([50.0, 3600.0]),
        most=chance.choice([3, 1000]),
    )
    walk = Walk(place, chance, linear)
    for _ in range(STEPS):
        walk.step()
        if chance.random() < 0.1:
            hand.advance(chance.choice([1, 10, 40, 100]))
        if chance.random() < 0.2:
            place.sweep()
    assert walk.went_on > 0
