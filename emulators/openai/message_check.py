"""The messages of a chat request, judged as OpenAI judges them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from emulators.openai.refusal import Refusal, Refused

Invalid = Callable[[str, str | None, str | None], Refusal]
JSON = Mapping[str, Any]
ROLES = ("system", "assistant", "user", "function", "tool", "developer")
PARTS = ("text", "image_url", "input_audio", "file", "refusal", "video_url")


def check_messages(messages: Any, invalid: Invalid, *, images: bool) -> None:
    """Judge the messages; raises Refused."""
    if not isinstance(messages, list):
        message = "Invalid type for 'messages': expected an array of objects."
        raise Refused(invalid(message, "messages", "invalid_type"))
    if not messages:
        message = (
            "Invalid 'messages': empty array. Expected an array with minimum length 1, "
            "but got an empty array instead."
        )
        raise Refused(invalid(message, "messages", "empty_array"))
    for index, one in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(one, dict):
            raise _wrong_type(invalid, where, "an object")
        _check_message(one, where, invalid, images=images)
    check_tool_results(messages, invalid)


def _check_message(one: JSON, where: str, invalid: Invalid, *, images: bool) -> None:
    role, content = one.get("role"), one.get("content")
    if role not in ROLES:
        listed = ", ".join(f"'{name}'" for name in ROLES)
        message = f"Invalid value: '{role}'. Supported values are: {listed}."
        raise Refused(invalid(message, f"{where}.role", "invalid_value"))
    calls = one.get("tool_calls")
    if content is None:
        silent = role == "assistant" and (calls or one.get("refusal"))
        if not silent and not one.get("function_call") and not one.get("tools"):
            raise _wrong_type(invalid, f"{where}.content", "a string or an array")
    elif isinstance(content, list):
        _check_parts(content, f"{where}.content", invalid, images=images)
    elif not isinstance(content, str):
        raise _wrong_type(invalid, f"{where}.content", "a string or an array")
    if calls is not None:
        check_calls(calls, f"{where}.tool_calls", invalid)


def _check_parts(
    parts: Sequence[Any], where: str, invalid: Invalid, *, images: bool
) -> None:
    for index, part in enumerate(parts):
        place = f"{where}[{index}]"
        kind = part.get("type") if isinstance(part, dict) else None
        if kind not in PARTS:
            message = f"Invalid value: '{kind}' is no type of a content part."
            raise Refused(invalid(message, f"{place}.type", "invalid_value"))
        if kind == "text" and not isinstance(part.get("text"), str):
            raise _wrong_type(invalid, f"{place}.text", "a string")
        if kind == "image_url":
            _check_image(part.get("image_url"), place, invalid, images=images)


def _check_image(image: Any, place: str, invalid: Invalid, *, images: bool) -> None:
    if not images:
        message = "Invalid content type. image_url is only supported by certain models."
        raise Refused(invalid(message, place, None))
    url = image.get("url") if isinstance(image, dict) else image
    schemes = ("data:", "https://", "http://", "ms://")
    if not isinstance(url, str) or not url.startswith(schemes):
        message = "Invalid image URL. Expected a valid URL, but got another value."
        raise Refused(invalid(message, f"{place}.image_url.url", "invalid_value"))


def check_calls(calls: Any, where: str, invalid: Invalid) -> None:
    """Judge the tool calls of an assistant message; raises Refused."""
    if not isinstance(calls, list) or not calls:
        raise _wrong_type(invalid, where, "an array with minimum length 1")
    for index, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not isinstance(call.get("id"), str):
            raise _wrong_type(invalid, f"{where}[{index}]", "a call with an id")
        if not isinstance(function.get("arguments"), str):
            place = f"{where}[{index}].function.arguments"
            raise _wrong_type(invalid, place, "a string")


def check_tool_results(messages: Sequence[JSON], invalid: Invalid) -> None:
    """Every call has its result right after it, every result its call."""
    open_calls: set[str] = set()
    for index, one in enumerate(messages):
        where = f"messages[{index}]"
        if one["role"] == "tool":
            if one.get("tool_call_id") not in open_calls:
                message = (
                    "Invalid parameter: messages with role 'tool' must be a response "
                    "to a preceeding message with 'tool_calls'."
                )
                raise Refused(invalid(message, f"{where}.role", None))
            open_calls.discard(one["tool_call_id"])
            continue
        if open_calls:
            raise _unanswered(open_calls, where, invalid)
        open_calls = {call["id"] for call in one.get("tool_calls") or ()}
    if open_calls:
        raise _unanswered(open_calls, f"messages[{len(messages)}]", invalid)


def _unanswered(ids: set[str], where: str, invalid: Invalid) -> Refused:
    message = (
        "An assistant message with 'tool_calls' must be followed by tool messages "
        "responding to each 'tool_call_id'. The following tool_call_ids did not have "
        f"response messages: {', '.join(sorted(ids))}"
    )
    return Refused(invalid(message, f"{where}.role", None))


def _wrong_type(invalid: Invalid, name: str, described: str) -> Refused:
    message = f"Invalid type for '{name}': expected {described}."
    return Refused(invalid(message, name, "invalid_type"))
