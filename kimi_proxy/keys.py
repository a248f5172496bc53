"""The gateway's own keys: hashed, compared in constant time, each with its rights."""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from kimi_proxy.errors import Forbidden, InvalidKey


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What a key opens; `digest` is its SHA-256, the key itself is not kept.

    `accounts` names the only accounts it may use, none for all of them; `may_use` may
    refuse models that the patterns of `models` let pass.
    """

    name: str
    digest: bytes = field(repr=False)
    models: tuple[str, ...] = ("*",)
    rate: str | None = None
    concurrency: int | None = None
    accounts: tuple[str, ...] = ()
    may_use: Callable[[str], bool] | None = None

    @property
    def owner(self) -> str:
        """Whose conversations and files are reached with it."""
        return "/".join((self.name, *self.accounts))

    def allows(self, model: str) -> bool:
        """Whether the key may use this model name."""
        if self.may_use is not None and not self.may_use(model):
            return False
        return "*" in self.models or any(fnmatchcase(model, p) for p in self.models)

    def require(self, model: str) -> None:
        """Raise `Forbidden` unless the key may use this model name."""
        if not self.allows(model):
            raise Forbidden(
                f"the key {self.name!r} may not use the model {model!r}", param="model"
            )

    def require_all_of(self, provider: str) -> None:
        """Raise `Forbidden` unless the key may use every model of this provider."""
        # No pattern but one that ends in a wildcard meets such a name.
        if not self.allows(f"{provider}/\0every\0"):
            raise Forbidden(
                f"the key {self.name!r} may not use all models of {provider!r}, as it "
                f"has to for a call that names none: {provider}/*"
            )


def digest(key: str) -> bytes:
    """SHA-256: keys are long and random, so a slow hash would add nothing."""
    return hashlib.sha256(key.encode()).digest()


class KeyRing:
    """All client keys. Without any, whoever may connect is `open`."""

    def __init__(self, keys: Sequence[ClientKey]) -> None:
        self._keys = tuple(keys)

    @property
    def is_open(self) -> bool:
        return not self._keys

    def find(self, presented: str | None) -> ClientKey:
        """The key that was presented; raises `InvalidKey` for none or a wrong one."""
        if self.is_open:
            return ClientKey(name="open", digest=b"")
        if not presented:
            raise InvalidKey(
                "no API key: send the gateway's own key as "
                "`Authorization: Bearer <key>` or `x-api-key: <key>`"
            )
        found = self._match(presented)
        if found is None:
            raise InvalidKey("the API key is not one of this gateway's keys")
        return found

    def knows(self, presented: str) -> bool:
        """Whether this is one of the keys."""
        return self._match(presented) is not None

    def _match(self, presented: str) -> ClientKey | None:
        claim = digest(presented)
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, claim):
                found = key
        return found
