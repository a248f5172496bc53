"""Pools over a store or its documents, and the account of who held what."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Any

from kimi_proxy.account_state import Policy
from kimi_proxy.clock import Clock
from kimi_proxy.pool import Pool, Slot
from kimi_proxy.scope import Scope, Timeouts
from kimi_proxy.worker import Worker

NAMES = ("a", "b", "c")


def make_pool(
    store: Any,
    *,
    clock: Clock | None = None,
    names: tuple[str, ...] = NAMES,
    worker: Worker | None = None,
    **policy: Any,
) -> Pool:
    return Pool(
        provider="fake",
        names=names,
        policy=Policy(**policy),
        documents=getattr(store, "live", store),
        worker=worker or Worker(),
        clock=clock or Clock(),
    )


def new_scope(clock: Clock | None = None, **timeouts: float) -> Scope:
    return Scope(Timeouts(**timeouts), (clock or Clock()).monotonic)


def give_back(pool: Pool, slot: Slot) -> None:
    pool.finish(slot, None, proven=True)


class Ledger:
    """Notes every use of an account; `worst` is the most there were at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: Counter[str] = Counter()
        self.worst = 0
        self.order: list[Any] = []

    def begin(self, account: str, who: Any = None) -> None:
        with self._lock:
            self._now[account] += 1
            self.worst = max(self.worst, self._now[account])
            self.order.append(who)

    def end(self, account: str) -> None:
        with self._lock:
            self._now[account] -= 1
