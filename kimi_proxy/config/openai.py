"""The section of an OpenAI-compatible provider."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from kimi_proxy.config.preset import PRESETS, Preset, PresetName
from kimi_proxy.config.provider import (
    OpenAIPoolSettings,
    OpenAITokenSettings,
    WithTokens,
)
from kimi_proxy.config.quantity import Whole
from kimi_proxy.config.section import Section
from kimi_proxy.config.text import BaseUrl, CaBundle, ModelName, ProxyUrl, Secret

_OURS = frozenset(
    "authorization host content-type content-length transfer-encoding connection cookie"
    " accept accept-encoding user-agent te upgrade expect".split()
)
_NOTHING = Preset("", "")
EffortWord = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]


def _parameter(value: str) -> str:
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", value):
        raise PydanticCustomError("config", "must be the name of a parameter")
    return value


def _header_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", value):
        raise PydanticCustomError("config", "must be the name of a header")
    if value.lower() in _OURS:
        raise PydanticCustomError("config", "is a header that the gateway sets itself")
    return value


def _header_value(value: Secret) -> Secret:
    if not re.fullmatch(r"[\x20-\x7e]{1,4096}", value.get_secret_value()):
        raise PydanticCustomError("config", "must be plain ASCII on one line")
    return value


HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[Secret, AfterValidator(_header_value)]
Parameter = Annotated[str, AfterValidator(_parameter)]


class OpenAIQuirks(Section):
    """Where an upstream is not as OpenAI is; None: as the preset says, else as it is.

    What each means is told at `Quirks` of the providers.
    """

    stream_options: bool | None = None
    limit: Literal["max_tokens", "max_completion_tokens"] | None = None
    developer: bool | None = None
    thinking: (
        Literal["reasoning_effort", "thinking", "enable_thinking", "reasoning"] | None
    ) = None
    efforts: tuple[EffortWord, ...] | None = None
    unsupported: tuple[Parameter, ...] | None = None
    lists_models: bool | None = None
    finish_reason: bool | None = None
    returns_reasoning: bool | None = None
    plain_schemas: bool | None = None
    plain_names: bool | None = None
    empty_content: bool | None = None
    longest_call_id: Annotated[Whole, Field(ge=8)] | None = None
    files: Literal["inline", "extract"] | None = None
    search: bool | None = None
    account: Literal["none", "moonshot", "kimi-code"] | None = None


class OpenAISettings(WithTokens):
    """Keys of an OpenAI-compatible upstream; `base_url` is set for presets too."""

    type: Literal["openai"]
    base_url: BaseUrl = ""
    preset: PresetName | None = None
    tokens: tuple[OpenAITokenSettings, ...] = ()
    models: tuple[ModelName, ...] = ()
    headers: Annotated[
        Mapping[HeaderName, HeaderValue], AfterValidator(MappingProxyType)
    ] = Field(default_factory=lambda: MappingProxyType({}))
    quirks: OpenAIQuirks = OpenAIQuirks()
    pool: OpenAIPoolSettings = OpenAIPoolSettings()
    strict_params: bool = False
    proxy: ProxyUrl | None = None
    ca_bundle: CaBundle | None = None

    @model_validator(mode="before")
    @classmethod
    def _addressed(cls, value: Any) -> Any:
        if not isinstance(value, dict) or value.get("base_url"):
            return value
        preset = value.get("preset")
        if isinstance(preset, str) and preset in PRESETS:
            return {**value, "base_url": PRESETS[preset].base_url}
        return value

    @model_validator(mode="after")
    def _addressable(self) -> Self:
        if not self.base_url:
            raise PydanticCustomError("config", "needs base_url or preset")
        return self

    @property
    def known(self) -> Preset:
        """What is known of the upstream; nothing without a preset."""
        return PRESETS[self.preset] if self.preset is not None else _NOTHING

    @property
    def notice(self) -> str | None:
        """What has to be told whenever this provider is used."""
        return self.known.notice

    @property
    def differences(self) -> dict[str, Any]:
        """The quirks that hold: the preset's, and over them the configured ones."""
        return {**self.known.quirks, **self.quirks.model_dump(exclude_none=True)}


def needs_token(provider: Mapping[str, Any]) -> bool:
    """Whether a provider's section has to have a token: not a local server."""
    preset = provider.get("preset")
    known = PRESETS.get(preset) if isinstance(preset, str) else None
    return known is None or not known.keyless
