"""A gateway before an emulated upstream with OpenAI's API, for relayed calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emulators.audit import Entry
from emulators.openai import OpenAIEmulator
from kimi_proxy.services import Services
from tests.gateway_process import GatewayProcess
from tests.http import wire
from tests.http.conftest import house, scripted_process, serving

KEY = "kp-relay-made-up-key"
NARROW = "kp-relay-narrow-made-up-key"
WHOLE = "kp-relay-whole-made-up-key"
EMBEDS = "kp-relay-embeds-made-up-key"
ACCOUNTS = ("alice", "bob")
ALONE = "carol"  # of the provider `solo`, one call at a time


@dataclass(frozen=True, slots=True)
class Relayed:
    """A gateway, and the emulator that nobody else speaks to."""

    port: int
    emulator: OpenAIEmulator
    services: Services | None = None
    process: GatewayProcess | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str = KEY,
        **headers: str,
    ) -> wire.Answer:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        sent["Authorization"] = f"Bearer {key}"
        return wire.call(self.port, method, f"/v1{path}", body, headers=sent)

    def embed(self, model: str = "up/text-embedding-3-small", **more: Any) -> Any:
        return self.call("POST", "/embeddings", {"model": model, "input": "hi"}, **more)

    @property
    def seen(self) -> list[Entry]:
        """What came to the upstream but for the gateway's own look at its models."""
        return [e for e in self.emulator.log.all() if e.path != "/v1/models"]

    @property
    def last(self) -> Entry:
        return self.seen[-1]

    def accounts(self) -> list[str | None]:
        """Whose keys came to the upstream, in order."""
        return [entry.account for entry in self.seen]


def configuration(
    emulator: OpenAIEmulator, providers: Mapping[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """`providers` come to the usual ones, `more` sections in place of them."""
    tokens = [{"name": n, "token": emulator.add_account(n)} for n in ACCOUNTS]
    pool = {"cooldown": 0.05, "failure_threshold": 1000, "wait": 0.05}
    return {
        "keys": [
            {"name": "all", "key": KEY},
            {"name": "narrow", "key": NARROW, "models": ["echo", "up/gpt-4o"]},
            {"name": "whole", "key": WHOLE, "models": ["up/*"]},
            {"name": "embeds", "key": EMBEDS, "models": ["up/text-*", "text-*"]},
        ],
        "providers": {
            "echo": {"type": "echo"},
            "up": {
                "type": "openai",
                "base_url": emulator.base_url,
                "tokens": tokens,
                "pool": pool,
            },
            "solo": {
                "type": "openai",
                "base_url": emulator.base_url,
                "tokens": [{"name": ALONE, "token": emulator.add_account(ALONE)}],
                "pool": {"concurrency": 1, "wait": 0.05},
            },
            **(providers or {}),
        },
        "models": {"my-embedding": ["up/text-embedding-3-small"], "talk": "echo/echo"},
        "relay": {"provider": "up"},
        "server": {"max_body": "4MiB"},
        **more,
    }


@contextmanager
def relaying(directory: Path, kind: str = "werkzeug", **more: Any) -> Iterator[Relayed]:
    """A gateway on this kind of server."""
    with OpenAIEmulator() as emulator:
        config = configuration(emulator, **more)
        if kind == "werkzeug":
            with house(directory, config) as built, serving(built.app) as port:
                yield Relayed(port, emulator, built.services)
        else:
            with scripted_process(directory, config, worker_class=kind) as served:
                yield Relayed(served.port, emulator, process=served.process)
            assert served.process is not None
            assert "Traceback" not in served.process.log_text()
        assert not emulator.violations()


def refresh(relayed: Relayed) -> None:
    """Forget what the last test did to the upstream and what it saw."""
    emulator = relayed.emulator
    for name in ACCOUNTS:
        emulator.set_key(name, state="ok")
        if relayed.services is not None:
            relayed.services.backends["up"].pool.revive(name)
    emulator.reset()


def form(boundary: str, *parts: tuple[Mapping[str, str], bytes]) -> bytes:
    """A multipart body of parts, each with the attributes of its disposition."""
    body = b""
    for attributes, content in parts:
        told = "; ".join(f'{name}="{value}"' for name, value in attributes.items())
        head = f"--{boundary}\r\nContent-Disposition: form-data; {told}\r\n\r\n"
        body += head.encode() + content + b"\r\n"
    return body + f"--{boundary}--\r\n".encode()
