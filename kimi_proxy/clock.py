"""Time, handed in, so that tests can turn it."""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`now` gives epoch seconds, `monotonic` seconds that never jump."""

    now: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
