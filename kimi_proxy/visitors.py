"""Clients that bring their own upstream tokens as their bearer (`pass_through`).

Each token becomes an account for as long as it is used: leased, renewed and put aside
like a configured one, but for the request of whoever sent it only.
"""

import threading
from collections.abc import MutableMapping, Sequence

from kimi_proxy.errors import InvalidKey
from kimi_proxy.keys import ClientKey
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import ChecksTokens, Credential
from kimi_proxy.refresh import Account

_MOST = 1000  # tokens remembered at a time; the one that came first is let go


class Visitors:
    """Turns bearers into keys that open the sender's own accounts.

    `accounts` are those of the provider, by name; `sample` holds what all of them
    share. `models` are the names that lead to this provider only.
    """

    def __init__(
        self,
        *,
        reader: ChecksTokens,
        sample: Account,
        accounts: MutableMapping[str, Account],
        models: Sequence[str],
    ) -> None:
        self._reader = reader
        self._sample = sample
        self._accounts = accounts
        self._models = tuple(models)
        self._guests: dict[str, None] = {}
        self._lock = threading.Lock()

    def admit(self, bearer: str) -> ClientKey:
        """The key for `T1,T2,…`; raises `InvalidKey` unless each is a token."""
        texts = [text.strip() for text in bearer.split(",") if text.strip()]
        try:
            credentials = [self._reader.read_token(text) for text in texts]
        except ValueError as exc:
            raise InvalidKey(
                f"this is neither a key of the gateway nor an upstream token: {exc}"
            ) from None
        names = tuple(dict.fromkeys(self._name(c) for c in credentials))
        if not names:
            raise InvalidKey("no upstream token was sent")
        return ClientKey("pass-through", b"", self._models, accounts=names)

    def _name(self, credential: Credential) -> str:
        mark = fingerprint(f"{credential.access} {credential.refresh}")
        name = f"guest-{mark}"
        if name in self._guests:
            return name
        known = self._sample.vault.owner(credential)
        if known is not None:
            return known
        with self._lock:
            self._sample.vault.adopt(name, credential)
            self._accounts[name] = Account(
                self._sample.provider,
                name,
                self._sample.vault,
                self._sample.pool,
                self._sample.renewer,
            )
            self._guests[name] = None
            while len(self._guests) > _MOST:
                oldest = next(iter(self._guests))
                del self._guests[oldest], self._accounts[oldest]
                self._sample.vault.release(oldest)
        return name
