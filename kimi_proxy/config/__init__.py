"""The configuration: the only place that reads the environment."""

from kimi_proxy.config.kilo import KiloSettings, KiloTokenSettings
from kimi_proxy.config.kimi_ai_chat import KimiAiChatSettings
from kimi_proxy.config.loader import child_environment, load
from kimi_proxy.config.model import ModelSettings
from kimi_proxy.config.openai import OpenAIQuirks, OpenAISettings
from kimi_proxy.config.problem import ConfigError, Problem
from kimi_proxy.config.process import metrics_directory
from kimi_proxy.config.provider import (
    ConversationSettings,
    EchoSettings,
    KimiHosts,
    KimiSettings,
    KimiTokenSettings,
    OpenAIPoolSettings,
    OpenAITokenSettings,
    PoolSettings,
    SearchSettings,
)
from kimi_proxy.config.provider_type import ProviderSettings
from kimi_proxy.config.qodo import QodoHosts, QodoSettings, QodoTokenSettings
from kimi_proxy.config.schema import (
    AdminSettings,
    KeySettings,
    LimitSettings,
    LogSettings,
    PassThroughSettings,
    ServerSettings,
    Settings,
    TimeoutSettings,
)

__all__ = [
    "AdminSettings",
    "ConfigError",
    "ConversationSettings",
    "EchoSettings",
    "KeySettings",
    "KiloSettings",
    "KiloTokenSettings",
    "KimiAiChatSettings",
    "KimiHosts",
    "KimiSettings",
    "KimiTokenSettings",
    "LimitSettings",
    "LogSettings",
    "ModelSettings",
    "OpenAIPoolSettings",
    "OpenAIQuirks",
    "OpenAISettings",
    "OpenAITokenSettings",
    "PassThroughSettings",
    "PoolSettings",
    "Problem",
    "ProviderSettings",
    "QodoHosts",
    "QodoSettings",
    "QodoTokenSettings",
    "SearchSettings",
    "ServerSettings",
    "Settings",
    "TimeoutSettings",
    "child_environment",
    "load",
    "metrics_directory",
]
