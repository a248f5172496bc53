"""What an answer with tool calls in its text consists of."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Said:
    """Text for the reader."""

    text: str


@dataclass(frozen=True, slots=True)
class Called:
    """A call of a declared tool; `arguments` is the JSON text of an object."""

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Broken:
    """A call that was begun and cannot be carried out: what was written, and why."""

    text: str
    why: str


Piece = Said | Called | Broken
