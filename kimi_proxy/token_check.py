"""Whether a token is alive, and if not, why; asks the upstream sparingly.

An answer stands for ten minutes (predecessors: more frequent checks were warned of),
over all workers, and so does "the upstream could not be asked": the state `unknown`,
which is neither live nor dead. Tokens of the pool are answered from the pool's own
state.
"""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kimi_proxy.clock import Clock
from kimi_proxy.errors import (
    AccountExhausted,
    AccountSuspended,
    GatewayError,
    InvalidRequest,
    TokenRejected,
    Unsupported,
)
from kimi_proxy.pool import Pool
from kimi_proxy.pool_state import fingerprint
from kimi_proxy.providers.base import ChecksTokens, Credential, TellsBalance
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.storage import Document, Documents
from kimi_proxy.vault import Vault
from kimi_proxy.worker import Worker

_FRESH_SECONDS = 600.0
_POLL_SECONDS = 0.05
_RUN_OUT = "the access token has expired and there is no refresh token to renew it"
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

    def report(self, text: str, provider: str | None = None) -> Mapping[str, Any]:
        """`live`, `state`, `kind`, `expires_at`, `renewable`, `account`, `reason`.

        `provider` is the name of the one whose token it is. Raises `InvalidRequest`
        when the text is no token that any provider knows, or may be that of several:
        it is shown to no service that it may not belong to.
        """
        readings = self._read(text, provider)
        for checked, credential in readings:
            account = checked.vault.owner(credential)
            if account is not None:
                return self._of_account(checked, account, credential)
        if len({_service(checked.provider) for checked, _ in readings}) > 1:
            names = ", ".join(checked.name for checked, _ in readings)
            raise InvalidRequest(
                f"this may be a token of several providers: name one of {names}",
                param="provider",
            )
        checked, credential = readings[0]
        return {**_described(credential), **self._ask_rarely(checked, credential)}

    def revive_topped_up(self) -> None:
        """Put accounts back to work that have something to spend again, as far as their
        upstream tells; the others find out by a request that fails."""
        for checked in self._checked:
            for state in checked.pool.states():
                if state.state == "exhausted" and self._may_spend(checked, state.name):
                    checked.pool.revive(state.name)

    def _may_spend(self, checked: Checked, account: str) -> bool:
        if not isinstance(checked.provider, TellsBalance):
            return False
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        credential = checked.vault.load(account).credential
        try:
            return checked.provider.may_spend(credential, scope) is True
        except GatewayError:
            return False  # nothing is known, so nothing changes

    def _read(
        self, text: str, provider: str | None
    ) -> list[tuple[Checked, Credential]]:
        """What the text means to each provider that understands it; at least one."""
        if not self._checked:
            raise Unsupported("no configured provider has tokens to check")
        asked = [c for c in self._checked if provider in (None, c.name)]
        if not asked:
            raise InvalidRequest(
                "is no provider whose tokens can be checked", param="provider"
            )
        readings, problems = [], dict[str, str]()  # why not -> for which, the first
        for checked in asked:
            try:
                readings.append((checked, checked.provider.read_token(text)))
            except ValueError as exc:
                problems.setdefault(str(exc), checked.name)
        if not readings:
            several = len(problems) > 1
            told = (
                f"{name}: {why}" if several else why for why, name in problems.items()
            )
            raise InvalidRequest("; ".join(told), param="token")
        return readings

    def _of_account(
        self, checked: Checked, account: str, credential: Credential
    ) -> dict[str, Any]:
        state = checked.pool.state(account)
        current = checked.vault.load(account).credential
        told = {"state": state.state, "reason": state.reason}
        if state.state == "ok" and _has_run_out(current, self._clock.now()):
            told = {"state": "dead", "reason": _RUN_OUT}
        return {
            **_described(credential),
            **told,
            "live": told["state"] not in {"dead", "disabled"},
            "account": account,
            "expires_at": current.access_expires,
            "renewable": current.refresh is not None,
            "until": state.until,
        }

    def _ask_rarely(self, checked: Checked, credential: Credential) -> dict[str, Any]:
        """The cached verdict, or a new one that nobody else is fetching just now."""
        now = self._clock.now()
        if _has_run_out(credential, now):
            return _verdict("dead", _RUN_OUT, now)
        if _is_past(credential.access_expires, now):
            credential = replace(credential, access=None)  # the other one counts
        key = f"check/{fingerprint(credential.access or credential.refresh or '')}"
        if not self._claim(key):
            return self._others_verdict(key)
        verdict = _verdict("unknown", "the check failed by a defect", now)
        try:
            verdict = self._ask(checked, credential)
        finally:
            self._cache.put(key, {"verdict": verdict}, ttl=_FRESH_SECONDS)
        return verdict

    def _claim(self, key: str) -> bool:
        """Whether this caller is the one to ask; the claim outlives a failed call."""
        claim = {"asking": self._worker.id, "since": self._clock.now()}

        def change(found: Document | None) -> tuple[Document | None, bool]:
            return (claim, True) if found is None else (found, False)

        return self._cache.update(key, change, ttl=_FRESH_SECONDS)

    def _others_verdict(self, key: str) -> dict[str, Any]:
        """Wait for whoever is asking; a worker that died over it has asked all the same
        for all that anybody knows."""
        ends = self._clock.monotonic() + _TIMEOUTS.total
        pause = threading.Event()
        while True:
            found = self._cache.get(key)
            if found is None:
                break
            if "verdict" in found:
                return dict(found["verdict"])
            is_over = self._clock.monotonic() >= ends
            if is_over or not self._worker.alive(found["asking"], 0):
                break
            pause.wait(_POLL_SECONDS)
        since = self._clock.now() if found is None else found["since"]
        return _verdict("unknown", "a check was begun and not finished", since)

    def _ask(self, checked: Checked, credential: Credential) -> dict[str, Any]:
        now = self._clock.now()
        scope = Scope(_TIMEOUTS, self._clock.monotonic)
        try:
            checked.provider.check_token(credential, scope)
        except TokenRejected as exc:
            return _verdict("dead", exc.message, now)
        except AccountExhausted as exc:
            return _verdict("exhausted", exc.message, now)
        except AccountSuspended as exc:
            return _verdict("disabled", exc.message, now)
        except GatewayError as exc:
            return _verdict("unknown", exc.message, now)
        return _verdict("ok", None, now)


def _service(provider: ChecksTokens) -> object:
    """Where a token would be shown: by kind of provider, unless it says more."""
    return getattr(provider, "service", type(provider))


def _has_run_out(credential: Credential, now: float) -> bool:
    """Whether nothing needs to be asked: expired, and nothing to renew it with."""
    return credential.refresh is None and _is_past(credential.access_expires, now)


def _is_past(expires: float | None, now: float) -> bool:
    return expires is not None and expires <= now


def _verdict(state: str, reason: str | None, now: float) -> dict[str, Any]:
    """`unknown` means the upstream could not be asked: not live, and not dead."""
    return {
        "live": state == "ok",
        "state": state,
        "reason": reason,
        "checked_at": now,
    }


def _described(credential: Credential) -> dict[str, Any]:
    held = {"access": credential.access, "refresh": credential.refresh}
    return {
        "live": False,
        "state": "unknown",
        "kind": "+".join(kind for kind, token in held.items() if token is not None),
        "region": credential.region,
        "expires_at": credential.access_expires,
        "refresh_expires_at": credential.refresh_expires,
        "renewable": credential.refresh is not None,
        "account": None,
        "reason": None,
        "until": None,
    }
