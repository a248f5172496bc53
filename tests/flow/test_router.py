"""Which upstream models a name stands for, and which names there are."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.chat import NO_DEFAULTS
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.router import Route, Router, route_to
from tests.fakes import FakeProvider


class Silent:
    """A provider that lists no models: it may have any."""

    name = "silent"
    honours: frozenset[str] = frozenset()

    def stream(self, request: Any, lease: Any) -> Any:
        raise AssertionError("nobody asks it anything")


def router(**aliases: tuple[str, ...]) -> Router:
    kimi = FakeProvider("kimi")
    kimi.model_ids = ["k2", "org/deep"]
    routes = {
        name: [route_to(target, NO_DEFAULTS) for target in targets]
        for name, targets in aliases.items()
    }
    return Router({"kimi": kimi, "silent": Silent()}, routes)


@pytest.mark.parametrize(
    ("name", "routes"),
    [
        ("kimi/k2", [Route("kimi", "k2")]),
        ("kimi/org/deep", [Route("kimi", "org/deep")]),
        ("kimi", [Route("kimi", "k2")]),
        ("silent/any/thing", [Route("silent", "any/thing")]),
        ("best", [Route("kimi", "org/deep"), Route("silent", "x")]),
        ("half", [Route("kimi", "k2")]),
    ],
)
def test_a_name_stands_for(name: str, routes: list[Route]) -> None:
    aliases = {
        "best": ("kimi/org/deep", "silent/x"),
        "half": ("gone/x", "kimi/gone", "kimi/k2"),
    }
    assert list(router(**aliases).resolve(name)) == routes


@pytest.mark.parametrize(
    "name",
    ["", "k2", "kimi/", "kimi/gone", "gone/k2", "silent", "/", "/k2", "void", "KIMI"],
)
def test_a_name_of_nothing_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound) as caught:
        router(void=("kimi/gone",)).resolve(name)
    assert caught.value.param == "model"


def test_a_very_long_name_is_not_repeated_whole() -> None:
    with pytest.raises(ModelNotFound) as caught:
        router().resolve("x" * 1_000_000)
    assert len(caught.value.message) < 500


def test_an_alias_goes_before_a_provider_of_the_same_name() -> None:
    assert router(kimi=("kimi/org/deep",)).resolve("kimi") == (
        Route("kimi", "org/deep"),
    )


def test_every_name_is_listed_once_aliases_first() -> None:
    listed = router(
        best=("silent/x", "kimi/org/deep"),
        void=("kimi/gone",),
        **{"kimi/k2": ("kimi/org/deep",)},
    ).listing()
    assert list(listed) == [
        "best",
        "kimi/k2",
        "kimi",
        "kimi/org/deep",
    ]
    described = {name: listing.model for name, listing in listed.items()}
    assert described["best"].id == "org/deep"
    assert described["kimi/k2"].id == "org/deep"
    assert described["kimi"].owner == "kimi"


def test_every_name_that_is_listed_resolves() -> None:
    both = router(best=("silent/x",), half=("gone/x", "kimi/k2"))
    for name in both.listing():
        assert both.resolve(name)


def test_an_alias_of_an_unlisted_model_is_described_by_its_route() -> None:
    (listing, *_) = router(best=("silent/x",)).listing().values()
    assert (listing.model.id, listing.model.owner) == ("x", "silent")


class Agency(FakeProvider):
    """A provider that has more than it lists."""

    def offers(self, model: str) -> bool:
        return model.startswith("agent-")


def test_a_model_that_is_offered_unlisted_resolves_and_stays_unlisted() -> None:
    agency = Agency("kimi")
    agency.model_ids = ["k2"]
    both = Router({"kimi": agency}, {"mine": [Route("kimi", "agent-7")]})
    assert both.resolve("kimi/agent-9") == (Route("kimi", "agent-9"),)
    assert both.resolve("mine") == (Route("kimi", "agent-7"),)
    assert list(both.listing()) == ["mine", "kimi", "kimi/k2"]
    with pytest.raises(ModelNotFound):
        both.resolve("kimi/k9")
