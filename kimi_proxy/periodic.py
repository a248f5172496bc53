"""A chore that is done again and again in the background."""

import threading
from collections.abc import Callable

from kimi_proxy.errors import GatewayError
from kimi_proxy.logs import logger


class Periodic:
    """Calls `chore` every `interval` seconds in a daemon thread until stopped."""

    def __init__(self, name: str, interval: float, chore: Callable[[], None]) -> None:
        self._chore = chore
        self._interval = interval
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
                logger.warning("%s: %s", self._thread.name, exc)
            except Exception:  # the outermost handler of this thread
                logger.exception("%s failed", self._thread.name)
            self._soon.wait(self._interval)
            self._soon.clear()
