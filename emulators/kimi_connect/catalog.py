"""The models on offer (connect sheet §9) and the experiment bucket that hides them."""

from collections.abc import Mapping
from typing import Any

_Row = Mapping[str, Any]
_EFFORT_NAMES = {
    "REASONING_EFFORT_NONE": "Standard",
    "REASONING_EFFORT_LOW": "High",
    "REASONING_EFFORT_HIGH": "Higher",
    "REASONING_EFFORT_MAX": "Max",
}


def _row(
    scenario: str, key: str, model: str, name: str, **fields: Any
) -> dict[str, Any]:
    efforts = fields.pop("efforts", ("NONE", "LOW"))
    contexts = fields.pop("contexts", (("CONTEXT_LENGTH_L", "LEVEL_FREE"),))
    options = [f"REASONING_EFFORT_{effort}" for effort in efforts]
    return {
        "scenario": scenario,
        "key": key,
        "id": model,
        "displayName": name,
        "description": f"{name}, made up by the emulator",
        "inputPlaceholder": "Ask away",
        "kimiPlusId": "",
        "agentMode": "TYPE_NORMAL",
        "reasoningEffortOptions": [
            {"effort": effort, "displayName": _EFFORT_NAMES[effort]}
            for effort in options
        ],
        "defaultReasoningEffort": options[min(1, len(options) - 1)],
        "contextLengthOptions": [
            {"contextLength": length, "available": True, "minMembershipLevel": level}
            for length, level in contexts
        ],
        "defaultContextLength": contexts[0][0],
        "switchableTo": [],
        "minMembershipLevel": "",
        "label": "",
        "greeting": "",
        **fields,
    }


def models() -> list[dict[str, Any]]:
    """Return the rows that a current web build gets."""
    wide = (("CONTEXT_LENGTH_L", "LEVEL_FREE"), ("CONTEXT_LENGTH_XL", "LEVEL_TOP"))
    return [
        _row("SCENARIO_CHAT", "k2d6", "k2d6-chat", "Instant", switchableTo=["k3"]),
        _row(
            "SCENARIO_OK_COMPUTER",
            "k28-preview",
            "k28-agent-preview",
            "K2.8 Preview",
            kimiPlusId="ok-computer",
            label="Preview",
        ),
        _row(
            "SCENARIO_OK_COMPUTER",
            "k3",
            "k3-agent",
            "K3",
            kimiPlusId="ok-computer",
            efforts=("LOW", "HIGH", "MAX"),
            contexts=wide,
            switchableTo=["k2d6"],
        ),
        _row(
            "SCENARIO_OK_COMPUTER_SWARM",
            "k3-agent-ultra",
            "k3-agent-swarm",
            "K3 Swarm",
            kimiPlusId="ok-computer",
            agentMode="TYPE_ULTRA",
            efforts=("LOW", "HIGH", "MAX"),
            contexts=wide,
            minMembershipLevel="LEVEL_BASIC",
        ),
    ]


def old_models() -> list[dict[str, Any]]:
    """Return the rows of the older bucket: `thinking` per row, no `key`, no `id`."""
    return [
        {
            "scenario": "SCENARIO_K2D5",
            "displayName": "K2.5 Thinking" if thinking else "K2.5 Instant",
            "description": "An older build",
            "kimiPlusId": "",
            "agentMode": "TYPE_NORMAL",
            "thinking": thinking,
        }
        for thinking in (False, True)
    ]


def discovery(*, old: bool) -> dict[str, Any]:
    """Return the answer of GetAvailableModels."""
    if old:
        default = {"scenario": "SCENARIO_K2D5"}
        return {"availableModels": old_models(), "defaultScenario": default}
    default = {"scenario": "SCENARIO_CHAT", "model": "k2d6-chat"}
    return {"availableModels": models(), "defaultScenario": default}


def is_old_build(version: str | None) -> bool:
    """Whether `x-msh-version` is missing or below 2.0.0 (§3)."""
    try:
        major = int((version or "").split(".")[0])
    except ValueError:
        return True
    return major < 2
