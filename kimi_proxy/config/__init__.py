"""The configuration: the only place that reads the environment."""

from kimi_proxy.config.kilo import KiloSettings, KiloTokenSettings
from kimi_proxy.config.kimi_ai_chat import KimiAiChatSettings
from kimi_proxy.config.loader import child_environment, load
from kimi_proxy.config.model import ModelSettings
from kimi_proxy.config.openai import OpenAISettings
from kimi_proxy.config.problem import ConfigError, Problem
from kimi_proxy.config.process import metrics_directory
from kimi_proxy.config.provider import ConversationSettings, EchoSettings, KimiSettings
from kimi_proxy.config.provider_type import ProviderSettings
from kimi_proxy.config.qodo import QodoSettings, QodoTokenSettings
from kimi_proxy.config.schema import KeySettings, Settings

__all__ = [
    "ConfigError",
    "ConversationSettings",
    "EchoSettings",
    "KeySettings",
    "KiloSettings",
    "KiloTokenSettings",
    "KimiAiChatSettings",
    "KimiSettings",
    "ModelSettings",
    "OpenAISettings",
    "Problem",
    "ProviderSettings",
    "QodoSettings",
    "QodoTokenSettings",
    "Settings",
    "child_environment",
    "load",
    "metrics_directory",
]
