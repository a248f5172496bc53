"""The models of the open platform and of Kimi Code (Moonshot sheet §2, §4, §7).

Which of them see images or video is not in the sheet; the flags here are made up, so
that there is one of each kind.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emulators.openai import Model


@dataclass(frozen=True, slots=True)
class MoonshotModel(Model):
    """A model and its rules.

    `thinking` is "only", "no" or "both" (on by default). `thinking_object` says whether
    the field `thinking` is taken. `efforts` are the values of `reasoning_effort`, the
    last one the default; `effort_names` other names for them ("none" turns thinking
    off). `fixed` are parameters that take one value only; `temperatures` the one while
    thinking and the one while not. `keeps` says that the reasoning of earlier turns is
    wanted too.
    """

    name: str = ""
    video: bool = True
    thinking: str = "only"
    thinking_object: bool = True
    efforts: tuple[str, ...] = ()
    effort_names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, float] = field(default_factory=dict)
    temperatures: tuple[float, float] | None = (1.0, 0.6)
    tool_required: bool = False
    keeps: bool = False
    protocol: str | None = None

    def row(self) -> dict[str, Any]:
        """Return the model as `GET /v1/models` shows it."""
        row = {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": "moonshot",
            "context_length": self.context,
            "supports_image_in": self.images,
            "supports_video_in": self.video,
            "supports_reasoning": self.thinking != "no",
            "display_name": self.name or self.id,
            "supports_tool_use": True,
            "supports_thinking_type": self.thinking,
            "think_efforts": {
                "support": bool(self.efforts),
                "valid_efforts": list(self.efforts),
                "default_effort": self.efforts[-1] if self.efforts else None,
            },
        }
        if self.protocol is not None:
            row["protocol"] = self.protocol
        return {**row, **self.fields}


_K3 = {"top_p": 0.95, "n": 1, "presence_penalty": 0, "frequency_penalty": 0}
_EFFORTS = ("low", "high", "max")
PLATFORM_MODELS = (
    MoonshotModel(
        "kimi-k3",
        context=1_048_576,
        name="Kimi K3",
        thinking_object=False,
        efforts=_EFFORTS,
        fixed=_K3,
        tool_required=True,
        keeps=True,
    ),
    MoonshotModel(
        "kimi-k2.7-code", context=262_144, images=False, video=False, keeps=True
    ),
    MoonshotModel(
        "kimi-k2.7-code-highspeed",
        context=262_144,
        images=False,
        video=False,
        keeps=True,
    ),
    MoonshotModel("kimi-k2.6", context=262_144, name="Kimi K2.6", thinking="both"),
)
_ALIASES = {
    "ultra": "max",
    "max": "max",
    "xhigh": "max",
    "high": "high",
    "medium": "high",
    "low": "low",
    "minimum": "low",
    "light": "low",
    "none": "none",
    "off": "none",
}
CODE_MODELS = (
    MoonshotModel(
        "kimi-for-coding",
        context=1_048_576,
        name="K2.8 Preview",
        thinking="both",
        efforts=_EFFORTS,
        effort_names=_ALIASES,
        temperatures=None,
        tool_required=True,
        protocol="openai",
    ),
    MoonshotModel(
        "kimi-for-coding-highspeed",
        context=262_144,
        name="K2.7",
        video=False,
        keeps=True,
        protocol="openai",
    ),
    MoonshotModel(
        "k3",
        context=1_048_576,
        efforts=_EFFORTS,
        effort_names=_ALIASES,
        thinking_object=False,
        fixed=_K3,
        tool_required=True,
        keeps=True,
        protocol="openai",
    ),
    MoonshotModel(
        "k3-256k",
        context=262_144,
        efforts=_EFFORTS,
        effort_names=_ALIASES,
        thinking_object=False,
        fixed=_K3,
        tool_required=True,
        keeps=True,
        protocol="openai",
    ),
)
