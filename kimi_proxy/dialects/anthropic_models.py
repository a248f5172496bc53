"""Models as Anthropic's clients want them listed (clients facts §3.4)."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from kimi_proxy.chat import Model


def described(name: str, model: Model, created: int) -> dict[str, Any]:
    """A model under the name that clients have for it; `created` is epoch seconds."""
    return {
        "type": "model",
        "id": name,
        "display_name": model.name,
        "created_at": f"{datetime.fromtimestamp(created, UTC):%Y-%m-%dT%H:%M:%SZ}",
        "lifecycle": "active",
        "max_input_tokens": model.context_length,
        "max_tokens": model.max_output,
    }


def page(models: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """All of them, as one page."""
    return {
        "data": models,
        "has_more": False,
        "first_id": models[0]["id"] if models else None,
        "last_id": models[-1]["id"] if models else None,
    }
