"""Waiting for what must come, and doing things at the same time."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
A = TypeVar("A")


def eventually(condition: Callable[[], T], timeout: float = 15.0) -> T:
    """The first true value of `condition`; AssertionError when there is none."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s; last seen: {value!r}")
        time.sleep(0.02)


def together(work: Callable[[A], T], items: Iterable[A]) -> list[T]:
    """`work` on every item, all at the same time; results in order."""
    todo = list(items)
    with ThreadPoolExecutor(len(todo)) as pool:
        return list(pool.map(work, todo))
