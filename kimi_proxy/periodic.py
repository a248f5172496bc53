"""A chore that is done again and again in the background."""

import logging
import threading
import time
from collections.abc import Callable

from kimi_proxy.errors import GatewayError
from kimi_proxy.logs import logger

_PATIENCE = 60.0  # seconds between two warnings of the same trouble


class Periodic:
    """Calls `chore` every `interval` seconds in a daemon thread until stopped.

    Its failures are logged: a new one at once, one that lasts once a minute, and its
    end. `monotonic` is in seconds.
    """

    def __init__(
        self,
        name: str,
        interval: float,
        chore: Callable[[], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._chore = chore
        self._interval = interval
        self._monotonic = monotonic
        self._trouble: str | None = None
        self._told = 0.0
        self._stop = threading.Event()
        self._soon = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def nudge(self) -> None:
        """Do the chore now rather than at the next interval."""
        self._soon.set()

    def stop(self) -> None:
        """End the thread after the chore at hand."""
        self._stop.set()
        self._soon.set()

    def join(self, timeout: float) -> None:
        """Wait for the end, at most `timeout` seconds."""
        if self._thread.is_alive():
            self._thread.join(timeout)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self._chore()
            except GatewayError as exc:
                self._warn(exc.detail)
            except Exception as exc:  # the outermost handler of this thread
                self._warn(f"failed by a defect ({type(exc).__name__})", exc)
            else:
                self._relax()
            self._soon.wait(self._interval)
            self._soon.clear()

    def _warn(self, trouble: str, defect: Exception | None = None) -> None:
        now = self._monotonic()
        if trouble == self._trouble and now - self._told < _PATIENCE:
            return
        self._trouble, self._told = trouble, now
        level = logging.WARNING if defect is None else logging.ERROR
        logger.log(level, "%s: %s", self._thread.name, trouble, exc_info=defect)

    def _relax(self) -> None:
        if self._trouble is not None:
            self._trouble = None
            logger.info("%s: works again", self._thread.name)
