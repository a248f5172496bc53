"""The lasting switches of the Kilo emulator, and what its model says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call of an answer; `arguments` comes in two pieces."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said: thinking, then text, then calls; times are seconds."""

    pieces: tuple[str, ...] = ()
    thinking: tuple[str, ...] = ()
    calls: tuple[Call, ...] = ()
    reason: str = ""
    first_delay: float = 0.0

    @property
    def finish_reason(self) -> str:
        """Return why it ends."""
        return self.reason or ("tool_calls" if self.calls else "stop")


Script = Answer | Callable[[str], Answer]


@dataclass(slots=True)
class Knobs:
    """How the service behaves.

    `window` is the context in characters. `old` serves the two addresses of 2025 as
    well. `comments` puts keep-alive comments between the chunks, `tight` no space after
    `data:`. `split` are the sizes in which bytes travel. `code_life` is how long a
    log-in may stay open, in seconds; `open_codes` how many may.
    """

    window: int = 100_000
    old: bool = False
    comments: bool = False
    tight: bool = False
    crlf: bool = False
    done: bool = True
    split: tuple[int, ...] = ()
    code_life: int = 600
    open_codes: int = 3
    models: tuple[Mapping[str, Any], ...] = field(
        default_factory=lambda: (
            model("anthropic/claude-sonnet-4.5", 200_000, ("text", "image")),
            model("kilo-auto/free", 128_000, ("text",), free=True),
        )
    )


def model(
    name: str, context: int, kinds: tuple[str, ...], *, free: bool = False
) -> Mapping[str, Any]:
    """Return a row of the list of models (§4)."""
    price = "0" if free else "0.000003"
    return {
        "id": name,
        "object": "model",
        "created": 1_790_000_000,
        "owned_by": name.partition("/")[0],
        "name": name.partition("/")[2],
        "description": "made up",
        "context_length": context,
        "max_completion_tokens": None,
        "pricing": {"prompt": price, "completion": price},
        "architecture": {
            "input_modalities": list(kinds),
            "output_modalities": ["text"],
        },
        "top_provider": {"max_completion_tokens": 64_000},
        "supported_parameters": ["tools", "temperature", "reasoning"],
        "isFree": free,
    }
