"""Faults on demand: a queue that tests fill and matching requests consume."""

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Fault:
    """One planned misbehaviour.

    It skips the first `after` matching requests, then hits the next `times` ones
    (-1: every one). `account` None matches every account. `params` belong to the
    fault's name.
    """

    name: str
    times: int = 1
    account: str | None = None
    after: int = 0
    params: Mapping[str, Any] = field(default_factory=dict)


class Faults:
    """A thread-safe queue of faults; `known` are the only names it takes."""

    def __init__(self, known: Collection[str]) -> None:
        self.known = frozenset(known)
        self._queue: list[Fault] = []
        self._lock = threading.Lock()

    def add(
        self,
        name: str,
        times: int = 1,
        account: str | None = None,
        after: int = 0,
        **params: Any,
    ) -> None:
        """Plan a fault; raises ValueError for a name the emulator does not know."""
        if name not in self.known:
            raise ValueError(f"unknown fault {name!r}; known: {sorted(self.known)}")
        with self._lock:
            self._queue.append(Fault(name, times, account, after, params))

    def take(
        self, names: Collection[str], account: str | None, route: str
    ) -> Fault | None:
        """Return the first planned fault that hits this request, counting it.

        A fault with the parameter `on` hits only the route of that name.
        """
        with self._lock:
            for index, fault in enumerate(self._queue):
                if fault.name not in names or not _matches(fault, account, route):
                    continue
                if fault.after > 0:
                    self._queue[index] = replace(fault, after=fault.after - 1)
                    continue
                if fault.times == 1:
                    del self._queue[index]
                elif fault.times > 1:
                    self._queue[index] = replace(fault, times=fault.times - 1)
                return fault
        return None

    def pending(self) -> tuple[Fault, ...]:
        """Return the faults not used up yet."""
        with self._lock:
            return tuple(self._queue)

    def clear(self) -> None:
        """Forget all planned faults."""
        with self._lock:
            self._queue.clear()


def _matches(fault: Fault, account: str | None, route: str) -> bool:
    right_account = fault.account is None or fault.account == account
    return right_account and fault.params.get("on", route) == route
