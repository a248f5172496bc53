"""Qodo's IDE chat of 2025: what is asked and what a line of its answer says (§2)."""

import uuid
from collections.abc import Sequence
from typing import Any

from kimi_proxy import USER_AGENT
from kimi_proxy.chat import ChatRequest, Message, Model
from kimi_proxy.providers.prompt import merge

PATH = "/v2/chats/chat"
MODELS = (
    "claude-3-7-sonnet",
    "claude-3-5-sonnet",
    "gpt-4o",
    "o1",
    "o3-mini",
    "o3-mini-high",
    "gemini-2.5-pro",
    "gemini-2.0-flash",
    "deepseek-r1",
    "deepseek-r1-full",
)
_GO_ON = "Go on where your last message ends."


def models(owner: str) -> list[Model]:
    """The models of the sheet; there is no call that lists them."""
    thinking = {"o1", "o3-mini", "o3-mini-high", "deepseek-r1", "deepseek-r1-full"}
    return [Model(name, name, owner, reasoning=name in thinking) for name in MODELS]


def payload(request: ChatRequest, subject: str) -> dict[str, Any]:
    """The body of the chat call.

    `subject` is the account's id: what the service wants as an installation's ids is
    derived from it. Everything else it asks about the user's machine stays unsaid.
    """
    *earlier, newest = _turns(request.messages)
    return {
        "max_remote_context": 0,
        "remote_context_tags": [],
        "max_repo_context": 5,
        "user_data": _user_data(subject),
        "task": "",
        "chat_input": newest["content"],
        "previous_messages": earlier,
        "user_context": [],
        "repo_context": [],
        "custom_model": request.model,
        "supports_artifacts": True,
    }


def _user_data(subject: str) -> dict[str, str]:
    # The form names the client's generation; `vscode` is the only one known to it.
    return {
        "installation_id": _derived(subject, "installation"),
        "installation_fingerprint_uuid": _derived(subject, "fingerprint"),
        "editor_version": USER_AGENT,
        "extension_version": "1.0.4",
        "os_platform": "linux",
        "os_version": "unknown",
        "editor_type": "vscode",
    }


def _derived(subject: str, what: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"kimi-proxy:{what}:{subject}"))


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    """The history, ending with what is asked: there are users and assistants only.

    What a system message or a tool says goes up as the user's words, marked with whose
    it is: as the assistant's own it would mean something else.
    """
    turns = [turn for turn in map(_turn, messages) if turn["content"]]
    if not turns or turns[-1]["role"] != "user":
        turns.append(_users(_GO_ON))
    return turns


def _turn(message: Message) -> dict[str, str]:
    if message.role == "assistant":
        told = merge((message,)).removeprefix("assistant: ")
        return {"role": "assistant", "content": told}
    return _users(merge((message,)))


def _users(text: str) -> dict[str, str]:
    return {"role": "user", "content": text, "command": "chat", "mode": "freeChat"}


def text_of(line: dict[str, Any]) -> str:
    """The piece of the answer in a line; empty for a line of any other kind.

    Every `sub_type` counts: which of them are for content is not proven (§2).
    """
    data = line.get("data")
    if line.get("type") != "text" or not isinstance(data, dict):
        return ""
    content = data.get("content")
    return content if isinstance(content, str) else ""
