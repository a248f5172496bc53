"""Whether a request thinks, and what it must bring when it does (sheet §2, §3)."""

from collections.abc import Mapping, Sequence
from typing import Any

from emulators.moonshot.model import MoonshotModel
from emulators.openai.refusal import Refused
from emulators.openai.request_check import Invalid

JSON = Mapping[str, Any]
MISSING = (
    "thinking is enabled but reasoning_content is missing in assistant tool call "
    "message"
)


def thinks(body: JSON, model: MoonshotModel) -> bool:
    """Return whether the model thinks in its answer to a request."""
    if model.thinking != "both":
        return model.thinking == "only"
    if effort(body, model) == "none":
        return False
    return (body.get("thinking") or {}).get("type") != "disabled"


def effort(body: JSON, model: MoonshotModel) -> str | None:
    """Return the effort asked for under its own name; None: another or none."""
    wanted = body.get("reasoning_effort")
    if wanted is None or not model.efforts:
        return None
    if model.effort_names:
        return model.effort_names.get(wanted)
    return wanted if wanted in model.efforts else None


def check_thinking(body: JSON, model: MoonshotModel, invalid: Invalid) -> None:
    """Judge `thinking`, `reasoning_effort` and the fixed parameters; raises Refused."""
    _check_object(body.get("thinking"), model, invalid)
    wanted = body.get("reasoning_effort")
    if wanted is not None and model.efforts and effort(body, model) is None:
        listed = ", ".join(model.efforts)
        message = f"invalid reasoning_effort: only {listed} are allowed for this model"
        raise Refused(invalid(message, None, None))
    fixed = dict(model.fixed)
    if model.temperatures is not None:
        fixed["temperature"] = model.temperatures[0 if thinks(body, model) else 1]
    for name, value in fixed.items():
        if body.get(name) is not None and body[name] != value:
            message = f"invalid {name}: only {value:g} is allowed for this model"
            raise Refused(invalid(message, None, None))


def check_reasoning(body: JSON, model: MoonshotModel, invalid: Invalid) -> None:
    """Want the reasoning of every tool call of this loop back; raises Refused.

    Where the model keeps it, that of earlier turns too.
    """
    if not thinks(body, model):
        return
    keeps = model.keeps or (body.get("thinking") or {}).get("keep") == "all"
    messages = body["messages"]
    for index, one in enumerate(messages):
        loop = keeps or not _later_question(messages, index)
        if loop and one.get("tool_calls") and not one.get("reasoning_content"):
            raise Refused(invalid(f"{MISSING} at index {index}", None, None))


def _later_question(messages: Sequence[JSON], index: int) -> bool:
    return any(one["role"] == "user" for one in messages[index:])


def _check_object(thinking: Any, model: MoonshotModel, invalid: Invalid) -> None:
    if thinking is None:
        return
    if not model.thinking_object:
        message = "thinking is not supported by this model, use reasoning_effort"
        raise Refused(invalid(message, None, None))
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    allowed = ("enabled",) if model.thinking == "only" else ("enabled", "disabled")
    if kind not in allowed:
        message = f"invalid thinking: only type {' or '.join(allowed)} is allowed"
        raise Refused(invalid(message, None, None))
    keep = thinking.get("keep")
    if keep not in (None, "all"):
        raise Refused(invalid("invalid thinking: keep must be all", None, None))
