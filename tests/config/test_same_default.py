"""A default that is written down twice, for the file and for the code, is one."""

from __future__ import annotations

from dataclasses import asdict, astuple

from kimi_proxy.account_state import Policy
from kimi_proxy.config import ConversationSettings, PoolSettings, TimeoutSettings
from kimi_proxy.config.schema import FileSettings
from kimi_proxy.conversations import ChatPolicy
from kimi_proxy.files import FileLimits
from kimi_proxy.scope import Timeouts


def test_of_a_pool() -> None:
    assert asdict(Policy()) == PoolSettings().model_dump()


def test_of_the_time_outs() -> None:
    assert asdict(Timeouts()) == TimeoutSettings().model_dump()


def test_of_conversations() -> None:
    settings = ConversationSettings()
    assert ChatPolicy() == ChatPolicy(settings.mode, settings.ttl)


def test_of_files() -> None:
    files = FileSettings()
    assert astuple(FileLimits()) == (files.max_size, files.max_total, files.max_count)
