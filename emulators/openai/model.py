"""The models an upstream has."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Model:
    """One model: `context` in tokens; `fields` are added to its row of the list."""

    id: str
    context: int = 128_000
    images: bool = True
    created: int = 1_720_000_000
    owned_by: str = "system"
    fields: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Return the model as `GET /v1/models` shows it."""
        return {
            "id": self.id,
            "object": "model",
            "created": self.created,
            "owned_by": self.owned_by,
            **self.fields,
        }


OPENAI_MODELS = (
    Model("gpt-4o"),
    Model("gpt-4o-mini"),
    Model("gpt-3.5-turbo", context=16_385, images=False),
    Model("text-embedding-3-small", context=8_191, images=False),
    Model("omni-moderation-latest"),
    Model("tts-1", images=False),
    Model("whisper-1", images=False),
    Model("gpt-image-1"),
)
