"""This process's name in shared documents, and whether another one still lives."""

import os
import socket
import uuid
from pathlib import Path

from kimi_proxy.clock import Clock
from kimi_proxy.storage import Documents

_SILENCE = 15.0
_UNKNOWN = "-"


class Worker:
    """Names this process; one object serves all its threads, and a forked child too."""

    def __init__(self) -> None:
        self._host = _host()
        self._ids: dict[int, str] = {}

    @property
    def id(self) -> str:
        """Unique per process; a fork has one of its own."""
        pid = os.getpid()
        known = self._ids.get(pid)
        if known is None:
            fresh = f"{self._host}:{pid}:{_birth(pid)}.{uuid.uuid4().hex[:8]}"
            known = self._ids.setdefault(pid, fresh)  # two threads agree on the first
        return known

    def alive(self, worker: str, silence: float) -> bool:
        """Whether a worker lives that was last heard of `silence` seconds ago.

        On this machine the kernel knows: a process number that was given anew, as
        after the restart of a container, has another hour of birth.
        """
        if worker == self.id:
            return True
        if not self.is_neighbour(worker):
            return silence < _SILENCE
        _, pid, birth = worker.rsplit(":", 2)
        return _birth(int(pid)) == birth.partition(".")[0]

    def is_neighbour(self, worker: str) -> bool:
        """Whether it runs, or ran, where this one can ask the kernel about it."""
        return worker.rsplit(":", 2)[0] == self._host


class Presence:
    """Signs of life in the shared store, for workers that the kernel cannot answer for:
    those of another container or another machine."""

    def __init__(self, documents: Documents, worker: Worker, clock: Clock) -> None:
        self._documents = documents
        self._worker = worker
        self._clock = clock

    def beat(self) -> None:
        """Tell the others that this worker lives; to be repeated every few seconds."""
        sign = {"at": self._clock.now()}
        self._documents.put(f"worker/{self._worker.id}", sign, ttl=_SILENCE)

    def is_gone(self, worker: str, last: float) -> bool:
        """Whether a worker is dead that surely lived at `last` (epoch seconds)."""
        if self._worker.alive(worker, self._clock.now() - last):
            return False
        if self._worker.is_neighbour(worker):
            return True
        return self._documents.get(f"worker/{worker}") is None


def _host() -> str:
    """The machine's name, and which of its process tables the numbers are from."""
    try:
        table = str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        table = _UNKNOWN
    return f"{socket.gethostname()}/{table}"


def _birth(pid: int) -> str | None:
    """When the process began, in the kernel's ticks (proc(5), field 22); None: dead.

    A process that nobody has waited for yet is dead, too.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return _birth_unknown(pid) if not Path("/proc/self/stat").exists() else None
    # The second field is the program's name in brackets and may hold anything.
    fields = stat.rpartition(b")")[2].split()
    return None if fields[0] in {b"Z", b"X"} else fields[19].decode()


def _birth_unknown(pid: int) -> str | None:
    """Where there is no /proc, a process number has to do."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        return _UNKNOWN
    return _UNKNOWN
