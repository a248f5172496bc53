"""The section of a kimi-ai.chat provider."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from kimi_proxy.config.quantity import Whole
from kimi_proxy.config.section import Section
from kimi_proxy.config.text import CaBundle, HostUrl, ProxyUrl


class KimiAiChatHosts(Section):
    """Origin of the site (kimi-ai.chat sheet §2)."""

    site: HostUrl = "https://kimi-ai.chat"


class KimiAiChatSettings(Section):
    """The site kimi-ai.chat, which needs no account; never used unless configured.

    `max_prompt` in characters; `overlong` says what becomes of a history above it.
    """

    notice: ClassVar[str] = (
        "prompts go to kimi-ai.chat, a site of an unknown operator, not of Moonshot:"
        " send it nothing private"
    )

    type: Literal["kimi-ai-chat"]
    concurrency: Annotated[Whole, Field(ge=1)] = 2
    max_prompt: Annotated[Whole, Field(ge=1)] = 1000
    overlong: Literal["refuse", "drop-oldest"] = "refuse"
    strict_params: bool = False
    proxy: ProxyUrl | None = None
    ca_bundle: CaBundle | None = None
    hosts: KimiAiChatHosts = KimiAiChatHosts()
