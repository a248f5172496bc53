"""Other processes that tests talk with over a pipe; light, as each one imports it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

SPAWN = SpawnContext()


@contextmanager
def started(work: Any, *arguments: Any) -> Iterator[tuple[SpawnProcess, Connection]]:
    """Run `work(pipe, *arguments)` in a new process, and see it ended."""
    ours, theirs = SPAWN.Pipe()
    process = SPAWN.Process(target=work, args=(theirs, *arguments))
    process.start()
    theirs.close()
    try:
        with closing(ours):
            yield process, ours
    finally:
        process.join(1.0)
        if process.is_alive():
            process.kill()
        process.join()
        process.close()
