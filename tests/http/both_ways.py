"""Checks that are written once and played with a sync client and with an async one.

A check is a generator. What it yields is played and sent back: the outcome of a call,
all events of a stream (`Every`), or what a stream helper has in the end (`Final`). What
a call raises, the check may catch.
"""

import asyncio
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Every:
    """All that a stream tells, as a list."""

    stream: Any


@dataclass(frozen=True)
class Final:
    """What the helper's method returns once its stream was read to its end."""

    helper: Any
    method: str


Check = Callable[..., Generator[Any, Any, None]]


def play(check: Check, *given: Any) -> None:
    """Play a check that was given a sync client."""
    steps = check(*given)
    try:
        step = next(steps)
        while True:
            try:
                outcome = _outcome(step)
            except Exception as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(outcome)
    except StopIteration:
        return


async def play_async(check: Check, *given: Any) -> None:
    """Play a check that was given an async client."""
    steps = check(*given)
    try:
        step = next(steps)
        while True:
            try:
                outcome = await _awaited(step)
            except Exception as exc:
                step = steps.throw(exc)
            else:
                step = steps.send(outcome)
    except StopIteration:
        return


def _outcome(step: Any) -> Any:
    if isinstance(step, Every):
        return list(step.stream)
    if isinstance(step, Final):
        with step.helper as stream:
            return getattr(stream, step.method)()
    return step


async def _awaited(step: Any) -> Any:
    if isinstance(step, Every):
        return [event async for event in await step.stream]
    if isinstance(step, Final):
        async with step.helper as stream:
            return await getattr(stream, step.method)()
    return await step


def play_all(checks: Mapping[str, Check], *given: Any) -> None:
    """Play checks, each given a sync client; an error names its check."""
    for name, check in checks.items():
        with _named(name):
            play(check, *given)


def play_all_in_a_loop(
    checks: Mapping[str, Check], make: Callable[[], Any], *given: Any
) -> None:
    """Play checks with an async client that lives as long as its loop."""

    async def played() -> None:
        async with make() as client:
            for name, check in checks.items():
                with _named(f"{name}, async"):
                    await play_async(check, client, *given)

    asyncio.run(played())


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as exc:
        exc.add_note(f"in the check of: {name}")
        raise
