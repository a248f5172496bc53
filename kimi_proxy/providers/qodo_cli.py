"""Qodo's command line tasks: what is asked and what a line of the answer says (§4)."""

import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

from kimi_proxy.chat import ChatRequest, Model
from kimi_proxy.providers.prompt import merge

THINGS = "/v2/info/get-things"
START = "/v2/agentic/start-task"
CONTINUE = "/v2/agentic/continue-task"
# For as long as the service has not named its own.
MODELS = (
    "claude-4.5-sonnet",
    "claude-4.5-haiku",
    "claude-4.5-opus",
    "claude-4-sonnet",
    "gpt-5.2",
    "gpt-5.1",
    "gpt-5.1-codex",
    "gpt-4.1",
    "gpt-4o",
    "o3",
    "o4-mini",
    "gemini-2.5-pro",
    "grok-4",
)


def payload(request: ChatRequest, session: str) -> dict[str, Any]:
    """The body of start-task and continue-task: the history as one prompt, no tools.

    Nothing of the machine is told; the version is that of the protocol spoken here.
    """
    return {
        "agent_type": "cli",
        "session_id": session,
        "user_data": {
            "extension_version": "0.7.2",
            "os_platform": "linux",
            "os_version": "unknown",
            "editor_type": "cli",
        },
        "tools": {},
        "user_request": merge(request.messages),
        "execution_strategy": "act",
        "custom_model": request.model,
        "stream": True,
    }


def session_of(things: object) -> str | None:
    """The session id of get-things; the only one of its fields that is proven."""
    value = things.get("session-id") if isinstance(things, dict) else None
    return value if isinstance(value, str) and value else None


def invented_session(now: float) -> str:
    """A session id of our own, for when none is given: `<yyyymmdd>-<uuid>`."""
    return f"{time.strftime('%Y%m%d', time.gmtime(now))}-{uuid.uuid4()}"


def text_of(line: dict[str, Any]) -> str:
    """The piece of the answer in a line; empty for a line of any other kind."""
    data = line.get("data")
    arguments = data.get("tool_args") if isinstance(data, dict) else None
    content = arguments.get("content") if isinstance(arguments, dict) else None
    return content if isinstance(content, str) else ""


def models_of(things: object, owner: str) -> list[Model]:
    """The models that get-things names, the default one first.

    How it names them is not known (§8): a list of names or of objects, or objects by
    name, is understood; of anything else there are none.
    """
    if not isinstance(things, Mapping):
        return []
    names = list(dict.fromkeys(_names(things.get("models"))))
    default = things.get("default_model")
    names.sort(key=lambda name: name != default)
    return [Model(name, name, owner) for name in names]


def _names(models: object) -> Iterator[str]:
    for entry in models if isinstance(models, list | Mapping) else ():
        found = entry
        if isinstance(entry, Mapping):
            keys = ("id", "model", "name")
            found = next((entry[key] for key in keys if entry.get(key)), None)
        if isinstance(found, str) and found:
            yield found


def built_in(owner: str) -> list[Model]:
    """The models of the sheet, while the service has named none."""
    return [Model(name, name, owner) for name in MODELS]
