"""What lists of models tell, in each vendor's words; rows short, numbers made up."""

from __future__ import annotations

from typing import Any

import pytest

from kimi_proxy.chat import Model
from kimi_proxy.providers.openai_model import listed

TEXT = frozenset({"text"})
SEES = frozenset({"text", "image"})
ROWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "openai": ({"object": "model", "owned_by": "openai"}, {}),
    "moonshot": (
        {
            "context_length": 262144,
            "supports_image_in": True,
            "supports_video_in": True,
            "supports_reasoning": True,
            "display_name": "Kimi K2.6",
        },
        {
            "context_length": 262144,
            "modalities": SEES | {"video"},
            "reasoning": True,
            "name": "Kimi K2.6",
        },
    ),
    "moonshot, text": (
        {"context_length": 8192, "supports_image_in": False},
        {"context_length": 8192, "modalities": TEXT},
    ),
    "vllm": ({"max_model_len": 4096}, {"context_length": 4096}),
    "groq": (
        {"context_window": 131072, "max_completion_tokens": 32768},
        {"context_length": 131072, "max_output": 32768},
    ),
    "mistral": (
        {"max_context_length": 32768, "capabilities": {"vision": True}},
        {"context_length": 32768, "modalities": SEES},
    ),
    "llama.cpp": ({"meta": {"n_ctx_train": 32768}}, {"context_length": 32768}),
    "openrouter": (
        {
            "name": "A Model",
            "context_length": 200000,
            "architecture": {"input_modalities": ["text", "image", "file"]},
            "top_provider": {"max_completion_tokens": 64000},
            "supported_parameters": ["tools", "reasoning"],
        },
        {
            "name": "A Model",
            "context_length": 200000,
            "max_output": 64000,
            "modalities": SEES | {"file"},
            "reasoning": True,
        },
    ),
    "openrouter, older": (
        {"architecture": {"modality": "text+image->text"}},
        {"modalities": SEES},
    ),
    "text only": (
        {"architecture": {"input_modalities": ["text"]}},
        {"modalities": TEXT},
    ),
    "xai": (
        {
            "context_length": 1000000,
            "input_modalities": ["text", "image"],
            "capabilities": {"reasoning_effort": ["none", "low", "high"]},
        },
        {"context_length": 1000000, "modalities": SEES, "reasoning": True},
    ),
    "odd": (
        {
            "context_length": "many",
            "max_model_len": True,
            "architecture": [],
            "capabilities": "none",
            "name": "",
            "think_efforts": {"support": True, "valid_efforts": "all"},
        },
        {},
    ),
}


@pytest.mark.parametrize("vendor", ROWS)
def test_what_a_row_tells(vendor: str) -> None:
    row, told = ROWS[vendor]
    (found,) = listed({"data": [{"id": "m", **row}]}, "up")
    assert found.model == Model(**{"id": "m", "name": "m", "owner": "up", **told})


def test_how_a_model_thinks() -> None:
    efforts = {
        "support": True,
        "valid_efforts": ["low", "max"],
        "default_effort": "max",
    }
    row = {"id": "m", "supports_thinking_type": "only", "think_efforts": efforts}
    (found,) = listed({"data": [row]}, "up")
    assert (found.thinking, found.efforts) == ("only", ("low", "max"))
    assert found.model.reasoning
    (silent,) = listed({"data": [{"id": "m", "supports_thinking_type": "odd"}]}, "up")
    assert (silent.thinking, silent.efforts) == (None, ())
    (never,) = listed({"data": [{"id": "m", "supports_reasoning": False}]}, "up")
    assert never.thinking == "no"


@pytest.mark.parametrize(
    ("document", "ids"),
    [
        ({"data": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}, ["a", "b"]),
        ({"data": [{"id": ""}, {"id": 1}, "x", None, {}]}, []),
        ({"models": [{"id": "a"}]}, ["a"]),
        ({"data": None}, []),
        ({}, []),
    ],
)
def test_rows_that_are_none_are_passed_over(document: Any, ids: list[str]) -> None:
    assert [found.model.id for found in listed(document, "up")] == ids
