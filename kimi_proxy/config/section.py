"""The ground every section of the configuration stands on."""

from __future__ import annotations

from typing import Any

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    model_validator,
)
from pydantic_core import PydanticCustomError


class Section(BaseModel):
    """A frozen mapping of the configuration; unknown keys are refused.

    A key that is empty or null counts as absent and takes its default, so that
    `pool:` with every line below it commented out, or `"${PROXY:-}"`, just works.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_is_absent(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {
            key: item
            for key, item in value.items()
            if key not in cls.model_fields or (item is not None and item != "")
        }


def _some(values: tuple[str, ...]) -> tuple[str, ...]:
    # Pydantic's own min_length also complains when the only entry was refused.
    if not values:
        raise PydanticCustomError("config", "must not be empty")
    return values


SOME = AfterValidator(_some)
"""A list that may not be empty."""
