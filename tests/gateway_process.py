"""The gateway as its user runs it: gunicorn in a process of its own."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
_FOREIGN = ("KIMI_", "GUNICORN_", "PROMETHEUS_", "WEB_CONCURRENCY")
_START_SECONDS = 30.0
_STOP_SECONDS = 45.0


@dataclass(frozen=True, slots=True)
class GatewayProcess:
    """A running gateway; `log` holds all it wrote, at debug level."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    prefix: str

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self.prefix}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def log_lines(self, message: str) -> list[dict[str, Any]]:
        """The gateway's own lines, parsed; whatever else was written is left out."""
        lines = (_parsed(line) for line in self.log_text().splitlines())
        return [line for line in lines if line.get("message") == message]

    def workers(self) -> list[int]:
        """The process ids of the worker processes."""
        pid = self.process.pid
        try:
            found = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in found.split()]

    def wait_until_ready(self) -> None:
        """Wait for a first healthy answer; raises AssertionError with the log."""
        ends = time.monotonic() + _START_SECONDS
        while not self.answers():
            code = self.process.poll()
            if code is not None or time.monotonic() > ends:
                raise AssertionError(f"no gateway (exit {code}):\n{self.log_text()}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether /healthz answers 200 now."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", f"{self.prefix}/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def stop(self, signum: int = signal.SIGTERM) -> int:
        """End it as a service manager does; the exit code.

        Not by SIGINT: gunicorn's thread workers then shut their pool from within a
        signal handler, which can wait for a lock that the same thread holds.
        """
        if self.process.poll() is None:
            self.process.send_signal(signum)
        try:
            code = self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            raise AssertionError(f"it did not end:\n{self.log_text()}") from None
        self._require_secrecy()
        return code

    def _require_secrecy(self) -> None:
        """Whatever a test did with it, nothing secret of its configuration was said."""
        said = self.log_text()
        told = [secret for secret in self._secrets() if secret in said]
        assert not told, f"{len(told)} secrets of its configuration are in {self.log}"

    def _secrets(self) -> Iterator[str]:
        try:
            config = json.loads((self.log.parent / "config.yaml").read_text())
        except (OSError, ValueError):
            return  # a test that writes no configuration, or one of its own
        for entry in (*config.get("keys", ()), config.get("admin", {})):
            yield from _long(entry.get("key"))
        for provider in config.get("providers", {}).values():
            for token in provider.get("tokens", ()):
                value = token.get("token") if isinstance(token, dict) else token
                yield from _long(value)


def _long(secret: Any) -> Iterator[str]:
    """The secret, unless it is a word that any log may hold, or is read elsewhere."""
    if isinstance(secret, str) and len(secret) >= 8 and not secret.startswith("${"):
        yield secret


@contextmanager
def running(
    directory: Path,
    config: Mapping[str, Any],
    *,
    worker_class: str = "gevent",
    workers: int = 1,
    app: str = "wsgi:app",
    environ: Mapping[str, str] | None = None,
    arguments: Sequence[str] = (),
) -> Iterator[GatewayProcess]:
    """Start gunicorn on a free port with this configuration; state in `directory`."""
    with listener() as sock:
        process = launch(
            directory,
            config,
            [
                *("--bind", f"fd://{sock.fileno()}"),
                *("--worker-class", worker_class),
                *("--workers", str(workers)),
                *("--log-level", "debug"),
                *arguments,
                app,
            ],
            environ=environ,
            pass_fds=(sock.fileno(),),
        )
        port = sock.getsockname()[1]
    prefix = config.get("server", {}).get("route_prefix", "")
    gateway = GatewayProcess(port, directory / "gateway.log", process, prefix)
    try:
        gateway.wait_until_ready()
        yield gateway
    finally:
        gateway.stop()


def launch(
    directory: Path,
    config: Mapping[str, Any],
    arguments: Sequence[str],
    *,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Run gunicorn in the repository root, its output in `directory`/gateway.log."""
    settled = {
        "state": f"sqlite:///{directory / 'state.db'}",
        "log": {"level": "debug"},
        **config,
    }
    file = directory / "config.yaml"
    file.write_text(json.dumps(settled))  # JSON is YAML
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)}
    with (directory / "gateway.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "gunicorn", *arguments],
            cwd=ROOT,
            env={**inherited, "KIMI_PROXY_CONFIG": str(file), **(environ or {})},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=tuple(pass_fds),
            start_new_session=True,
        )


@contextmanager
def listener() -> Iterator[socket.socket]:
    """A listening socket on a free port, to be inherited: no other can take it."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen(1024)
        sock.set_inheritable(True)
        yield sock


def _parsed(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


StartGateway = Callable[..., GatewayProcess]


@pytest.fixture
def start_gateway(tmp_path: Path) -> Iterator[StartGateway]:
    """Starts gateways as `running` does; all are stopped when the test is over."""
    with ExitStack() as stack:

        def start(config: Mapping[str, Any], **options: Any) -> GatewayProcess:
            directory = options.pop("directory", tmp_path)
            return stack.enter_context(running(directory, config, **options))

        yield start
