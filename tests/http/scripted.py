"""A provider that does as its last message says, and writes down what befell it.

The message is a list of steps in JSON, each a list of a verb and its arguments; see
`_VERBS`. Any other text is said again, as `echo` does.
"""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

from kimi_proxy import errors
from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.clock import Clock
from kimi_proxy.config import ProviderSettings
from kimi_proxy.events import (
    Citation,
    Event,
    Finished,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    Usage,
)
from kimi_proxy.providers import registry
from kimi_proxy.providers.base import Credential, Lease
from kimi_proxy.scope import Scope

DIARY = "SCRIPTED_DIARY"
MODELS = ("play", "deep/er/model", "双 words")
Step = list[Any]


class Diary:
    """One file for all processes; times are those of the system's monotonic clock."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.touch()

    def write(self, what: str, tag: str) -> None:
        line = json.dumps({"what": what, "tag": tag, "at": time.monotonic()}) + "\n"
        with self._path.open("a") as file:
            file.write(line)

    def read(self, tag: str | None = None) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in self._path.read_text().splitlines()]
        return [e for e in entries if tag is None or e["tag"] == tag]

    def words(self, tag: str | None = None) -> list[str]:
        return [entry["what"] for entry in self.read(tag)]

    def await_word(self, what: str, tag: str, seconds: float = 10.0) -> float:
        """When `what` was written; raises AssertionError if it is not in time."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for entry in self.read(tag):
                if entry["what"] == what:
                    return float(entry["at"])
            time.sleep(0.01)
        raise AssertionError(f"no {what!r} in {self.words(tag)} of {tag!r}")


class Scripted:
    """See the module."""

    honours = frozenset({"temperature"})

    def __init__(self, name: str, diary: Diary) -> None:
        self.name = name
        self._diary = diary

    def stream(self, request: ChatRequest, lease: Lease) -> Iterator[Event]:
        text = request.messages[-1].text
        if not text.startswith("[["):
            yield TextDelta(text)
            yield Finished("stop")
            return
        tag = request.user or ""
        self._diary.write("opened", tag)
        try:
            for verb, *arguments in json.loads(text):
                if verb in _WRITING:
                    yield from _WRITING[verb](lease.scope, self._diary, tag, *arguments)
                else:
                    yield from _VERBS[verb](lease.scope, *arguments)
        finally:
            self._diary.write("closed", tag)

    def models(self, credential: Credential | None, scope: Scope) -> list[Model]:
        return self.known_models()

    def known_models(self) -> list[Model]:
        return [Model(id, id.title(), "tests", context_length=8192) for id in MODELS]


def _wait(scope: Scope, seconds: float) -> Iterator[Event]:
    """A silence of the upstream, which ends at once when the scope does."""
    woken = threading.Event()
    forget = scope.on_cancel(woken.set)
    try:
        woken.wait(scope.limit(seconds))
        scope.check()
    finally:
        forget()
    yield from ()


def _raise(_: Scope, name: str, **facts: Any) -> Iterator[Event]:
    raise error_class(name)(facts.pop("message", f"a scripted {name}"), **facts)
    yield


def error_class(name: str) -> type[errors.GatewayError]:
    """An error of the tree by its name."""
    found: type[errors.GatewayError] = getattr(errors, name)
    return found


def _gate(scope: Scope, diary: Diary, tag: str) -> Iterator[Event]:
    """A silence that lasts until the test writes "go" under this tag."""
    while "go" not in diary.words(tag):
        yield from _wait(scope, 0.01)


def _defect(_: Scope) -> Iterator[Event]:
    raise RuntimeError("a scripted defect")
    yield


def _flood(
    scope: Scope, diary: Diary, tag: str, count: int, size: int
) -> Iterator[Event]:
    """So many pieces of this size; the diary tells how far it came."""
    for number in range(count):
        scope.check()
        if number % 500 == 0:
            diary.write(f"flood {number}", tag)
        yield TextDelta(piece(number, size))


def piece(number: int, size: int) -> str:
    """What one piece of a flood says."""
    return f"{number:08d}".ljust(size, "界")


def _end(_: Scope) -> Iterator[Event]:
    """An answer that stops without being finished, once this was the last step."""
    yield from ()


_VERBS: dict[str, Callable[..., Iterator[Event]]] = {
    "text": lambda _, text: iter([TextDelta(text)]),
    "refuse": lambda _, text: iter([TextDelta(text, refuses=True)]),
    "think": lambda _, text: iter([ReasoningDelta(text)]),
    "call": lambda _, *fields: iter([ToolCallDelta(*fields)]),
    "cite": lambda _, url, title: iter([Citation(url, title)]),
    "usage": lambda _, *counts: iter([Usage(*counts)]),
    "finish": lambda _, reason="stop": iter([Finished(reason)]),
    "wait": _wait,
    "raise": lambda scope, name, facts=None: _raise(scope, name, **(facts or {})),
    "defect": _defect,
    "alien": lambda _: iter([cast(Event, object())]),
    "end": _end,
}
_WRITING: dict[str, Callable[..., Iterator[Event]]] = {"gate": _gate, "flood": _flood}


def chat(*steps: Step, tag: str = "", stream: bool = True, **fields: Any) -> Any:
    """The body of a request for these steps; `tag` names it in the diary."""
    return {
        "model": "scripted/play",
        "messages": [{"role": "user", "content": json.dumps(list(steps))}],
        "stream": stream,
        "user": tag,
        **fields,
    }


def builder(diary: Diary) -> registry.Builder:
    """Makes every provider scripted whose name says so.

    `scripted-single` has one account that takes one request at a time.
    """

    def build(name: str, settings: ProviderSettings, clock: Clock) -> registry.Built:
        if not name.startswith("scripted"):
            return registry.build(name, settings, clock)
        policy = {"concurrency": 1 if name.endswith("single") else None}
        seeds = {"puppet": Credential(access="-")}
        return registry.Built(Scripted(name, diary), seeds, policy)

    return build


def diary_of_environment() -> Diary:
    """The diary that the starting test named."""
    return Diary(Path(os.environ[DIARY]))
