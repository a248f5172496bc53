"""The section of OpenAI-compatible upstreams: presets, quirks, headers, lists."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from pydantic import TypeAdapter

from kimi_proxy.config import OpenAISettings
from kimi_proxy.config.openai import OpenAIQuirks
from kimi_proxy.config.preset import PRESETS, PresetName
from kimi_proxy.providers.openai_quirk import Quirks
from tests.config.conftest import Desk

PAGE = Path(__file__).parents[2] / "docs" / "openai-upstreams.md"


def settings_of(desk: Desk, text: str) -> OpenAISettings:
    settings = desk.load(f"providers: {{p: {{type: openai, {text}}}}}")
    provider = settings.providers["p"]
    assert isinstance(provider, OpenAISettings)
    return provider


def test_every_preset_has_a_row_and_every_row_a_name() -> None:
    assert tuple(PRESETS) == get_args(PresetName)


@pytest.mark.parametrize("name", PRESETS)
def test_every_row_is_sourced_documented_and_makes_quirks(name: str) -> None:
    preset = PRESETS[name]
    assert preset.source and "." in preset.source
    assert re.fullmatch(r"20\d\d-\d\d", preset.looked_up)
    assert re.fullmatch(r"https?://[a-z0-9.:-]+(/[a-z0-9-]+)*", preset.base_url)
    is_local = preset.base_url.startswith("http://127.0.0.1")
    assert is_local == preset.keyless
    TypeAdapter(OpenAIQuirks).validate_python(dict(preset.quirks))
    assert Quirks(**preset.quirks)
    page = PAGE.read_text("utf-8")
    assert f"Source (looked up {preset.looked_up})" in page
    (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
    assert row.startswith(f"| `{name}` | `{preset.base_url}` |")
    assert row.endswith(f"| {preset.source} |")


def test_every_quirk_can_be_configured_and_no_other() -> None:
    assert list(OpenAIQuirks.model_fields) == [field.name for field in fields(Quirks)]


def test_a_preset_may_be_at_another_address(desk: Desk) -> None:
    text = "preset: moonshot-cn, base_url: 'http://127.0.0.1:9/v1', tokens: [k1]"
    provider = settings_of(desk, text)
    assert provider.base_url == "http://127.0.0.1:9/v1"
    assert provider.differences["thinking"] == "thinking"


def test_a_configured_quirk_wins_over_the_presets(desk: Desk) -> None:
    text = "preset: mistral, tokens: [k1], quirks: {stream_options: true}"
    found = Quirks(**settings_of(desk, text).differences)
    assert found.stream_options is True
    assert found.limit == "max_tokens"


def test_without_a_preset_nothing_is_different(desk: Desk) -> None:
    text = "base_url: 'http://127.0.0.1:9/v1', tokens: [k1]"
    assert Quirks(**settings_of(desk, text).differences) == Quirks()


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if p.keyless])
def test_a_local_server_needs_no_key(desk: Desk, name: str) -> None:
    assert settings_of(desk, f"preset: {name}").tokens == ()


@pytest.mark.parametrize("name", [n for n, p in PRESETS.items() if not p.keyless])
def test_any_other_does(desk: Desk, name: str) -> None:
    (problem,) = desk.problems(f"providers: {{p: {{type: openai, preset: {name}}}}}")
    assert "needs at least one token" in problem


@pytest.mark.parametrize("name", ["kimi-code", "kimi-code-intl", "perplexity"])
def test_what_has_to_be_known_of_an_upstream_is_said(desk: Desk, name: str) -> None:
    text = f"providers: {{p: {{type: openai, preset: {name}, tokens: [k1]}}}}"
    notice = PRESETS[name].notice
    assert notice
    assert f"providers.p: {notice}" in desk.load(text).warnings


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("headers: {Authorization: x}", "is a header that the gateway sets itself"),
        ("headers: {Cookie: x}", "is a header that the gateway sets itself"),
        ("headers: {'a b': x}", "must be the name of a header"),
        ("headers: {X-A: 'ä'}", "must be plain ASCII on one line"),
        ("quirks: {odd: true}", "quirks"),
        ("quirks: {thinking: odd}", "quirks.thinking"),
        ("quirks: {unsupported: ['A b']}", "must be the name of a parameter"),
        ("models: ['a b']", "models[0]"),
    ],
)
def test_what_is_wrong_is_said(desk: Desk, text: str, message: str) -> None:
    whole = f"providers: {{p: {{type: openai, preset: openai, tokens: [k1], {text}}}}}"
    assert any(message in problem for problem in desk.problems(whole))


def test_a_headers_value_is_kept_like_a_secret(desk: Desk) -> None:
    text = "preset: openai, tokens: [k1], headers: {X-Key: made-up-value}"
    provider = settings_of(desk, text)
    assert "made-up-value" not in repr(provider)
    assert provider.headers["X-Key"].get_secret_value() == "made-up-value"
