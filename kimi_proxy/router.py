"""Which upstream models a client's model name stands for, in the order to try them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kimi_proxy.chat import NO_DEFAULTS, Defaults, Model
from kimi_proxy.errors import ModelNotFound
from kimi_proxy.providers.base import ListsModels, OffersUnlisted, Provider


@dataclass(frozen=True, slots=True)
class Route:
    """One provider and its own id of the model; an alias adds defaults of its own."""

    provider: str
    model: str
    defaults: Defaults = NO_DEFAULTS


@dataclass(frozen=True, slots=True)
class Listing:
    """A model as the client may name it."""

    id: str
    model: Model


class Router:
    """Names: a configured alias, `provider/model`, or a provider for its default.

    `aliases` maps a name to the routes to try in order. A provider that lists models
    accepts only those it lists and those it says it offers all the same, any while its
    list is empty; the first is its default.
    """

    def __init__(
        self,
        providers: Mapping[str, Provider],
        aliases: Mapping[str, Sequence[Route]],
    ) -> None:
        self._providers = providers
        self._aliases = {name: tuple(routes) for name, routes in aliases.items()}

    def resolve(self, name: str) -> tuple[Route, ...]:
        """The routes for a name, at least one; raises `ModelNotFound`."""
        routes = self._aliases.get(name) or self._direct(name)
        known = tuple(route for route in routes if self._offers(route))
        if not known:
            raise ModelNotFound(
                f"the model {name[:200]!r} does not exist; GET /v1/models lists all",
                param="model",
            )
        return known

    def _direct(self, name: str) -> tuple[Route, ...]:
        provider, slash, model = name.partition("/")
        if slash:
            return (Route(provider, model),)
        default = self._models(name)[:1]
        return tuple(Route(name, model.id) for model in default)

    def _offers(self, route: Route) -> bool:
        if route.provider not in self._providers:
            return False
        listed = self._models(route.provider)
        if not listed or any(model.id == route.model for model in listed):
            return True
        provider = self._providers[route.provider]
        return isinstance(provider, OffersUnlisted) and provider.offers(route.model)

    def _models(self, provider: str) -> list[Model]:
        found = self._providers.get(provider)
        return found.known_models() if isinstance(found, ListsModels) else []

    def listing(self) -> list[Listing]:
        """Every name a client may use, once, aliases first; from memory."""
        named = [
            Listing(name, self._described(routes))
            for name, routes in self._aliases.items()
            if any(self._offers(route) for route in routes)
        ]
        defaults = [
            Listing(provider, models[0])
            for provider in self._providers
            if provider not in self._aliases and (models := self._models(provider))
        ]
        direct = [
            Listing(f"{provider}/{model.id}", model)
            for provider in self._providers
            for model in self._models(provider)
        ]
        listed: dict[str, Listing] = {}
        for listing in named + defaults + direct:
            listed.setdefault(listing.id, listing)
        return list(listed.values())

    def _described(self, routes: Sequence[Route]) -> Model:
        """What is known of an alias: the model of its first route that has one."""
        for route in routes:
            for model in self._models(route.provider):
                if model.id == route.model:
                    return model
        first = routes[0]
        return Model(id=first.model, name=first.model, owner=first.provider)
