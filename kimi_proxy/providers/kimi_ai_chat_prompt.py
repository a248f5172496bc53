"""A history as the one short text that kimi-ai.chat takes (its sheet §3 and §4)."""

from collections.abc import Sequence
from typing import Literal

from kimi_proxy.chat import Message
from kimi_proxy.errors import ContextTooLong
from kimi_proxy.providers.prompt import merge

Overlong = Literal["refuse", "drop-oldest"]


def prompt(messages: Sequence[Message], limit: int, overlong: Overlong) -> str:
    """The history in at most `limit` characters; raises `ContextTooLong`.

    With `drop-oldest` the oldest turns go first, answers with their questions, and a
    line says how many went. Neither the newest turn nor a system message ever does.
    """
    text = merge(messages)
    left = list(messages)
    while len(text) > limit and overlong == "drop-oldest" and _drop_turn(left):
        text = merge([_note(len(messages) - len(left)), *left])
    if len(text) > limit:
        kept = " even without its older messages" if len(left) < len(messages) else ""
        raise ContextTooLong(
            f"the prompt{kept} has {len(text)} characters; kimi-ai.chat takes about"
            f" {limit} (max_prompt)",
            param="messages",
        )
    return text


def _drop_turn(messages: list[Message]) -> bool:
    """Take out the oldest question with what follows up to the next one."""
    turns = [at for at, message in enumerate(messages) if message.role != "system"]
    questions = [at for at in turns if messages[at].role == "user"]
    if not questions or turns[0] >= questions[-1]:
        return False
    end = next(at for at in questions if at > turns[0])
    gone = {at for at in turns if at < end}
    messages[:] = [m for at, m in enumerate(messages) if at not in gone]
    return True


def _note(count: int) -> Message:
    what = "message was" if count == 1 else "messages were"
    return Message("system", f"({count} earlier {what} left out.)")
