"""The accounts' credentials: from the configuration at first, from disk ever after.

A rotated refresh token exists only here, so every change is on disk before it is used
(`Store.durable`), and the one it replaced is kept until the new one has worked.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from kimi_proxy.clock import Clock
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import Credential
from kimi_proxy.storage import Document, Documents

_PAST = 100  # a day and a night of access tokens that live a quarter of an hour
_GUEST_SECONDS = 90 * 86_400.0  # what a refresh token lives (connect sheet §2)
_LEEWAY = 5.0  # seconds before its end at which a token counts as run out
_FIELDS = tuple(field.name for field in fields(Credential))


@dataclass(frozen=True, slots=True)
class Stored:
    """A credential with its history.

    `obtained` is epoch seconds, None when the configured token is not on disk yet;
    `seed` names the configured token it grew from.
    """

    credential: Credential
    previous: Credential | None
    obtained: float | None
    seed: str

    @property
    def life(self) -> float | None:
        """For how long the access token was good when it was bought, in seconds.

        None for the configured one, of which nobody knows how old it was.
        """
        expires = self.credential.access_expires
        if expires is None or self.obtained is None or self.previous is None:
            return None
        return expires - self.obtained

    @property
    def expires(self) -> float | None:
        """When the access token runs out; None if that is not known.

        One that was over when it was bought says that our clock is wrong: it is good
        until the upstream refuses it.
        """
        life = self.life
        is_over = life is not None and life <= _LEEWAY
        return None if is_over else self.credential.access_expires

    def is_valid(self, now: float) -> bool:
        """Whether there is an access token, and it will still be good in a moment."""
        expires = self.expires
        fresh = expires is None or expires > now + _LEEWAY
        return self.credential.access is not None and fresh


class Vault:
    """The credentials of one provider's accounts.

    `seeds` are the configured ones. A seed that differs from the one remembered when a
    process starts replaces whatever grew from the old: the user pasted a new token.
    From then on the disk decides, so that a process which still drains with the old
    configuration uses the new token and does not put its own back.
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
        self._adopted: set[str] = set()
        self._guests: set[str] = set()

    def adopt(self, account: str, credential: Credential) -> None:
        """Know one more account; what is on disk of it lasts as long as its token."""
        self._guests.add(account)
        self._seeds[account] = credential
        self._marks[account] = _mark(credential)

    def release(self, account: str) -> None:
        """Know an adopted account no longer.

        What it bought stays on disk: its owner still comes with the token that was
        rotated away for it.
        """
        del self._seeds[account], self._marks[account]
        self._guests.discard(account)

    def load(self, account: str) -> Stored:
        """The credential to use now; raises KeyError for an unknown account."""
        seed, mark = self._seeds[account], self._marks[account]
        document = self._documents.get(self._key(account))
        if document is None or self._is_outgrown(account, document):
            return Stored(seed, None, None, mark)
        previous = document.get("previous")
        return Stored(
            credential=_from(document["credential"]),
            previous=None if previous is None else _from(previous),
            obtained=document["obtained"],
            seed=document["seed"],
        )

    def save(
        self, account: str, credential: Credential, *, seed: str | None = None
    ) -> None:
        """Put a renewed credential on disk; returns when it is there.

        `seed` is `Stored.seed` of what it was bought with, None for the configured
        one. It is let go when the user has given another token meanwhile.
        """
        grown_from = seed or self._marks[account]
        now = self._clock.now()

        def change(found: Document | None) -> tuple[Document, None]:
            if found is None or self._is_outgrown(account, found):
                found = self._fresh(account)
            if found["seed"] != grown_from:
                return found, None
            old: Document = found["credential"]
            return {
                "seed": grown_from,
                "credential": asdict(credential),
                "previous": old,
                "obtained": now,
                "past": _remember(found.get("past", []), old),
            }, None

        ttl = _GUEST_SECONDS if account in self._guests else None
        self._documents.update(self._key(account), change, ttl=ttl)

    def _is_outgrown(self, account: str, document: Document) -> bool:
        """Whether a document belongs to a token that was configured before."""
        is_other = document["seed"] != self._marks[account]
        return is_other and account not in self._adopted

    def _fresh(self, account: str) -> Document:
        return {
            "seed": self._marks[account],
            "credential": asdict(self._seeds[account]),
            "previous": None,
            "obtained": self._clock.now(),
        }

    def is_reseeded(self, account: str) -> bool:
        """Whether the configured token is another one than the stored was grown from.

        Remembers the configured one, so that the answer is true once.
        """
        mark, fresh = self._marks[account], self._fresh(account)

        def change(found: Document | None) -> tuple[Document, bool]:
            if found is None:
                return fresh, False
            if found["seed"] == mark:
                return found, False
            return fresh, True

        answer = self._documents.update(self._key(account), change)
        self._adopted.add(account)
        return answer

    def owner(self, credential: Credential) -> str | None:
        """The account that this credential belongs to, by any token it lately had.

        Asking the upstream about a refresh token that was rotated away could cost the
        account its whole log-in, so even long replaced ones are known again.
        """
        secrets = {t for t in (credential.access, credential.refresh) if t}
        marks = {fingerprint(secret) for secret in secrets}
        for account, seed in list(self._seeds.items()):
            document = self._documents.get(self._key(account)) or {}
            versions = (asdict(seed), document.get("credential"))
            held = {t for v in versions for t in _tokens(v or {})}
            if secrets & held or marks & {*document.get("past", ())}:
                return account
        return None

    def _key(self, account: str) -> str:
        return f"token/{self._provider}/{account}"


def _mark(seed: Credential) -> str:
    return fingerprint(f"{seed.access}\n{seed.refresh}\n{seed.region}")


def _tokens(credential: Document) -> list[str]:
    return [t for t in (credential.get("access"), credential.get("refresh")) if t]


def _remember(past: list[str], credential: Document) -> list[str]:
    """Fingerprints of the tokens that were replaced, the latest ones last."""
    known = [*past, *(fingerprint(token) for token in _tokens(credential))]
    return list(dict.fromkeys(reversed(known)))[:_PAST][::-1]


def _from(document: Document) -> Credential:
    return Credential(**{name: document.get(name) for name in _FIELDS})
