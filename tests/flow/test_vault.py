"""The accounts' credentials: on disk first, the one before kept, nothing shown."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from kimi_proxy.providers.base import Credential
from kimi_proxy.storage import Store, open_store
from kimi_proxy.vault import Vault
from tests.fakes import HandClock

SEED = Credential(
    access="fake-access-0",
    refresh="fake-refresh-0",
    access_expires=1.0,
    refresh_expires=2.0,
    region="cn",
    subject="me",
    device="dev",
    session="ses",
)
NEXT = replace(SEED, access="fake-access-1", refresh="fake-refresh-1")
LAST = replace(SEED, access="fake-access-2", refresh="fake-refresh-2")
OTHER = Credential(refresh="fake-refresh-other")


def vault_of(store: Store, hand: HandClock, **seeds: Credential) -> Vault:
    return Vault(
        provider="fake",
        seeds=seeds or {"a": SEED, "b": OTHER},
        documents=store.durable,
        clock=hand.clock,
    )


def test_before_anything_was_bought_the_configured_token_counts(
    store: Store, hand: HandClock
) -> None:
    stored = vault_of(store, hand).load("a")
    assert stored.credential == SEED
    assert stored.previous is None


def test_nobody_has_an_account_of_an_unknown_name(
    store: Store, hand: HandClock
) -> None:
    with pytest.raises(KeyError):
        vault_of(store, hand).load("nobody")


def test_a_bought_credential_comes_back_whole_with_the_one_before(
    store: Store, hand: HandClock
) -> None:
    vault = vault_of(store, hand)
    vault.save("a", NEXT)
    hand.advance(10)
    vault.save("a", LAST)
    stored = vault.load("a")
    assert (stored.credential, stored.previous) == (LAST, NEXT)
    assert stored.obtained == hand.now()
    assert vault.load("b").credential == OTHER


def test_when_save_returns_another_process_would_find_it(
    tmp_path: Path, hand: HandClock
) -> None:
    """A second store on the same file shares nothing with the first but the disk."""
    uri = f"sqlite:///{tmp_path}/state.db"
    with (
        closing(open_store(uri, time.time)) as first,
        closing(open_store(uri, time.time)) as second,
    ):
        vault_of(first, hand).save("a", NEXT)
        assert vault_of(second, hand).load("a").credential == NEXT


def test_it_is_the_durable_half_of_the_store_that_is_written(
    store: Store, hand: HandClock
) -> None:
    vault_of(store, hand).save("a", NEXT)
    assert store.durable.scan("") != []
    assert store.live.scan("") == []


def test_a_newly_configured_token_replaces_what_grew_from_the_old(
    store: Store, hand: HandClock
) -> None:
    old = vault_of(store, hand)
    old.is_reseeded("a")
    old.save("a", NEXT)
    new = vault_of(store, hand, a=OTHER)
    assert new.load("a").credential == OTHER
    assert new.is_reseeded("a")
    assert not new.is_reseeded("a"), "true once"
    assert new.load("a").credential == OTHER
    assert new.load("a").previous is None


def test_the_same_configuration_after_a_restart_keeps_what_was_bought(
    store: Store, hand: HandClock
) -> None:
    vault_of(store, hand).save("a", NEXT)
    again = vault_of(store, hand)
    assert not again.is_reseeded("a")
    assert again.load("a").credential == NEXT


def test_a_process_with_the_old_configuration_uses_the_new_token_while_it_drains(
    store: Store, hand: HandClock
) -> None:
    old = vault_of(store, hand)
    old.is_reseeded("a")
    bought_with = old.load("a")
    new = vault_of(store, hand, a=OTHER)
    new.is_reseeded("a")
    old.save("a", NEXT, seed=bought_with.seed)
    assert new.load("a").credential == OTHER, "nor does it put its own back"
    assert old.load("a").credential == OTHER


def test_without_a_look_at_the_start_the_new_token_counts_all_the_same(
    store: Store, hand: HandClock
) -> None:
    vault_of(store, hand).save("a", NEXT)
    new = vault_of(store, hand, a=OTHER)
    new.save("a", LAST)
    stored = new.load("a")
    assert (stored.credential, stored.previous) == (LAST, OTHER)


@pytest.mark.parametrize(
    "pasted",
    [
        SEED,
        Credential(access="fake-access-0"),
        Credential(refresh="fake-refresh-0"),
        Credential(refresh="fake-refresh-1"),
        Credential(access="fake-access-1"),
        Credential(access="fake-access-2", refresh="unheard-of"),
        LAST,
    ],
    ids=lambda c: f"{c.access},{c.refresh}",
)
def test_an_account_is_known_by_any_token_it_has_had(
    store: Store, hand: HandClock, pasted: Credential
) -> None:
    vault = vault_of(store, hand)
    for credential in (NEXT, LAST, replace(LAST, access="fake-access-3")):
        vault.save("a", credential)
    assert vault.owner(pasted) == "a"


@pytest.mark.parametrize(
    "pasted", [Credential(), Credential(access="fake-access-9"), Credential(refresh="")]
)
def test_a_token_of_nobody_has_no_owner(
    store: Store, hand: HandClock, pasted: Credential
) -> None:
    vault = vault_of(store, hand)
    vault.save("a", NEXT)
    assert vault.owner(pasted) is None


def test_what_is_remembered_of_old_tokens_is_bounded_and_no_secret(
    store: Store, hand: HandClock
) -> None:
    vault = vault_of(store, hand)
    for number in range(200):
        vault.save("a", Credential(refresh=f"fake-refresh-number-{number}"))
    ((_, document),) = store.durable.scan("token/fake/a")
    assert len(document["past"]) == 100
    assert "number" not in str(document["past"])
    assert vault.owner(Credential(refresh="fake-refresh-number-110")) == "a"


def test_no_repr_shows_a_secret(
    store: Store, hand: HandClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    vault = vault_of(store, hand)
    vault.save("a", NEXT)
    shown = f"{vault!r} {vault.load('a')!r} {SEED!r} {caplog.text}"
    assert "fake-" not in shown
