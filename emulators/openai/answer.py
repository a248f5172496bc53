"""What the emulated model says: a script given by tests, or a quote of the prompt."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from emulators.openai.recording import Recording
from emulators.openai.refusal import Refusal

JSON = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """One call of a tool; `pieces` is how many characters of arguments a delta has.

    An empty `id` is made up. `fields` are added to the call (the first delta of it).
    """

    name: str
    arguments: str = "{}"
    id: str = ""
    type: str = "function"
    pieces: int = 8
    fields: JSON = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice; `pieces` are the exact texts of the deltas, or their length.

    `parallel` lets the deltas of several tool calls alternate. `finish_reason` None:
    what follows from the rest. `fields` are added to the choice (in a stream: of every
    chunk), `message_fields` to the message or the last delta with content.
    `content_null` says null instead of "" beside tool calls.
    """

    text: str = ""
    pieces: tuple[str, ...] | int = 8
    reasoning: str = ""
    tools: tuple[ToolCall, ...] = ()
    parallel: bool = False
    refusal: str = ""
    annotations: tuple[JSON, ...] = ()
    finish_reason: str | None = None
    fields: JSON = field(default_factory=dict)
    message_fields: JSON = field(default_factory=dict)
    content_null: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError for pieces that are not the text."""
        if isinstance(self.pieces, int):
            return
        joined = "".join(self.pieces)
        if self.text not in ("", joined):
            raise ValueError("the pieces of a choice must join to its text")
        object.__setattr__(self, "text", joined)

    def deltas(self) -> tuple[str, ...]:
        """Return the text, one item per delta."""
        if isinstance(self.pieces, int):
            return cut(self.text, self.pieces)
        return self.pieces


@dataclass(frozen=True, slots=True)
class Answer:
    """A scripted answer: a text, a `Choice`, or several; times are seconds.

    The first delta with content comes `first_delay` after the role, each later one
    `delay` after the one before; a whole answer comes after all of it. `fields` are
    added to the completion and to every chunk, `usage` to the usage. `usage_place`
    overrides the knob of that name.
    """

    said: str | Choice | tuple[Choice, ...] = ""
    delay: float = 0.0
    first_delay: float = 0.0
    usage: JSON = field(default_factory=dict)
    usage_place: str | None = None
    fields: JSON = field(default_factory=dict)

    @property
    def choices(self) -> tuple[Choice, ...]:
        """The choices, at least one."""
        if isinstance(self.said, str):
            return (Choice(self.said),)
        return (self.said,) if isinstance(self.said, Choice) else self.said


Scripted = Answer | Recording | Refusal
# A callable gets the whole body of the request.
Script = Scripted | Callable[[JSON], Scripted]


def cut(text: str, size: int) -> tuple[str, ...]:
    """Return the text in pieces of so many characters."""
    return tuple(text[i : i + size] for i in range(0, len(text), size))


def text_of(message: JSON) -> str:
    """Return the text of a message, of its text parts where it has parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content)
    return content or ""


def quote(body: JSON) -> Answer:
    """Return the default answer, which repeats the last user message word for word."""
    asked = [m for m in body["messages"] if m["role"] == "user"]
    return Answer(f"You said: {text_of(asked[-1]) if asked else ''}")


def in_turn(*scripts: Scripted) -> Callable[[JSON], Scripted]:
    """Return a script that gives these one after the other, then the last again."""
    left, lock = list(scripts), threading.Lock()

    def next_one(_: JSON) -> Scripted:
        with lock:
            return left.pop(0) if len(left) > 1 else left[0]

    return next_one


def answer_from(fields: JSON) -> Answer:
    """Build an answer from JSON; raises TypeError or ValueError for a wrong field."""
    plain = dict(fields)
    said = plain.pop("said", "")
    if isinstance(said, dict):
        said = _choice(said)
    elif isinstance(said, list):
        said = tuple(_choice(one) for one in said)
    return Answer(said, **plain)


def _choice(fields: JSON) -> Choice:
    plain = dict(fields)
    plain["tools"] = tuple(ToolCall(**call) for call in plain.get("tools", ()))
    plain["annotations"] = tuple(plain.get("annotations", ()))
    if isinstance(plain.get("pieces"), list):
        plain["pieces"] = tuple(plain["pieces"])
    return Choice(**plain)
