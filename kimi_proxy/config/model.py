"""The section `models`: names of one's own, where they lead and what they imply."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from kimi_proxy.config.provider import CitationMode, EffortLevel, ReasoningMode
from kimi_proxy.config.quantity import Real, Whole
from kimi_proxy.config.section import SOME, Section
from kimi_proxy.config.text import Target, target

_Penalty = Annotated[Real, Field(ge=-2, le=2)]


class RouteSettings(Section):
    """One step of a chain; those with a `weight` share being the first by chance."""

    to: Target
    weight: Annotated[Whole, Field(ge=1, le=1_000_000)] | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"to": target(value)}
        if not isinstance(value, dict):
            raise PydanticCustomError(
                "config", "must be provider/model, or {to: provider/model, weight: 1}"
            )
        return value


class ParamSettings(Section):
    """Sampling parameters under their OpenAI names, where a request has none."""

    temperature: Annotated[Real, Field(ge=0, le=2)] | None = None
    top_p: Annotated[Real, Field(ge=0, le=1)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1)] | None = None
    presence_penalty: _Penalty | None = None
    frequency_penalty: _Penalty | None = None
    seed: Whole | None = None


class ModelSettings(Section):
    """A model name of one's own: a chain of `provider/model`, tried in order.

    A `*` in the name makes it a wildcard. The rest are defaults for requests that say
    nothing themselves.
    """

    route: Annotated[tuple[RouteSettings, ...], SOME]
    search: bool | None = None
    citations: CitationMode | None = None
    effort: EffortLevel | None = None
    reasoning: ReasoningMode | None = None
    params: ParamSettings = ParamSettings()

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        route = value.get("route") if isinstance(value, dict) else value
        if isinstance(route, str) and route:
            route = [route]
        if isinstance(route, list):
            return {**(value if isinstance(value, dict) else {}), "route": route}
        return value
