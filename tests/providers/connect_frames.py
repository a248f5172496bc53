"""Frames of the Connect wire's answer, and what the parser makes of them."""

import json
from collections.abc import Iterable
from typing import Any

from kimi_proxy.connect import Frame
from kimi_proxy.events import Event, Finished, TextDelta
from kimi_proxy.providers.kimi_connect_answer import Answer

ASSISTANT = {
    "op": "set",
    "mask": "message",
    "message": {"id": "m1", "role": "assistant", "status": "MESSAGE_STATUS_GENERATING"},
}
COMPLETED = {
    "op": "set",
    "mask": "message.status",
    "message": {"id": "m1", "status": "MESSAGE_STATUS_COMPLETED"},
}
DONE: dict[str, Any] = {"done": {}}


def block(op: str, mask: object, **value: Any) -> dict[str, Any]:
    return {"op": op, "mask": mask, "block": {"id": "1", **value}}


def text(op: str, content: str, **more: Any) -> dict[str, Any]:
    mask = "block.text" if op == "set" else "block.text.content"
    return block(op, mask, text={"content": content, **more})


def think(op: str, content: str) -> dict[str, Any]:
    return block(op, "block.think", think={"content": content})


def as_frames(documents: Iterable[object]) -> list[Frame]:
    return [Frame(0, json.dumps(document).encode()) for document in documents]


def read(frames: Iterable[Frame], answer: Answer | None = None) -> list[Event]:
    answer = answer or Answer(lambda _: None)
    events = [event for frame in frames for event in answer.feed(frame)]
    return events + list(answer.end())


def told(*documents: object) -> list[Event]:
    """The events before `Finished`, of an answer that ends well."""
    frames = [*as_frames([ASSISTANT, *documents, DONE]), Frame(2, b"{}")]
    events = read(frames)
    assert isinstance(events.pop(), Finished)
    return events


def answered(*documents: object) -> str:
    events = told(*documents)
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def exception(**error: Any) -> dict[str, Any]:
    return block("set", "block.exception", exception={"error": error})


def page(url: object, title: object = "T") -> dict[str, Any]:
    return {"title": title, "url": url}


def chunk(url: str, title: str = "T") -> dict[str, Any]:
    return {"id": "s", "base": page(url, title)}


def refs(**value: Any) -> dict[str, Any]:
    return {"op": "set", "message": {"id": "m1", "refs": value}}
