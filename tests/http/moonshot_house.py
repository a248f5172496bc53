"""A gateway before an emulated Moonshot, with one key, after it listed the models."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from emulators.moonshot import MoonshotEmulator
from tests.http.openai_house import House, house, upstream


@contextmanager
def before(
    emulator: MoonshotEmulator,
    directory: Path,
    state: str = "memory://",
    **more: Any,
) -> Iterator[House]:
    """The gateway; `more` goes into the provider's section."""
    known = [key for key in emulator.world.keys.all() if key.name == "k"]
    keys = {"k": known[0].secret if known else emulator.add_key("k")}
    section = upstream(emulator.base_url, keys, preset="moonshot-cn", **more)
    with house(directory, {"m": section}, state=state) as gateway:
        gateway.discover()
        yield gateway


def sent(emulator: MoonshotEmulator) -> list[Any]:
    """The bodies of the chat requests that came."""
    return [entry.body for entry in emulator.log.all() if entry.name == "chat"]
