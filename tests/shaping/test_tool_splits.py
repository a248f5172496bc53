"""From the model's pieces to the client's deltas, cut at random: no call is lost, no
marker is shown, and text that speaks of markers calls nothing."""

import re
from itertools import pairwise
from random import Random

import pytest

from kimi_proxy.chat import Tool
from kimi_proxy.events import ChatResult
from tests.shaping.model import Model, calls_of, question, whole
from tests.shaping.test_tool_text import ORDINARY
from tests.shaping.tool_answers import FORMS, MARKERS, NAMES

TOOLS = tuple(Tool(name, "", {"type": "object"}) for name in NAMES)
BEFORE = ("", "\n \n", "Let me see.\n", "好的，我来查一下。\n\n", "A [1] <b> `x`:\r\n")
SPLITS = 10_000
_ID = re.compile(r"call_[0-9a-f]{24}")


def cut(text: str, chance: Random) -> list[str]:
    """The text in one to thirty pieces, or character by character."""
    if chance.random() < 0.1:
        return list(text)
    spots = chance.choices(range(len(text) + 1), k=chance.randrange(30))
    pairs = pairwise([0, *sorted(spots), len(text)])
    return [text[begin:end] for begin, end in pairs if begin != end]


def answered(parts: list[str]) -> ChatResult:
    return whole(Model(parts), question(tools=TOOLS))


@pytest.mark.parametrize("form", FORMS)
def test_every_form_in_ten_thousand_cuts(form: str) -> None:
    text, calls = FORMS[form]
    chance = Random(form)
    expected = [(call.name, call.arguments) for call in calls]
    ids = set()
    rounds = SPLITS // len(FORMS) + 1
    for _ in range(rounds):
        before = chance.choice(BEFORE)
        result = answered(cut(before + text, chance))
        assert calls_of(result) == expected
        assert result.text == before.rstrip()
        assert not any(marker in result.text for marker in MARKERS)
        assert result.reason == "tool_calls"
        ids |= {call.id for call in result.tool_calls}
    assert len(ids) == rounds * len(calls)
    assert all(_ID.fullmatch(id) for id in ids)


@pytest.mark.parametrize("number", range(len(ORDINARY)))
def test_ordinary_text_in_any_cut_calls_nothing(number: int) -> None:
    text, chance = ORDINARY[number], Random(number)
    for _ in range(2_000 // len(ORDINARY)):
        result = answered(cut(text, chance))
        assert (result.text, result.tool_calls, result.reason) == (text, (), "stop")
