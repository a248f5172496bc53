"""Answers go on after the output limit (legacy sheet §4)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from emulators.kimi_legacy import Answer, KimiLegacyEmulator, SearchHit
from kimi_proxy.errors import ContentRefused, UpstreamCut
from kimi_proxy.events import Citation, Finished, TextDelta, collect
from kimi_proxy.shaping.length import cutting_off
from tests.providers.legacy_account import Account, asking, hang_up

PIECES = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j")
TEXT = "".join(PIECES)


@pytest.fixture
def emulator() -> Iterator[KimiLegacyEmulator]:
    with KimiLegacyEmulator() as running:
        yield running


@pytest.fixture
def account(emulator: KimiLegacyEmulator) -> Iterator[Account]:
    alice = Account(emulator)
    yield alice
    alice.leave()
    assert emulator.violations() == []


def limited(account: Account, after: int) -> None:
    account.emulator.answer = Answer(pieces=PIECES, length_after=after)


@pytest.mark.parametrize(("after", "rounds"), [(3, 3), (4, 2), (5, 1), (9, 1), (10, 0)])
def test_an_answer_goes_on_until_it_is_whole(
    account: Account, after: int, rounds: int
) -> None:
    limited(account, after)
    events = list(account.ask())
    assert events[:-1] == [*map(TextDelta, PIECES)]
    assert events[-1] == Finished("stop", account.chat_ids()[0])
    first, *more = account.emulator.log.of("completion")
    assert len(more) == rounds
    for again in more:
        assert again.body == {
            "segment_id": first.facts["segment"],
            "action": "continue",
            "messages": [{"role": "user", "content": " "}],
            "kimiplus_id": "kimi",
            "extend": {"sidebar": True},
        }


def test_it_goes_on_three_times_at_most(account: Account) -> None:
    limited(account, 2)
    result = collect(account.ask())
    assert (result.text, result.reason) == (TEXT[:8], "length")
    assert len(account.emulator.log.of("completion")) == 4


def test_each_piece_comes_before_the_answer_goes_on(account: Account) -> None:
    limited(account, 3)
    events = account.ask()
    assert [next(events) for _ in range(3)] == [*map(TextDelta, PIECES[:3])]
    assert len(account.emulator.log.of("completion")) == 1
    assert next(events) == TextDelta(PIECES[3])
    hang_up(events)


def test_a_marker_across_the_limit_is_still_one(account: Account) -> None:
    account.emulator.answer = Answer(
        pieces=("Cold.[^", "1^] Wet."),
        search=(SearchHit("Oslo", "https://example.org/oslo"),),
        length_after=1,
    )
    assert list(account.ask(asking(search=True)))[:-1] == [
        TextDelta("Cold."),
        Citation("https://example.org/oslo", "Oslo", placed=True),
        TextDelta(" Wet."),
    ]


@pytest.mark.parametrize(
    "fault",
    [
        {"error_type": "internal", "status": 500},
        {"error_type": "chat.user_stream_pushing"},
        {"error_type": "auth.token.invalid"},
        {"status": 404},
    ],
)
def test_where_it_cannot_go_on_the_limit_was_the_end(
    account: Account, fault: dict[str, Any]
) -> None:
    limited(account, 3)
    events = account.ask()
    seen = [next(events) for _ in range(3)]
    account.emulator.faults.add("refuse", on="completion", **fault)
    seen += events
    assert seen == [
        *map(TextDelta, PIECES[:3]),
        Finished("length", account.chat_ids()[0]),
    ]


def test_what_goes_on_to_nothing_is_left_at_that(account: Account) -> None:
    account.emulator.answer = Answer(pieces=("a", "", "", ""), length_after=1)
    result = collect(account.ask())
    assert (result.text, result.reason) == ("a", "length")
    assert len(account.emulator.log.of("completion")) == 2


def test_a_continuation_that_breaks_off_is_an_error(account: Account) -> None:
    limited(account, 3)
    events = account.ask()
    for _ in range(3):
        next(events)
    account.emulator.faults.add("no_all_done")
    with pytest.raises(UpstreamCut):
        list(events)


def test_a_continuation_that_is_moderated_is_refused(account: Account) -> None:
    limited(account, 3)
    events = account.ask()
    for _ in range(3):
        next(events)
    account.emulator.faults.add("error_event", at=1)
    with pytest.raises(ContentRefused):
        list(events)


@pytest.mark.parametrize("keeps", [False, True])
def test_the_clients_own_limit_is_an_end(account: Account, keeps: bool) -> None:
    words = tuple(f"word{number:04} " for number in range(40))
    account.emulator.answer = Answer(pieces=words, length_after=20)
    ask = cutting_off(account.ask)
    request = replace(asking(), max_tokens=2, keeps=keeps)
    result = collect(ask(request))
    assert result.text and "".join(words).startswith(result.text)
    assert result.reason == "length" and len(result.text) < 20
    assert len(account.emulator.log.of("completion")) == 1


def test_a_limit_of_the_client_that_lies_further_away_is_none(account: Account) -> None:
    limited(account, 5)
    ask = cutting_off(account.ask)
    result = collect(ask(replace(asking(), max_tokens=1000, keeps=True)))
    assert (result.text, result.reason) == (TEXT, "stop")
