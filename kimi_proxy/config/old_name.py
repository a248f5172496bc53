"""The model names that the predecessors' clients ask for, by today's provider.

They are part of a configuration only where it comes from a predecessor's own. Sources:
predecessors sheet §2–§6, legacy sheet §9, qodo sheet §2, kimi-ai.chat sheet §2.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_KIMI: Final = "kimi/k2d6-chat"
_SITE: Final = "kimi-ai-chat/kimi-k2-instruct"
_QODO: Final = (
    *("claude-3-7-sonnet", "claude-3-5-sonnet", "gpt-4o", "o1", "o3-mini"),
    *("o3-mini-high", "gemini-2.5-pro", "gemini-2.0-flash"),
)
OLD_NAMES: Final[Mapping[str, Mapping[str, Any]]] = {
    # Any name at all was Kimi's default model, the id of an agent that agent; what it
    # ended with (in truth: held somewhere) was a switch.
    "kimi": {
        "*": ["kimi/*", _KIMI],
        "*search": {"route": _KIMI, "search": True},
        "*silent": {"route": _KIMI, "search": True, "citations": "none"},
        "*silent_search": {"route": _KIMI, "search": True, "citations": "none"},
        "*thinking": {"route": _KIMI, "effort": "high"},
        "*thinking-search": {"route": _KIMI, "effort": "high", "search": True},
        "*no_thinking": {"route": _KIMI, "effort": "none"},
        "*instant": {"route": _KIMI, "effort": "none"},
        "*research": ["kimi/deep-researcher", "kimi/kimi-research"],
        "*math": ["kimi/kimi-math", _KIMI],
        "*k1": {"route": [_KIMI, "kimi/k1"], "effort": "high"},
    },
    # Kilo's own names have a vendor in front; only these tell whose they are.
    "kilo": {
        "claude-*": "kilo/anthropic/claude-*",
        "gemini-*": "kilo/google/gemini-*",
        "gpt-*": "kilo/openai/gpt-*",
    },
    # Two of them went up under another name.
    "qodo": {
        **{name: f"qodo/{name}" for name in _QODO},
        "deepseek-r1": "qodo/deepseek-r1-full",
        "deepseek-r1-32b": "qodo/deepseek-r1",
    },
    "kimi-ai-chat": {
        "kimi": f"{_SITE}-0905",
        "kimi-k2-instruct-0905": f"{_SITE}-0905",
        "kimi-k2-instruct": _SITE,
    },
}
