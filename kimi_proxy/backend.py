"""An upstream as the flow of a request sees it."""

from collections.abc import MutableMapping
from dataclasses import dataclass

from kimi_proxy.chat import NO_DEFAULTS, Defaults
from kimi_proxy.conversations import ChatPolicy
from kimi_proxy.pool import Pool
from kimi_proxy.providers.base import Provider
from kimi_proxy.refresh import Account
from kimi_proxy.vault import Vault


@dataclass(frozen=True, slots=True)
class Backend:
    """A provider with its pool and its accounts by name.

    `strict` refuses requests with parameters that would have to be ignored. Without
    `chats` the upstream has no chats that could be gone on with.
    """

    provider: Provider
    pool: Pool
    vault: Vault
    accounts: MutableMapping[str, Account]
    defaults: Defaults = NO_DEFAULTS
    strict: bool = False
    chats: ChatPolicy | None = None
