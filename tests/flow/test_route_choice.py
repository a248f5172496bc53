"""Wildcards, weights and what is known of the models behind a name."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any

import pytest

from kimi_proxy.chat import NO_DEFAULTS, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.providers.base import Provider
from kimi_proxy.router import Route, Router, route_to
from tests.fakes import FakeProvider


class Catalogue(FakeProvider):
    """A provider with the models it is given; none means that any may exist."""

    def __init__(self, name: str, *models: Model) -> None:
        super().__init__(name)
        self.listed = list(models)

    def known_models(self) -> list[Model]:
        return list(self.listed)


def named(*names: str) -> list[Model]:
    return [Model(name, name, "owner") for name in names]


def router(aliases: dict[str, Any], **providers: list[Model]) -> Router:
    made: dict[str, Provider] = {
        name: Catalogue(name, *models) for name, models in providers.items()
    }
    routes = {
        name: [
            route_to(target, NO_DEFAULTS) if isinstance(target, str) else target
            for target in targets
        ]
        for name, targets in aliases.items()
    }
    return Router(made, routes, Random(7))


SHAPES = {
    "gpt-4": ["kimi/exact"],
    "gpt-*": ["kimi/gpt"],
    "gpt-4*": ["kimi/four"],
    "gpt-*-mini": ["kimi/mini"],
    "gpt-4*-mini": ["kimi/four-mini"],
    "or/*": ["open/*"],
    "claude-*": ["open/anthropic/claude-*", "kimi/k2"],
    "*:free": ["open/free/*:free"],
    "*": ["kimi/rest"],
}


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        ("gpt-4", ["kimi/exact"]),
        ("gpt-4o", ["kimi/four"]),
        ("gpt-5", ["kimi/gpt"]),
        ("gpt-5-mini", ["kimi/mini"]),
        ("gpt-4o-mini", ["kimi/four-mini"]),
        ("gpt-", ["kimi/rest"]),
        ("or/org/deep", ["open/org/deep"]),
        ("or/", ["kimi/rest"]),
        ("claude-9", ["open/anthropic/claude-9", "kimi/k2"]),
        ("qwen:free", ["open/free/qwen:free"]),
        ("nobody/knows", ["kimi/rest"]),
        ("KIMI", ["kimi/rest"]),
        # A provider's own names are never a wildcard's.
        ("open/x", ["open/x"]),
        ("kimi", ["kimi/k2"]),
    ],
)
def test_the_most_specific_name_wins(name: str, targets: list[str]) -> None:
    models = ["k2", "exact", "four", "gpt", "mini", "four-mini", "rest"]
    both = router(SHAPES, kimi=named(*models), open=[])
    found = [f"{route.provider}/{route.model}" for route in both.resolve(name)]
    assert found == targets


def test_a_wildcard_gives_no_model_that_its_provider_does_not_list() -> None:
    both = router({"*": ["open/*"]}, open=named("a"))
    assert both.resolve("a") == (Route("open", "a"),)
    with pytest.raises(ModelNotFound):
        both.resolve("b")
    with pytest.raises(ModelNotFound):
        both.resolve("open/b")


def test_a_wildcard_is_not_listed() -> None:
    both = router({"mine": ["open/a"], "*": ["open/*"]}, open=named("a"))
    assert list(both.listing()) == ["mine", "open", "open/a"]


def test_names_that_are_asked_for_are_not_remembered() -> None:
    both = router({"*": ["open/*"]}, open=[])
    before = vars(both).copy()
    for name in map(str, range(100)):
        both.resolve(name)
    assert {key: len(value) for key, value in vars(both).items() if sized(value)} == {
        key: len(value) for key, value in before.items() if sized(value)
    }
    assert len(vars(both)["_offers"]) == 1


def sized(value: object) -> bool:
    return isinstance(value, dict | list)


HEAVY = Route("a", "x", weight=3)
LIGHT = Route("b", "x", weight=1)
LAST = Route("c", "x")


def test_the_first_is_drawn_by_weight_and_the_rest_follow_in_order() -> None:
    both = router({"m": [LAST, HEAVY, LIGHT]}, a=[], b=[], c=[])
    drawn = Counter(both.resolve("m") for _ in range(4000))
    heavy, light = (HEAVY, LAST, LIGHT), (LIGHT, LAST, HEAVY)
    assert set(drawn) == {heavy, light}
    assert 0.7 < drawn[heavy] / 4000 < 0.8


def test_the_same_source_of_chance_draws_the_same() -> None:
    one, other = (router({"m": [HEAVY, LIGHT]}, a=[], b=[]) for _ in range(2))
    assert [one.resolve("m") for _ in range(50)] == [
        other.resolve("m") for _ in range(50)
    ]


def test_who_is_named_stays_with_the_same_one() -> None:
    both = router({"m": [HEAVY, LIGHT]}, a=[], b=[])
    for who in map(str, range(20)):
        assert len({both.resolve("m", who) for _ in range(20)}) == 1
    drawn = Counter(both.resolve("m", str(number)) for number in range(1000))
    assert 0.7 < drawn[(HEAVY, LIGHT)] / 1000 < 0.8


def test_a_weight_counts_only_while_its_model_is_there() -> None:
    both = router({"m": [HEAVY, LIGHT]}, a=named("other"), b=[])
    assert {both.resolve("m") for _ in range(50)} == {(LIGHT,)}


def test_a_wildcard_may_have_weights() -> None:
    both = router({"g-*": [Route("a", "*", weight=1), Route("b", "*")]}, a=[], b=[])
    assert [r.model for r in both.resolve("g-7")] == ["7", "7"]


@pytest.mark.parametrize(
    ("name", "alone"),
    [
        ("kimi", True),
        ("kimi/k2", True),
        ("kimi/gone", True),
        ("mine", True),
        ("any-name", True),
        ("any-other", False),
        ("mixed", False),
        ("open/x", False),
        ("unknown", False),
    ],
)
def test_it_is_told_whether_a_name_leads_to_one_provider_only(
    name: str, alone: bool
) -> None:
    aliases = {
        "mine": ["kimi/k2"],
        "mixed": ["kimi/k2", "open/x"],
        "any-*": ["kimi/k2"],
        "any-other": ["open/x"],
    }
    both = router(aliases, kimi=named("k2"), open=[])
    assert both.leads_only_to(name, "kimi") is alone


def test_the_listing_is_the_same_until_a_model_changes() -> None:
    kimi = Catalogue("kimi", *named("a"))
    both = Router({"kimi": kimi}, {})
    first = both.listing()
    kimi.listed = named("a")
    assert both.listing() is first
    kimi.listed = named("a", "b")
    assert list(both.listing()) == ["kimi", "kimi/a", "kimi/b"]
    assert both.resolve("kimi/b") == (Route("kimi", "b"),)


TEXT, IMAGE = frozenset({"text"}), frozenset({"text", "image"})


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [(TEXT, IMAGE, IMAGE), (TEXT, TEXT, TEXT), (TEXT, None, None)],
)
def test_an_alias_takes_what_any_of_its_routes_takes(
    first: frozenset[str], second: frozenset[str] | None, together: object
) -> None:
    a = Model("x", "X", "a", context_length=1000, modalities=first)
    b = Model("x", "X", "b", context_length=2000, modalities=second)
    listing = router({"m": ["a/x", "b/x"]}, a=[a], b=[b]).listing()["m"].model
    assert (listing.owner, listing.context_length) == ("a", 1000)
    assert listing.modalities == together
