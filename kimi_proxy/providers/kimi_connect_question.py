"""What Kimi asks back in the middle of its work: the `ask_user` tool (sheet §12)."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from kimi_proxy.providers.json_part import mapping_of

_TOOL: Final = "ask_user"


class Questions:
    """Gathers the tool's arguments, which come in pieces."""

    def __init__(self) -> None:
        self._asking: set[tuple[str, str]] = set()
        self._told: dict[tuple[str, str], str] = {}

    def read(
        self, block: tuple[str, str], tool: Mapping[str, Any], append: bool
    ) -> str:
        """The questions as text, once they are whole; empty before and after that.

        `block` tells tool calls apart: only a call's first frame has its name.
        """
        if tool.get("name") == _TOOL:
            self._asking.add(block)
        arguments = tool.get("args")
        if block not in self._asking or not isinstance(arguments, str):
            return ""
        told = self._told.get(block, "") if append else ""
        self._told[block] = told + arguments
        text = _worded(self._told[block])
        if text:
            self._asking.discard(block)
        return text


def _worded(arguments: str) -> str:
    try:
        said = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return ""
    questions = said.get("questions") if isinstance(said, dict) else None
    listed = questions if isinstance(questions, list) else []
    return "\n\n".join(filter(None, map(_question, listed)))


def _question(value: object) -> str:
    question = mapping_of(value)
    words = question.get("question")
    if not isinstance(words, str) or not words.strip():
        return ""
    several = " (more than one may be chosen)" * (question.get("type") == "multi")
    options = question.get("options")
    lines = _options(options if isinstance(options, list) else [])
    return "\n".join([words.strip() + several, *lines])


def _options(listed: list[object]) -> Iterator[str]:
    named = [o for o in map(mapping_of, listed) if isinstance(o.get("option"), str)]
    for number, option in enumerate(named, start=1):
        about = option.get("description")
        more = f": {about}" if isinstance(about, str) and about.strip() else ""
        advised = " (recommended)" * (option.get("recommended") is True)
        yield f"{number}. {option['option']}{more}{advised}"
