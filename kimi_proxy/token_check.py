"""Whether a token is alive, and if not, why; asks the upstream sparingly.

An answer stands for ten minutes (predecessors: more frequent checks were warned of),
over all workers. Tokens of the pool are answered from the pool's own state.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    GatewayError,
    InvalidRequest,
    TokenRejected,
    Unsupported,
)
from kimi_proxy.pool import Pool, Worker
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import ChecksTokens, Credential
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents
from kimi_proxy.vault import Vault

_FRESH_SECONDS = 600.0
_POLL_SECONDS = 0.05
_TIMEOUTS = Timeouts(connect=10, headers=15, first_content=20, idle=15, total=20)


@dataclass(frozen=True, slots=True)
class Checked:
    """A provider whose tokens can be checked, with its accounts."""

    name: str
    provider: ChecksTokens
    pool: Pool
    vault: Vault


class TokenChecker:
    """Reports on pasted tokens."""

    def __init__(
        self,
        checked: Sequence[Checked],
        cache: Documents,
        worker: Worker,
        clock: Clock,
    ) -> None:
        self._checked = tuple(checked)
        self._cache = cache
        self._worker = worker
        self._clock = clock

    def report(self, text: str) -> Mapping[str, Any]:
        """`live`, `state`, `kind`, `expires_at`, `renewable`, `account`, `reason`.

        Raises `InvalidRequest` when the text is no token that any provider knows.
        """
        checked, credential = self._read(text)
        account = checked.vault.owner(credential)
        if account is not None:
            return self._of_account(checked, account, credential)
        return {**_described(credential), **self._ask_rarely(checked, credential)}

    def _read(self, text: str) -> tuple[Checked, Credential]:
        problem = ""
        for checked in self._checked:
            try:
                return checked, checked.provider.read_token(text)
            except ValueError as exc:
                problem = str(exc)
        if not self._checked:
            raise Unsupported("no configured provider has tokens to check")
        raise InvalidRequest(problem, param="token")

    def _of_account(
        self, checked: Checked, account: str, credential: Credential
    ) -> dict[str, Any]:
        state = checked.pool.state(account)
        current = checked.vault.load(account).credential
        return {
            **_described(credential),
            "live": state.state not in {"dead", "disabled"},
            "state": state.state,
            "account": account,
            "expires_at": current.access_expires,
            "renewable": current.refresh is not None,
            "reason": state.reason,
            "until": state.until,
        }

    def _ask_rarely(self, checked: Checked, credential: Credential) -> dict[str, Any]:
        """The cached verdict, or a new one that nobody else is fetching just now."""
        key = f"check/{fingerprint(f'{credential.access} {credential.refresh}')}"
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        pause = threading.Event()
        while not self._claim(key):
            scope.check()
            found = self._cache.get(key)
            if found is not None and "verdict" in found:
                return dict(found["verdict"])
            pause.wait(_POLL_SECONDS)
        verdict = self._ask(checked, credential, scope)
        self._cache.put(key, {"verdict": verdict}, ttl=_FRESH_SECONDS)
        return verdict

    def _claim(self, key: str) -> bool:
        """Whether this caller is the one to ask; the claim outlives a failed call."""
        worker = self._worker.id

        def change(found: Document | None) -> tuple[Document | None, bool]:
            if found is not None:
                return found, False
            return {"asking": worker}, True

        return self._cache.update(key, change, ttl=_FRESH_SECONDS)

    def _ask(
        self, checked: Checked, credential: Credential, scope: Scope
    ) -> dict[str, Any]:
        now = self._clock.now()
        expired = credential.refresh is None and (
            credential.access_expires is not None and credential.access_expires <= now
        )
        if expired:
            return _verdict("dead", "the access token has expired", now)
        try:
            checked.provider.check_token(credential, scope)
        except TokenRejected as exc:
            return _verdict("dead", exc.message, now)
        except GatewayError as exc:
            return _verdict("unknown", exc.message, now)
        return _verdict("ok", None, now)


def _verdict(state: str, reason: str | None, now: float) -> dict[str, Any]:
    """`unknown` means the upstream could not be asked: not live, and not dead."""
    return {
        "live": state == "ok",
        "state": state,
        "reason": reason,
        "checked_at": now,
    }


def _described(credential: Credential) -> dict[str, Any]:
    kinds = {
        (True, True): "access+refresh",
        (True, False): "access",
        (False, True): "refresh",
    }
    held = (credential.access is not None, credential.refresh is not None)
    return {
        "live": False,
        "state": "unknown",
        "kind": kinds[held],
        "region": credential.region,
        "expires_at": credential.access_expires,
        "refresh_expires_at": credential.refresh_expires,
        "renewable": credential.refresh is not None,
        "account": None,
        "reason": None,
    }
