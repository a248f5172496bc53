"""Visitors bring their own tokens: bounded in memory, and never robbed of a renewal."""

from __future__ import annotations

import pytest

from kimi_proxy.errors import InvalidKey
from kimi_proxy.providers.base import Credential
from kimi_proxy.refresh import Account
from kimi_proxy.storage import Store
from kimi_proxy.visitors import Visitors
from tests.fakes import HandClock
from tests.flow.houses import House, build

MOST = 20


class Reader:
    """Any word but a few is a refresh token."""

    def read_token(self, text: str) -> Credential:
        if text.startswith("nonsense"):
            raise ValueError("no token")
        return Credential(refresh=text)

    def check_token(self, credential: Credential, scope: object) -> None:
        """Never asked here."""


class Door:
    """The visitors of one house."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.accounts: dict[str, Account] = {"a": house.account}
        self.visitors = Visitors(
            reader=Reader(),
            sample=house.account,
            accounts=self.accounts,
            may_use=lambda model: model == "fake",
            most=MOST,
        )

    def admit(self, bearer: str) -> tuple[str, ...]:
        return self.visitors.admit(bearer).accounts


@pytest.fixture
def door(hand: HandClock, hand_store: Store) -> Door:
    return Door(build(hand, hand_store))


def test_to_be_recognised_leaves_no_trace_and_opens_nothing(door: Door) -> None:
    key = door.visitors.recognise("T1,T2")
    assert len(key.accounts) == 2
    assert set(door.accounts) == {"a"}
    for name in key.accounts:
        with pytest.raises(KeyError):
            door.house.vault.load(name)


def test_who_is_admitted_has_accounts_of_his_own_tokens(door: Door) -> None:
    key = door.visitors.admit("T1, T2,T1")
    assert key.allows("fake")
    assert not key.allows("other/model")
    found = [door.house.vault.load(name).credential for name in key.accounts]
    assert [c.refresh for c in found] == ["T1", "T2"]
    assert key == door.visitors.admit("T1,T2") == door.visitors.recognise("T1,T2")


def test_a_visitor_with_a_token_of_the_house_shares_its_account(door: Door) -> None:
    assert door.admit("fake-refresh-0") == ("a",)


@pytest.mark.parametrize("bearer", ["nonsense", "T1,nonsense", ",", " "])
def test_what_is_no_token_is_no_key(door: Door, bearer: str) -> None:
    for let_in in (door.visitors.recognise, door.visitors.admit):
        with pytest.raises(InvalidKey):
            let_in(bearer)


def test_only_so_many_are_known_and_the_one_unused_for_longest_is_let_go(
    door: Door,
) -> None:
    regular, other = door.admit("regular"), door.admit("other")
    for number in range(MOST):
        door.admit(f"T{number}")
        door.admit("regular")
    assert len(door.accounts) == MOST + 1, "and the house's own"
    assert regular[0] in door.accounts
    assert other[0] not in door.accounts


def test_who_was_let_go_finds_the_token_that_was_bought_for_him(door: Door) -> None:
    """The one he still has was rotated away: without ours he would have to log in."""
    vault = door.house.vault
    (name,) = door.admit("early")
    vault.save(name, Credential(access="x", refresh="early-2"), seed=None)
    for number in range(MOST):
        door.admit(f"T{number}")
    assert name not in door.accounts
    assert door.admit("early") == (name,)
    assert vault.load(name).credential.refresh == "early-2"


def test_what_is_on_disk_of_a_visitor_goes_when_its_token_has_run_out(
    door: Door, hand: HandClock
) -> None:
    (name,) = door.admit("early")
    door.house.vault.save(name, Credential(access="x", refresh="early-2"), seed=None)
    door.house.vault.save("a", Credential(access="y", refresh="ours-2"), seed=None)
    durable = door.house.store.durable
    hand.advance(89 * 86_400)
    assert len(durable.scan("token/")) == 2
    hand.advance(2 * 86_400)
    assert [key for key, _ in durable.scan("token/")] == ["token/fake/a"]
