"""The lines of an answer in each of the three generations (qodo sheet §2–§4)."""

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from emulators.qodo.knob import Knobs

Line = dict[str, Any]


def chat_lines(pieces: Sequence[str], model: str) -> Iterator[Line]:
    """Yield generation A: a line of context, then one a piece."""

    def line(sub_type: str, title: str, content: str, replied: bool) -> Line:
        return {
            "type": "text",
            "sub_type": sub_type,
            "used_model": model,
            "data": {
                "title": title,
                "content": content,
                "can_be_replied_to": replied,
                "is_streaming": True,
                "artifact_attributes": None,
            },
        }

    yield line("reference_context", "Context", "", False)
    for piece in pieces:
        yield line("code_analysis", "Chat", piece, True)


def agent_lines(pieces: Sequence[str], session: str) -> Iterator[Line]:
    """Yield generation B: each piece in JSON in JSON, with what is to be skipped."""

    def line(title: str, content: str, sub_type: str) -> Line:
        inner = json.dumps({"data": {"title": title, "content": content}})
        return {
            "session_id": session,
            "type": "agent",
            "sub_type": sub_type,
            "data": {"tool": "made-up", "tool_args": {"data": inner}},
        }

    yield line("Plan", "not for the user", "code_planning")
    for piece in pieces:
        yield line("Chat", piece, "code_implementation")
    yield line("Chat", "".join(pieces), "code_implementation_end")


def task_lines(pieces: Sequence[str], session: str) -> Iterator[Line]:
    """Yield generation C."""
    for piece in pieces:
        yield {
            "session_id": session,
            "type": "made_up",
            "data": {"tool": "made-up", "tool_args": {"content": piece}},
        }


_ODD: tuple[Line, ...] = (
    {"type": "made_up_progress", "data": {"percent": 40}},
    {"type": "made_up_tool", "data": {"tool": "x", "tool_args": {"path": "y"}}},
    {"type": "made_up_end", "data": None},
)


def encoded(lines: Iterator[Line], knobs: Knobs) -> list[bytes]:
    """Return the lines as bytes, framed as the knobs want it."""
    end = "\r\n" if knobs.crlf else "\n"
    prefix = "data: " if knobs.data_prefix else ""
    frames = []
    for number, line in enumerate(lines):
        frames.append(f"{prefix}{json.dumps(line, ensure_ascii=False)}{end}".encode())
        if knobs.odd_lines:
            odd = json.dumps(_ODD[number % len(_ODD)])
            frames.append(f"{prefix}{odd}{end}{end}".encode())
    if knobs.done:
        frames.append(f"{prefix}[DONE]{end}".encode())
    elif not knobs.last_end:
        frames[-1] = frames[-1].rstrip()
    return frames


def place_of(frames: Sequence[bytes], piece: int, holds: Callable[[Line], bool]) -> int:
    """Return where the frame of this piece (from 0) stands, or the end."""
    seen = -1
    for place, frame in enumerate(frames):
        text = frame.strip().removeprefix(b"data: ")
        if text == b"[DONE]":
            continue
        seen += holds(json.loads(text))
        if seen == piece:
            return place
    return len(frames)


def holds_piece(line: Line) -> bool:
    """Whether a line carries a piece of the answer."""
    data = line.get("data") or {}
    arguments = data.get("tool_args") or {}
    inner = json.loads(arguments.get("data") or "{}").get("data") or {}
    return bool(data.get("content") or arguments.get("content") or inner.get("content"))
