"""Clients that bring their own upstream tokens as their bearer (`pass_through`).

Each token becomes an account for as long as it is used: leased, renewed and put aside
like a configured one, but for the request of whoever sent it only.
"""

import threading
from collections.abc import Callable, MutableMapping, Sequence

from kimi_proxy.errors import InvalidKey
from kimi_proxy.keys import ClientKey
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import ChecksTokens, Credential
from kimi_proxy.refresh import Account


class Visitors:
    """Turns bearers into keys that open the sender's own accounts.

    `accounts` are those of the provider, by name; `sample` holds what all of them
    share. `may_use` tells which model names lead to this provider only. At most `most`
    tokens are known at a time; the one unused for longest is let go.
    """

    def __init__(
        self,
        *,
        reader: ChecksTokens,
        sample: Account,
        accounts: MutableMapping[str, Account],
        may_use: Callable[[str], bool],
        most: int = 1000,
    ) -> None:
        self._reader = reader
        self._sample = sample
        self._accounts = accounts
        self._may_use = may_use
        self._most = most
        self._guests: dict[str, None] = {}
        self._lock = threading.Lock()

    def recognise(self, bearer: str) -> ClientKey:
        """The key for `T1,T2,…`; raises `InvalidKey` unless each is a token.

        Nothing is looked up nor remembered, so this may come before any limit; the
        key opens nothing until it was admitted.
        """
        return self._key([_name(c) for c in self._read(bearer)])

    def admit(self, bearer: str) -> ClientKey:
        """The key, with its accounts made known to the pool."""
        return self._key([self._account(c) for c in self._read(bearer)])

    def _read(self, bearer: str) -> list[Credential]:
        texts = [text.strip() for text in bearer.split(",") if text.strip()]
        if not texts:
            raise InvalidKey("no upstream token was sent")
        try:
            return [self._reader.read_token(text) for text in texts]
        except ValueError as exc:
            raise InvalidKey(
                f"this is neither a key of the gateway nor an upstream token: {exc}"
            ) from None

    def _key(self, names: Sequence[str]) -> ClientKey:
        accounts = tuple(dict.fromkeys(names))
        return ClientKey("pass-through", b"", accounts=accounts, may_use=self._may_use)

    def _account(self, credential: Credential) -> str:
        name = _name(credential)
        with self._lock:
            if name in self._guests:
                self._guests[name] = self._guests.pop(
                    name
                )  # the latest used comes last
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
            while len(self._guests) > self._most:
                oldest = next(iter(self._guests))
                del self._guests[oldest], self._accounts[oldest]
                self._sample.vault.release(oldest)
        return name


def _name(credential: Credential) -> str:
    return f"guest-{fingerprint(f'{credential.access} {credential.refresh}')}"
