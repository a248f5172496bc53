"""The product as it is run: gunicorn on a port of its own, driven over sockets."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml

from kimi_proxy.storage import open_store
from tests.chaos.caller import Caller
from tests.chaos.evidence import Evidence
from tests.chaos.reply import Reply
from tests.chaos.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
KEY = "kp-made-up-key-of-the-chaos-tests"
ADMIN_KEY = "kp-made-up-admin-key-of-the-chaos-tests"
_BOOT = 30.0


class Gateway:
    """One gunicorn master over one configuration; `start` may follow `stop`."""

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any],
        evidence: Evidence,
        *,
        worker_class: str = "gevent",
        workers: int = 2,
    ) -> None:
        self.config = dict(config)
        self.worker_class = worker_class
        self.worker_count = workers
        # Whose models, pool and chats the methods below are about.
        self.provider = "kimi"
        self.log = b""
        self.port = 0
        self._directory = directory
        self._evidence = evidence
        self._master: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        evidence.plant((KEY, ADMIN_KEY))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._master is not None
        return self._master.pid

    def start(self) -> None:
        """Start, on the port of the last time if there was one; returns when ready."""
        self._directory.mkdir(exist_ok=True)
        path = self._directory / "config.yaml"
        path.write_text(yaml.safe_dump(self.config))
        listener = socket.create_server(("127.0.0.1", self.port), backlog=2048)
        self.port = listener.getsockname()[1]
        command = [sys.executable, "-m", "gunicorn", "wsgi:app"]
        command += ["--bind", f"fd://{listener.fileno()}"]
        command += ["--workers", str(self.worker_count)]
        command += ["--worker-class", self.worker_class]
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._directory),
            "TMPDIR": str(self._directory),
            "KIMI_PROXY_CONFIG": str(path),
            "PYTHONUNBUFFERED": "1",
        }
        with listener:
            self._master = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._reader = threading.Thread(target=self._drain, args=(self._master,))
        self._reader.start()
        eventually(self._is_up, _BOOT)

    def _drain(self, master: subprocess.Popen[bytes]) -> None:
        assert master.stdout is not None
        with master.stdout:
            for line in master.stdout:
                self.log += line

    def _is_up(self) -> bool:
        assert self._master is not None
        if self._master.poll() is not None:
            raise RuntimeError(f"gunicorn ended: {self.log.decode()[-3000:]}")
        return len(self.beating()) >= self.worker_count

    def beating(self) -> set[int]:
        """The workers of this master whose background threads have begun."""
        found = self.pool().get("workers", {})
        return {int(name.split(":")[1]) for name in found} & self.workers()

    def workers(self) -> set[int]:
        """The workers' process ids."""
        path = Path(f"/proc/{self.pid}/task/{self.pid}/children")
        try:
            return {int(pid) for pid in path.read_text().split()}
        except FileNotFoundError:
            return set()

    def stop(self, number: int = signal.SIGTERM, timeout: float = 40.0) -> int:
        """Signal the master, wait for its end; its exit status."""
        master, reader = self._master, self._reader
        assert master is not None and reader is not None
        self._photograph()
        master.send_signal(number)
        try:
            return master.wait(timeout)
        finally:
            self._clear_away(master, reader)

    def _clear_away(
        self, master: subprocess.Popen[bytes], reader: threading.Thread
    ) -> None:
        try:
            os.killpg(master.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass  # Everything has ended by itself.
        master.wait()
        reader.join()
        self._master = self._reader = None
        self._evidence.collect("log", self.log)

    def kill(self) -> None:
        """`kill -9` of every process at once; harmless when nothing runs."""
        if self._master is not None and self._reader is not None:
            self._photograph()
            self._clear_away(self._master, self._reader)

    def _photograph(self) -> None:
        """What the process list of the machine shows of the gateway."""
        for pid in {self.pid, *self.workers()}:
            for name in ("cmdline", "comm"):
                try:
                    said = Path(f"/proc/{pid}/{name}").read_bytes()
                except OSError:
                    continue  # It has just ended.
                self._evidence.collect(f"{name} of a process", said)

    def open(self, prompt: str, timeout: float = 60.0, **body: Any) -> Caller:
        """Send a chat and do not read the answer yet."""
        message = {"role": "user", "content": prompt}
        whole = {"model": self.provider, "messages": [message], **body}
        caller = Caller(self.port, timeout)
        return caller.send("POST", "/v1/chat/completions", key=KEY, body=whole)

    def ask(self, prompt: str, **body: Any) -> Reply:
        """Send a chat and read the whole answer."""
        with self.open(prompt, **body) as caller:
            reply = caller.reply()
        if reply.status != 200 or reply.error is not None:
            self._evidence.collect("error of a chat", caller.received)
        return reply

    def get(self, path: str, key: str | None = None) -> Reply:
        with Caller(self.port) as caller:
            reply = caller.send("GET", path, key=key).reply()
        self._evidence.collect(f"GET {path}", caller.received)
        return reply

    def check(self, token: str) -> dict[str, Any]:
        """What /token/check says of a token."""
        with Caller(self.port) as caller:
            asked = caller.send("POST", "/token/check", key=KEY, body={"token": token})
            reply = asked.reply()
        self._evidence.collect("/token/check", caller.received)
        assert reply.status == 200, reply.body
        found: dict[str, Any] = reply.document
        return found

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that carry these labels."""
        total = 0.0
        for line in self.get("/metrics").body.decode().splitlines():
            head, _, value = line.rpartition(" ")
            wanted = all(f'{key}="{word}"' in head for key, word in labels.items())
            if head.partition("{")[0] == name and wanted:
                total += float(value)
        return total

    def document(self, key: str) -> dict[str, Any] | None:
        """A document of the live store."""
        with closing(open_store(self.config["state"], time.time)) as store:
            return store.live.get(key)

    def pool(self) -> dict[str, Any]:
        """Accounts, leases, waiters and workers; empty before the first heartbeat."""
        return self.document(f"pool/{self.provider}") or {}

    def journal(self) -> list[tuple[str, dict[str, Any]]]:
        """The chats that are written down as not deleted yet."""
        with closing(open_store(self.config["state"], time.time)) as store:
            return store.live.scan(f"chat/{self.provider}/")

    def log_says(self, words: str) -> bool:
        return words.encode() in self.log
