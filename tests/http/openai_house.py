"""A gateway of this process before emulators of OpenAI-compatible upstreams."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from werkzeug.test import TestResponse

from kimi_proxy.account_state import AccountState
from kimi_proxy.app import create_app
from kimi_proxy.clock import Clock
from kimi_proxy.config import load
from kimi_proxy.services import Services

PATH = "/v1/chat/completions"


@dataclass(slots=True)
class House:
    """A gateway whose clock is `late` by so many seconds."""

    late: float = 0.0
    services: Services = field(init=False)
    app: Any = field(init=False)

    def ask(self, model: str, text: str = "hello", **body: Any) -> TestResponse:
        """One chat completion; `messages` may be given instead of a text."""
        messages = body.pop("messages", [{"role": "user", "content": text}])
        asked = {"model": model, "messages": messages, **body}
        answer: TestResponse = self.app.test_client().post(PATH, json=asked)
        return answer

    def states(self, provider: str) -> dict[str, AccountState]:
        pool = self.services.backends[provider].pool
        return {state.name: state for state in pool.states()}

    def past_all_rests(self, provider: str) -> None:
        """As if the longest rest were over."""
        pool = self.services.backends[provider].pool
        ends = [state.until or 0.0 for state in pool.states()]
        self.late += max(0.0, max(ends) - self.services.clock.now())

    def discover(self) -> None:
        """What the background does every few minutes."""
        for name in self.services.discovery.names:
            self.services.discovery.ask(name)


@contextmanager
def house(
    directory: Path, providers: Mapping[str, Any], **config: Any
) -> Iterator[House]:
    """A gateway with these providers."""
    file = directory / "config.yaml"
    settings = {"state": "memory://", "providers": dict(providers), **config}
    file.write_text(json.dumps(settings))
    built = House()
    clock = Clock(lambda: time.time() + built.late, time.monotonic)
    built.services = Services(load(str(file)), clock)
    built.app = create_app(built.services)
    try:
        yield built
    finally:
        built.services.stop()


def upstream(base_url: str, keys: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """The section of an OpenAI-compatible provider."""
    tokens = [{"name": name, "token": key} for name, key in keys.items()]
    return {"type": "openai", "base_url": base_url, "tokens": tokens, **more}


def chunks(answer: TestResponse) -> list[Any]:
    """The documents of a streamed answer."""
    lines = [line for line in answer.data.split(b"\n") if line.startswith(b"data: ")]
    assert lines[-1] == b"data: [DONE]", answer.data
    return [orjson.loads(line[6:]) for line in lines[:-1]]


def text_of(answer: TestResponse) -> str:
    """What was answered, streamed or whole."""
    if answer.mimetype == "text/event-stream":
        choices = [c for chunk in chunks(answer) for c in chunk["choices"]]
        return "".join(c["delta"].get("content") or "" for c in choices)
    return str(answer.get_json()["choices"][0]["message"]["content"])
