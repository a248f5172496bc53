"""What a correct client sends: the bodies and headers of the qodo sheet §2–§4."""

import re
import uuid
from typing import Any

from emulators.server import Request

CHAT_MODELS = frozenset(
    "claude-3-7-sonnet claude-3-5-sonnet gpt-4o o1 o3-mini o3-mini-high gemini-2.5-pro"
    " gemini-2.0-flash deepseek-r1 deepseek-r1-full".split()
)
TASK_MODELS = frozenset(
    "gpt-4.1 gpt-4o o3 o4-mini claude-4-sonnet gemini-2.5-pro grok-4 gpt-5.1 gpt-5.2"
    " claude-4.5-sonnet claude-4.5-haiku claude-4.5-opus gpt-5.1-codex".split()
)
_CHAT_KEYS: dict[str, type] = {
    "max_remote_context": int,
    "remote_context_tags": list,
    "max_repo_context": int,
    "user_data": dict,
    "task": str,
    "chat_input": str,
    "previous_messages": list,
    "user_context": list,
    "repo_context": list,
    "custom_model": str,
    "supports_artifacts": bool,
}
_TASK_KEYS: dict[str, type] = {
    "agent_type": str,
    "session_id": str,
    "user_data": dict,
    "tools": dict,
    "user_request": str,
    "execution_strategy": str,
    "custom_model": str,
    "stream": bool,
}
_USER_KEYS = {"extension_version", "os_platform", "os_version", "editor_type"}
_IDE_KEYS = {
    *_USER_KEYS,
    "installation_id",
    "installation_fingerprint_uuid",
    "editor_version",
}


class Violation(Exception):
    """A request that no correct client sends; its text says why."""


def check_headers(request: Request) -> None:
    """Check what every call carries; raises Violation."""
    if request.headers.get("accept") != "text/plain":
        raise Violation("Accept must be text/plain")
    _need_uuid(request.headers.get("request-id"), "Request-id")
    if "cookie" in request.headers:
        raise Violation("no cookie belongs here")
    if not (request.headers.get("user-agent") or "").strip():
        raise Violation("a User-Agent is missing")


def chat_body(request: Request) -> dict[str, Any]:
    """Return the body of generation A; raises Violation."""
    body = _body(request, _CHAT_KEYS)
    _user_data(body, _IDE_KEYS)
    for key in ("installation_id", "installation_fingerprint_uuid"):
        _need_uuid(body["user_data"][key], key)
    if not body["chat_input"]:
        raise Violation("chat_input is empty")
    if body["user_context"] or body["repo_context"]:
        raise Violation("context of the user's machine was sent")
    for message in body["previous_messages"]:
        _previous(message)
    return body


def _previous(message: Any) -> None:
    expected = {"role", "content"}
    if isinstance(message, dict) and message.get("role") == "user":
        expected |= {"command", "mode"}
    if not isinstance(message, dict) or message.keys() != expected:
        raise Violation("a previous message has the wrong keys")
    if message["role"] not in ("user", "assistant"):
        raise Violation(f"there is no role {message['role']!r}")
    if not isinstance(message["content"], str) or not message["content"]:
        raise Violation("a previous message has no text")


def task_body(request: Request) -> dict[str, Any]:
    """Return the body of generation C; raises Violation."""
    body = _body(request, _TASK_KEYS)
    _user_data(body, _USER_KEYS)
    if body["agent_type"] != "cli" or body["execution_strategy"] != "act":
        raise Violation("agent_type or execution_strategy is unknown")
    if not body["user_request"]:
        raise Violation("user_request is empty")
    if not re.fullmatch(r"\d{8}-[\w-]{8,}", body["session_id"]):
        raise Violation("session_id must be <yyyymmdd>-<uuid>")
    if request.headers.get("session-id") != body["session_id"]:
        raise Violation("Session-id must be the session_id of the body")
    return body


def _body(request: Request, keys: dict[str, type]) -> dict[str, Any]:
    if request.content_type != "application/json":
        raise Violation("Content-Type must be application/json")
    try:
        body = request.json()
    except ValueError as error:
        raise Violation("the body is no JSON") from error
    if not isinstance(body, dict) or body.keys() != keys.keys():
        raise Violation("the body has the wrong keys")
    for key, kind in keys.items():
        if not isinstance(body[key], kind):
            raise Violation(f"{key} must be a {kind.__name__}")
    return body


def _user_data(body: dict[str, Any], keys: set[str]) -> None:
    data = body["user_data"]
    texts = all(isinstance(value, str) and value for value in data.values())
    if data.keys() != keys or not texts:
        raise Violation("user_data has the wrong keys")


def _need_uuid(text: Any, what: str) -> None:
    try:
        uuid.UUID(str(text))
    except ValueError as error:
        raise Violation(f"{what} must be a UUID") from error
