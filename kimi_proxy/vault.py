"""The accounts' credentials: from the configuration at first, from disk ever after.

A rotated refresh token exists only here, so every change is on disk before it is used
(`Store.durable`), and the one it replaced is kept until the new one has worked.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from kimi_proxy.clock import Clock
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import Credential
from kimi_proxy.storage import Document, Documents

_FIELDS = tuple(field.name for field in fields(Credential))


@dataclass(frozen=True, slots=True)
class Stored:
    """A credential with its history; `obtained` is epoch seconds."""

    credential: Credential
    previous: Credential | None
    obtained: float


class Vault:
    """The credentials of one provider's accounts.

    `seeds` are the configured ones. A seed that differs from the one remembered
    replaces whatever grew from the old: the user pasted a new token.
    """

    def __init__(
        self,
        *,
        provider: str,
        seeds: Mapping[str, Credential],
        documents: Documents,
        clock: Clock,
    ) -> None:
        self._provider = provider
        self._seeds = dict(seeds)
        self._marks = {name: _mark(seed) for name, seed in seeds.items()}
        self._documents = documents
        self._clock = clock

    def load(self, account: str) -> Stored:
        """The credential to use now; raises KeyError for an unknown account."""
        seed, mark = self._seeds[account], self._marks[account]
        document = self._documents.get(self._key(account))
        if document is None or document["seed"] != mark:
            return Stored(seed, None, self._clock.now())
        previous = document.get("previous")
        return Stored(
            credential=_from(document["credential"]),
            previous=None if previous is None else _from(previous),
            obtained=document["obtained"],
        )

    def save(self, account: str, credential: Credential) -> None:
        """Put a renewed credential on disk; returns when it is there."""
        mark, now = self._marks[account], self._clock.now()

        def change(found: Document | None) -> tuple[Document, None]:
            current = found if found is not None and found["seed"] == mark else None
            old = current["credential"] if current else asdict(self._seeds[account])
            return {
                "seed": mark,
                "credential": asdict(credential),
                "previous": old,
                "obtained": now,
            }, None

        self._documents.update(self._key(account), change)

    def is_reseeded(self, account: str) -> bool:
        """Whether the configured token is another one than the stored was grown from.

        Remembers the configured one, so that the answer is true once.
        """
        mark, seed = self._marks[account], self._seeds[account]
        fresh = {
            "seed": mark,
            "credential": asdict(seed),
            "previous": None,
            "obtained": self._clock.now(),
        }

        def change(found: Document | None) -> tuple[Document, bool]:
            if found is None:
                return fresh, False
            if found["seed"] == mark:
                return found, False
            return fresh, True

        return self._documents.update(self._key(account), change)

    def owner(self, credential: Credential) -> str | None:
        """The account that this credential belongs to, by any token it has had."""
        secrets = {credential.access, credential.refresh} - {None}
        for account in self._seeds:
            stored = self.load(account)
            known = (self._seeds[account], stored.credential, stored.previous)
            held = {t for c in known if c for t in (c.access, c.refresh)}
            if secrets & held:
                return account
        return None

    def _key(self, account: str) -> str:
        return f"token/{self._provider}/{account}"


def _mark(seed: Credential) -> str:
    return fingerprint(f"{seed.access}\n{seed.refresh}\n{seed.region}")


def _from(document: Document) -> Credential:
    return replace(Credential(), **{name: document.get(name) for name in _FIELDS})
