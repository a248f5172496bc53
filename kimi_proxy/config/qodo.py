"""The section of a Qodo provider."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, SecretStr
from pydantic_core import PydanticCustomError

from kimi_proxy.config.provider import PoolSettings, WithTokens
from kimi_proxy.config.section import Section
from kimi_proxy.config.text import CaBundle, HeaderSecret, HostUrl, Name, ProxyUrl

# An API key of the command line, or the seed's WEB_API_KEY=REFRESH_TOKEN (sheet §1).
_FORMS = re.compile(r"(?i:bearer\s+)?sk-[\w.~+/=-]+|(?!sk-)[\w-]+=[^\s,;]+")


def _qodo_token(value: SecretStr) -> SecretStr:
    if not _FORMS.fullmatch(value.get_secret_value()):
        raise PydanticCustomError(
            "config",
            "must be an API key (sk-...), or a Firebase pair written"
            " WEB_API_KEY=REFRESH_TOKEN",
        )
    return value


class QodoTokenSettings(Section):
    """A Qodo account: an API key, or a Firebase pair `WEB_API_KEY=REFRESH_TOKEN`."""

    name: Name
    token: Annotated[HeaderSecret, AfterValidator(_qodo_token)]


class QodoHosts(Section):
    """Origins of the Qodo services (qodo sheet, table and §1)."""

    cli: HostUrl = "https://api.cli.qodo.ai"
    ide: HostUrl = "https://api.gen.qodo.ai"
    firebase: HostUrl = "https://securetoken.googleapis.com"


class QodoSettings(WithTokens):
    """Qodo accounts, each by the wire that its token is for."""

    type: Literal["qodo"]
    tokens: tuple[QodoTokenSettings, ...] = ()
    pool: PoolSettings = PoolSettings()
    strict_params: bool = False
    proxy: ProxyUrl | None = None
    ca_bundle: CaBundle | None = None
    hosts: QodoHosts = QodoHosts()
