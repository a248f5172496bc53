"""Which upstream models a client's model name stands for, in the order to try them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from kimi_proxy.chat import NO_DEFAULTS, Defaults, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.providers.base import ListsModels, OffersUnlisted, Provider


@dataclass(frozen=True, slots=True)
class Route:
    """One provider and its own id of the model; an alias adds defaults of its own.

    Of an alias's routes those with a `weight` take turns at being the first, by chance.
    """

    provider: str
    model: str
    defaults: Defaults = NO_DEFAULTS
    weight: int | None = None


def route_to(target: str, defaults: Defaults, weight: int | None = None) -> Route:
    """The route to a target written `provider/model`."""
    provider, _, model = target.partition("/")
    return Route(provider, model, defaults, weight)


@dataclass(frozen=True, slots=True)
class Listing:
    """A model as the client may name it."""

    id: str
    model: Model


@dataclass(frozen=True, slots=True)
class _Wildcard:
    """An alias for every name of a shape; a `*` of its routes is what its own met."""

    before: str
    after: str
    routes: tuple[Route, ...]

    def meet(self, name: str) -> tuple[Route, ...] | None:
        """The routes for a name of this shape; the `*` is one character or more."""
        end = len(name) - len(self.after)
        fits = name.startswith(self.before) and name.endswith(self.after)
        if not fits or end <= len(self.before):
            return None
        met = name[len(self.before) : end]
        return tuple(replace(r, model=r.model.replace("*", met)) for r in self.routes)


@dataclass(frozen=True, slots=True)
class _Offer:
    """What a provider listed, and the same by id."""

    models: tuple[Model, ...]
    by_id: Mapping[str, Model]


class Router:
    """Names: a configured alias, `provider/model`, a provider for its default, or a
    wildcard, in this order.

    `aliases` maps a name to the routes to try in order; with a `*` in it, it is a
    wildcard, of which the most specific one counts. A provider that lists models
    accepts only those it lists and those it says it offers all the same, any while its
    list is empty; the first is its default.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        aliases: Mapping[str, Sequence[Route]],
        random: Random | None = None,
    ) -> None:
        self._providers = providers
        # Asked once: to hold something against a protocol takes 10 us.
        self._listers = {
            name: provider
            for name, provider in providers.items()
            if isinstance(provider, ListsModels)
        }
        self._with_unlisted = {
            name: provider
            for name, provider in providers.items()
            if isinstance(provider, OffersUnlisted)
        }
        self._random = random or Random()  # noqa: S311 - nothing secret hangs on it
        self._aliases = {n: tuple(r) for n, r in aliases.items() if "*" not in n}
        shapes = [
            _Wildcard(before, after, tuple(routes))
            for name, routes in aliases.items()
            for before, star, after in [name.partition("*")]
            if star
        ]
        # Of two that meet the same name, the narrower one has more before its `*` or
        # after it, and in a checked configuration never less on the other side.
        self._wildcards = sorted(
            shapes, key=lambda shape: (-len(shape.before), -len(shape.after))
        )
        self._offers: dict[str, _Offer] = {}
        self._listed: tuple[tuple[_Offer, ...], Mapping[str, Listing]] | None = None

    def resolve(self, name: str, who: str | None = None) -> tuple[Route, ...]:
        """The routes for a name, at least one; raises `ModelNotFound`.

        Where weights draw the first, `who` is given the same one every time.
        """
        known = [route for route in self._named(name) if self._has(route)]
        if not known:
            raise ModelNotFound(
                f"the model {name[:200]!r} does not exist; GET /v1/models lists all",
                param="model",
            )
        chance = self._random if who is None else Random(who)  # noqa: S311 - as above
        return _in_turn(known, chance)

    def leads_only_to(self, name: str, provider: str) -> bool:
        """Whether whatever a name stands for is that provider's."""
        routes = self._named(name)
        return bool(routes) and all(route.provider == provider for route in routes)

    def described(self, route: Route) -> Model | None:
        """What is known of a route's model."""
        return self._offer(route.provider).by_id.get(route.model)

    def _named(self, name: str) -> Sequence[Route]:
        routes = self._aliases.get(name)
        if routes is not None:
            return routes
        provider, slash, model = name.partition("/")
        if slash and provider in self._providers:
            return (Route(provider, model),)
        if name in self._providers and (models := self._offer(name).models):
            return (Route(name, models[0].id),)
        met = (wildcard.meet(name) for wildcard in self._wildcards)
        return next((routes for routes in met if routes is not None), ())

    def _has(self, route: Route) -> bool:
        if route.provider not in self._providers:
            return False
        offer = self._offer(route.provider)
        if not offer.models or route.model in offer.by_id:
            return True
        more = self._with_unlisted.get(route.provider)
        return more is not None and more.offers(route.model)

    def _offer(self, name: str) -> _Offer:
        """The provider's list; the same object for as long as the list is the same."""
        lister = self._listers.get(name)
        models = () if lister is None else tuple(lister.known_models())
        found = self._offers.get(name)
        if found is None or found.models != models:
            found = _Offer(models, {model.id: model for model in reversed(models)})
            self._offers[name] = found
        return found

    def listing(self) -> Mapping[str, Listing]:
        """Every name a client may use but those that wildcards meet, aliases first.

        From memory; the same object until something about it changes.
        """
        offers = tuple(self._offer(name) for name in self._providers)
        cached = self._listed
        if cached is None or not _same(cached[0], offers):
            cached = self._listed = (offers, self._gathered())
        return cached[1]

    def _gathered(self) -> dict[str, Listing]:
        named = [
            Listing(name, self._of_alias(routes))
            for name, routes in self._aliases.items()
            if any(self._has(route) for route in routes)
        ]
        offers = {name: self._offer(name).models for name in self._providers}
        defaults = [
            Listing(name, found[0])
            for name, found in offers.items()
            if found and name not in self._aliases
        ]
        direct = [
            Listing(f"{name}/{model.id}", model)
            for name, found in offers.items()
            for model in found
        ]
        listed: dict[str, Listing] = {}
        for listing in named + defaults + direct:
            listed.setdefault(listing.id, listing)
        return listed

    def _of_alias(self, routes: Sequence[Route]) -> Model:
        """What is known of an alias: the model of its first route that has one, but
        taking whatever one of the routes takes."""
        offered = [route for route in routes if self._has(route)]
        models = [self.described(route) for route in offered]
        known = next((model for model in models if model is not None), None)
        if known is None:
            first = offered[0]
            return Model(id=first.model, name=first.model, owner=first.provider)
        taken: frozenset[str] | None = frozenset()
        for model in models:
            if model is None or model.modalities is None or taken is None:
                taken = None
            else:
                taken |= model.modalities
        return replace(known, modalities=taken)


def _in_turn(routes: Sequence[Route], chance: Random) -> tuple[Route, ...]:
    weights = [route.weight or 0 for route in routes]
    if not any(weights):
        return tuple(routes)
    (first,) = chance.choices(range(len(routes)), weights)
    return (routes[first], *routes[:first], *routes[first + 1 :])


def _same(some: tuple[object, ...], others: tuple[object, ...]) -> bool:
    return all(one is other for one, other in zip(some, others, strict=True))
