"""Waiting for a condition, never for a time; and callers in threads of their own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any


def until(condition: Callable[[], object], timeout: float = 20.0) -> None:
    """Return as soon as the condition holds; AssertionError when it does not."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.002)


class Caller:
    """Calls something in a thread; `result` gives what it returned or raised."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except BaseException as exc:
            self._error = exc

    @property
    def over(self) -> bool:
        return not self._thread.is_alive()

    def result(self, timeout: float = 30.0) -> Any:
        self._thread.join(timeout)
        assert self.over, "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value

    def error(self, timeout: float = 30.0) -> BaseException:
        """What it raised; AssertionError when it raised nothing."""
        self._thread.join(timeout)
        assert self.over, "the call did not return"
        assert self._error is not None, f"it returned {self._value!r}"
        return self._error
