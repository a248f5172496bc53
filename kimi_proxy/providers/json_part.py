"""Parts of an upstream's JSON that may be missing, or of another kind."""

from collections.abc import Mapping
from typing import Any


def mapping_of(value: object) -> Mapping[str, Any]:
    """The object; an empty one in place of anything else."""
    return value if isinstance(value, dict) else {}


def text_of(holder: Mapping[str, Any], name: str) -> str:
    """The text under that name; empty for anything else."""
    value = holder.get(name)
    return value if isinstance(value, str) else ""
