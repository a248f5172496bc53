"""Which kinds of provider there are, each with its section."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from kimi_proxy.config.kilo import KiloSettings
from kimi_proxy.config.kimi_ai_chat import KimiAiChatSettings
from kimi_proxy.config.openai import OpenAISettings
from kimi_proxy.config.provider import EchoSettings, KimiSettings
from kimi_proxy.config.qodo import QodoSettings

ProviderSettings = Annotated[
    KimiSettings
    | OpenAISettings
    | KiloSettings
    | QodoSettings
    | KimiAiChatSettings
    | EchoSettings,
    Field(discriminator="type"),
]
PROVIDER_TYPES = ("echo", "kilo", "kimi", "kimi-ai-chat", "openai", "qodo")
