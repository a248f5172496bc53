"""What has to be written down in two places is the same in both."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import get_args

import pytest
from pydantic import BaseModel, SecretStr

from kimi_proxy import cli
from kimi_proxy.account_state import Policy
from kimi_proxy.config import (
    ConversationSettings,
    KiloTokenSettings,
    ProviderSettings,
)
from kimi_proxy.config.consistency import WITH_TOKENS
from kimi_proxy.config.provider import PoolSettings, WithTokens
from kimi_proxy.config.provider_type import PROVIDER_TYPES
from kimi_proxy.config.schema import FileSettings, TimeoutSettings
from kimi_proxy.conversations import ChatPolicy
from kimi_proxy.files import FileLimits
from kimi_proxy.providers import registry
from kimi_proxy.providers.kilo import base_of
from kimi_proxy.scope import Timeouts


def test_the_defaults_of_a_pool() -> None:
    assert asdict(Policy()) == PoolSettings().model_dump()


def test_the_defaults_of_the_time_outs() -> None:
    assert asdict(Timeouts()) == TimeoutSettings().model_dump()


def test_the_defaults_of_conversations() -> None:
    settings = ConversationSettings()
    assert ChatPolicy() == ChatPolicy(settings.mode, settings.ttl)


def test_the_defaults_of_files() -> None:
    files = FileSettings()
    assert astuple(FileLimits()) == (files.max_size, files.max_total, files.max_count)


def test_the_kinds_of_provider() -> None:
    union, _ = get_args(ProviderSettings)
    sections = {_kind(section): section for section in get_args(union)}
    assert set(sections) == set(PROVIDER_TYPES)
    assert set(sections) == set(registry._BUILDERS) == set(cli._FIRST_MODELS)
    with_tokens = {k for k, s in sections.items() if issubclass(s, WithTokens)}
    assert with_tokens == set(WITH_TOKENS)


def _kind(section: type[BaseModel]) -> str:
    (kind,) = get_args(section.model_fields["type"].annotation)
    return str(kind)


@pytest.mark.parametrize("address", ["https://a.example", "https://a.example/gate/v2"])
def test_where_a_kilo_token_leads(address: str) -> None:
    settings = KiloTokenSettings(name="a", token=SecretStr(f"{address}:eyJmade-up"))
    assert settings.parts() == (base_of(address), "eyJmade-up")
