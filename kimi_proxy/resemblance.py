"""When two histories are the same, though clients do not send back what they got.

They trim text, write JSON anew, and drop what they have no place for. What a person
could have edited counts; everything else does not.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import orjson

from kimi_proxy.chat import Attachment, ChatRequest, Message

# Clients without a field for the thinking send it back before the answer.
_THINKING = re.compile(
    r"\A\s*(?:<(think(?:ing)?)>.*?</\1>|<details type=\"reasoning\".*?</details>)",
    re.DOTALL,
)


def chained(seed: str, messages: Sequence[Message]) -> str:
    """One digest for a whole history; equal only if each message resembles its twin."""
    link = seed
    for message in messages:
        if _says_something(message):
            link = digest([link, *_canonical(message)])
    return link


def system_marks(messages: Sequence[Message]) -> list[str]:
    """A short digest of each of the directions among the messages, in order."""
    return [digest(_plain(m.text))[:16] for m in messages if m.role == "system"]


def tools_mark(request: ChatRequest) -> str:
    """A digest of the tools as a model sees them; empty without any."""
    tools = [[t.name, t.description, t.parameters] for t in request.tools]
    return digest(tools) if tools else ""


def digest(value: Any) -> str:
    """SHA-256 of a JSON value, in hex; the order of an object's keys does not count."""
    packed = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(packed).hexdigest()


def _says_something(message: Message) -> bool:
    # Some clients keep an empty answer, others drop it.
    blank = not message.text.strip() and not message.attachments
    return message.role == "tool" or bool(message.tool_calls) or not blank


def _canonical(message: Message) -> list[Any]:
    text = _plain(message.text)
    if message.role == "assistant":
        # What was said beside calls is kept by some clients and dropped by others.
        text = "" if message.tool_calls else _plain(_THINKING.sub("", text))
    return [
        message.role,
        text,
        [[call.name, _value(call.arguments)] for call in message.tool_calls],
        [_attached(attachment) for attachment in message.attachments],
    ]


def _plain(text: str) -> str:
    """The text without blanks at its ends and its lines' ends, nor kinds of newline."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def _value(arguments: str) -> Any:
    """What JSON text says; the text itself if it is none."""
    try:
        value = json.loads(arguments, parse_float=_number)
        digest(value)
    except (ValueError, TypeError, RecursionError):
        return arguments.strip()
    return value


def _number(written: str) -> int | float:
    """The number; JavaScript makes no difference between 1.0 and 1."""
    value = float(written)
    return int(value) if value.is_integer() else value


def _attached(attachment: Attachment) -> list[str | None]:
    data = attachment.data
    content = None if data is None else hashlib.sha256(data).hexdigest()
    return [attachment.kind, content, attachment.url, attachment.file_id]
